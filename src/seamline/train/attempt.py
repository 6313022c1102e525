"""One attempt at one task, from its resolved inputs to its kept outputs; off the engine's thread.

runs/<run>/<task>/<attempt>/     the working directory
    ephemeral_component.py       the component's source
    executor_input.json          what it is called with (by file: no argument-length limit)
    inputs/<name>                verified, read-only copies
    outputs/<name>               where it writes; kept by digest, then removed
    log.txt
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seamline.domain.clock import new_id
from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch, InvalidInput, Refused
from seamline.domain.states import Fidelity, TaskState
from seamline.runtime.environments import EnvironmentCache, PythonEnvironment
from seamline.runtime.outcomes import TaskEnd, TaskOutcome
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.tasks import Limits, OnStarted, TaskKind, TaskRunner, TaskSpec
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact, materialise, store_path
from seamline.train.context import ResolvedArtifact, ResolveUri, RunContext
from seamline.train.ir import ContainerExecutor, ImporterExecutor
from seamline.train.options import Isolation, RunOptions
from seamline.train.outputs import (
    EXECUTOR_OUTPUT,
    artifact_path,
    collect_outputs,
    parameter_file,
)
from seamline.train.plan import NodeKind, PlannedTask
from seamline.train.requirements import KFP_RUNTIME
from seamline.train.results import (
    ERRORED,
    FAILED,
    TaskProblem,
    TaskResult,
    failed_with,
    problem_of,
)
from seamline.train.run_names import RunNames
from seamline.train.sources import ArtifactValue

LOG = "log.txt"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkOrder:
    """Everything that an attempt needs to know; evaluated by the engine."""

    context: RunContext
    #: The task's name in the run ("for-loop-1[3]/train").
    path: str
    task: PlannedTask
    attempt: int
    parameters: Mapping[str, Any]
    artifacts: Mapping[str, ArtifactValue]
    uri: str
    metadata: Mapping[str, Any]
    names: RunNames
    isolation: Isolation
    #: How it will run; None for what runs nothing.
    fidelity: Fidelity | None
    has_workspace: bool
    started_at: str
    #: Set before the task is killed, so that one that is just about to start is killed too.
    is_canceled: threading.Event = field(default_factory=threading.Event)

    @property
    def task_id(self) -> str:
        return f"{self.key}#{self.attempt}"

    @property
    def key(self) -> str:
        return f"{self.context.run_id}/{self.path}"

    @property
    def folder(self) -> str:
        """Relative to the workspace."""
        return f"runs/{self.context.run_id}/{self.path}/{self.attempt}"

    @property
    def log_path(self) -> str | None:
        """Relative to the workspace."""
        has_log = isinstance(self.task.executor, ContainerExecutor)
        return f"{self.folder}/{LOG}" if has_log else None


def fidelity_of(task: PlannedTask, options: RunOptions) -> Fidelity | None:
    """How a task will run."""
    if task.kind is NodeKind.IMPORTER:
        return None
    return Fidelity.FORKED


@dataclass(frozen=True)
class Workshop:
    """What attempts work with."""

    stores: Stores
    runner: TaskRunner
    environments: EnvironmentCache
    resolve_uri: ResolveUri

    def perform(self, order: WorkOrder, on_started: OnStarted) -> TaskResult:
        """Never raises: what goes wrong is the task's result."""
        try:
            match order.task.executor:
                case ImporterExecutor() as importer:
                    return self._import(order, importer)
                case ContainerExecutor() as executor:
                    return self._run(order, executor, on_started)
        except Exception as error:
            problem = problem_of(error)
            if problem.kind == ERRORED:
                _log.exception("Task %s", order.task_id)
            return failed_with(problem)

    def end_leftovers(self, run_id: str, path: str, attempt: int) -> None:
        """What an attempt may have left behind that does not die with its process group."""

    # -- importers -------------------------------------------------------------------------

    def _import(self, order: WorkOrder, importer: ImporterExecutor) -> TaskResult:
        (output,) = order.task.component.output_artifacts
        if "://" in order.uri and not order.uri.startswith("file://"):
            found = self.resolve_uri(order.uri, order.context)
            artifact = self._resolved_artifact(output, importer, found, order.metadata)
        else:
            artifact = self._local_artifact(output, importer, order)
        return TaskResult(TaskState.SUCCEEDED, artifacts={output: artifact})

    def _resolved_artifact(
        self,
        output: str,
        importer: ImporterExecutor,
        found: ResolvedArtifact,
        metadata: Mapping[str, Any],
    ) -> Artifact:
        size = found.path.stat().st_size if found.path.is_file() else 0
        return Artifact(
            id=new_id(self.stores.clock),
            name=output,
            schema_type=importer.schema_title,
            digest=found.digest,
            size_bytes=size,
            is_directory=found.path.is_dir(),
            is_blob=False,
            uri=found.uri,
            metadata={**metadata, **found.metadata},
        )

    def _local_artifact(
        self, output: str, importer: ImporterExecutor, order: WorkOrder
    ) -> Artifact:
        path = Path(order.uri.removeprefix("file://"))
        if not path.is_absolute() or not path.exists():
            raise InvalidInput(
                f"{order.uri!r} cannot be imported: there is no such file.",
                next_step="Give an absolute path, datasets://NAME@VERSION or models://NAME.",
            )
        if path.resolve().is_relative_to(self.stores.root.resolve()):
            raise Refused(
                f"{order.uri!r} lies in the workspace's own folder, which is not imported from.",
                next_step="Read what other runs made through datasets:// and models://.",
            )
        stored = store_path(self.stores.blobs, path)
        return Artifact(
            id=new_id(self.stores.clock),
            name=output,
            schema_type=importer.schema_title,
            digest=stored.digest,
            size_bytes=stored.size_bytes,
            is_directory=stored.is_directory,
            is_blob=True,
            uri=order.uri,
            metadata=order.metadata,
        )

    # -- Python components -----------------------------------------------------------------

    def _run(
        self, order: WorkOrder, executor: ContainerExecutor, on_started: OnStarted
    ) -> TaskResult:
        work_dir = self.stores.root.absolute() / order.folder
        shutil.rmtree(work_dir, ignore_errors=True)
        (work_dir / "tmp").mkdir(parents=True)
        environment = self._environment(executor, work_dir / LOG)
        packages = "\n".join(environment.lock).encode()
        packages_digest = self.stores.blobs.put(packages)
        spec = self._specify(order, executor, environment, work_dir)
        if order.is_canceled.is_set():
            return TaskResult(TaskState.CANCELED)
        started = self.runner.start(spec, on_started)
        if order.is_canceled.is_set():
            self.runner.kill(order.task_id)
        outcome = started.result()
        try:
            return self._result(order, outcome, work_dir, packages_digest)
        finally:
            for used_up in ("inputs", "tmp"):
                shutil.rmtree(work_dir / used_up, ignore_errors=True)

    def _environment(self, executor: ContainerExecutor, log: Path) -> PythonEnvironment:
        function = executor.function

        def tell(line: str) -> None:
            with log.open("a", encoding="utf-8") as file:
                file.write(f"[environment] {line}\n")

        return self.environments.ensure(
            RequirementSet.of(function.requirements, bare=KFP_RUNTIME),
            index_url=next(iter(function.index_urls), None),
            on_progress=tell,
        )

    def _specify(
        self,
        order: WorkOrder,
        executor: ContainerExecutor,
        environment: PythonEnvironment,
        work_dir: Path,
    ) -> TaskSpec:
        source = executor.function.source.encode()
        source_path = work_dir / "ephemeral_component.py"
        source_path.write_bytes(source)
        input_path = work_dir / "executor_input.json"
        input_path.write_text(json.dumps(self._executor_input(order, work_dir)), "utf-8")
        return TaskSpec(
            task_id=order.task_id,
            kind=TaskKind.KFP,
            source=source_path,
            source_digest=digest_of(source),
            function=executor.function.function,
            input_path=input_path,
            work_dir=work_dir,
            log_path=work_dir / LOG,
            environment=environment,
            env={**executor.env, "TMPDIR": str(work_dir / "tmp")},
            limits=Limits(timeout_s=executor.timeout_s),
        )

    def _executor_input(self, order: WorkOrder, work_dir: Path) -> dict[str, Any]:
        component = order.task.component
        (work_dir / "parameters").mkdir()
        (work_dir / "outputs").mkdir()
        return {
            "inputs": {
                "parameterValues": dict(order.parameters),
                "artifacts": {
                    name: {"artifacts": self._input_artifacts(order, name, value, work_dir)}
                    for name, value in order.artifacts.items()
                },
            },
            "outputs": {
                "parameters": {
                    name: {"outputFile": str(parameter_file(work_dir, name))}
                    for name in component.output_parameters
                },
                "artifacts": {
                    name: {
                        "artifacts": [
                            _runtime_artifact(
                                name, spec.schema_title, artifact_path(work_dir, name), {}
                            )
                        ]
                    }
                    for name, spec in component.output_artifacts.items()
                },
                "outputFile": str(work_dir / EXECUTOR_OUTPUT),
            },
        }

    def _input_artifacts(
        self, order: WorkOrder, name: str, value: ArtifactValue, work_dir: Path
    ) -> list[dict[str, Any]]:
        folder = work_dir / "inputs"
        if isinstance(value, Artifact):
            return [self._input_artifact(order, value, folder / name)]
        return [
            self._input_artifact(order, artifact, folder / name / str(index))
            for index, artifact in enumerate(value)
        ]

    def _input_artifact(self, order: WorkOrder, artifact: Artifact, path: Path) -> dict[str, Any]:
        if artifact.is_blob:
            materialise(self.stores.blobs, artifact, path)
        else:
            found = self.resolve_uri(artifact.uri, order.context)
            if found.digest != artifact.digest:
                raise DigestMismatch(
                    f"artifact {artifact.uri}", expected=artifact.digest, actual=found.digest
                )
            # The task sees the logical URI, and the folder or file as its `.path`.
            resolved = _runtime_artifact(
                artifact.name, artifact.schema_type, found.path, artifact.metadata
            )
            return {**resolved, "uri": artifact.uri, "custom_path": str(found.path)}
        return _runtime_artifact(artifact.name, artifact.schema_type, path, artifact.metadata)

    def _result(
        self, order: WorkOrder, outcome: TaskOutcome, work_dir: Path, packages_digest: str
    ) -> TaskResult:
        if order.is_canceled.is_set() and not outcome.succeeded:
            return TaskResult(TaskState.CANCELED, outcome=outcome)
        if not outcome.succeeded:
            return TaskResult(
                TaskState.FAILED,
                problem=_problem(outcome),
                outcome=outcome,
                packages_digest=packages_digest,
                is_lost=outcome.end in (TaskEnd.LOST, TaskEnd.CANCELED),
            )
        prefix = f"runs://{order.context.run_id}/{order.path}"
        try:
            parameters, artifacts = collect_outputs(
                self.stores, work_dir, order.task.component, prefix
            )
        except Exception as error:
            problem = problem_of(error)
            return TaskResult(
                TaskState.FAILED,
                problem=problem,
                outcome=outcome,
                packages_digest=packages_digest,
            )
        shutil.rmtree(work_dir / "outputs", ignore_errors=True)
        return TaskResult(
            TaskState.SUCCEEDED, parameters, artifacts, None, outcome, packages_digest
        )


def _runtime_artifact(
    name: str, schema_title: str, path: Path, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "type": {"schemaTitle": schema_title},
        "uri": str(path),
        "metadata": dict(metadata),
    }


def _problem(outcome: TaskOutcome) -> TaskProblem:
    error = outcome.error
    kind = ERRORED if outcome.is_machinery else FAILED
    if error is None:
        return TaskProblem(kind, outcome.end.value, "The task did not succeed.")
    return TaskProblem(kind, error.type, error.message, error.traceback)
