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
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from seamline.domain.digests import digest_of
from seamline.domain.errors import Unavailable
from seamline.domain.states import Fidelity, TaskState
from seamline.runtime.commands import Command, command_task, resolve_host_command
from seamline.runtime.containers import ContainerRun, Mount, container_name
from seamline.runtime.environments import EnvironmentCache, PythonEnvironment
from seamline.runtime.image_components import ComponentImage, component_run
from seamline.runtime.outcomes import TaskEnd, TaskOutcome
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.specs import Limits, OnStarted, TaskIsolation, TaskKind, TaskMounts, TaskSpec
from seamline.store.stores import Stores
from seamline.train.attempts.calls import Call, make_call
from seamline.train.attempts.folders import make_anew, remove_folder
from seamline.train.attempts.importing import import_artifact
from seamline.train.attempts.machine import Machine
from seamline.train.attempts.order import LOG, WorkOrder, attempt_folder, attempt_id
from seamline.train.attempts.outputs import collect_outputs
from seamline.train.attempts.requirements import KFP_RUNTIME, requirement_set
from seamline.train.attempts.volumes import remove_attempt_volumes
from seamline.train.context import FindIndex, PackageIndex, PinImage, ResolveUri, Runner
from seamline.train.ir.lightweight import PythonFunction
from seamline.train.ir.types import ContainerExecutor, ImporterExecutor
from seamline.train.results import (
    ERRORED,
    FAILED,
    StartedImage,
    TaskProblem,
    TaskResult,
    failed_with,
    problem_of,
)

_log = logging.getLogger(__name__)
_SOURCE = "ephemeral_component.py"
_INPUT = "executor_input.json"
Settle = Callable[[TaskOutcome], TaskOutcome]


@dataclass(frozen=True)
class _Prepared:
    """What the runner is to run, and what is to be done when that has ended."""

    spec: TaskSpec
    packages_digest: str | None = None
    image: StartedImage | None = None
    settle: Settle = lambda outcome: outcome


@dataclass(frozen=True)
class Workshop:
    """What attempts work with."""

    stores: Stores
    runner: Runner
    environments: EnvironmentCache
    resolve_uri: ResolveUri
    machine: Machine
    find_index: FindIndex
    pin_image: PinImage

    def perform(self, order: WorkOrder, on_started: OnStarted) -> TaskResult:
        """Never raises: what goes wrong is the task's result."""
        try:
            match order.task.executor:
                case ImporterExecutor() as importer:
                    return import_artifact(self.stores, self.resolve_uri, order, importer)
                case ContainerExecutor() as executor:
                    return self._run(order, executor, on_started)
        except Exception as error:
            problem = problem_of(error)
            if problem.kind == ERRORED:
                _log.exception("Task %s", order.task_id)
            return failed_with(problem)

    def end_leftovers(
        self, run_id: str, path: str, attempt: int, fidelity: Fidelity | None
    ) -> None:
        """What an attempt may have left behind that does not die with its process group."""
        remove_attempt_volumes(self.stores.root / attempt_folder(run_id, path, attempt))
        if fidelity is not Fidelity.CONTAINER:
            return
        try:
            name = container_name(attempt_id(run_id, path, attempt))
            self.machine.container_engine().end_container(name)
        except Unavailable as error:
            _log.warning("A container of %s may be left: %s", path, error)

    # -- one attempt -----------------------------------------------------------------------

    def _run(
        self, order: WorkOrder, executor: ContainerExecutor, on_started: OnStarted
    ) -> TaskResult:
        work_dir = self.stores.root.absolute() / order.folder
        make_anew(work_dir)
        (work_dir / "tmp").mkdir()
        try:
            call = make_call(self.stores, self.resolve_uri, order, executor, work_dir)
            prepared = self._prepare(order, executor, call, work_dir)
            if order.is_canceled.is_set():
                return TaskResult(TaskState.CANCELED)
            started = self.runner.start(prepared.spec, on_started)
            if order.is_canceled.is_set():
                self.runner.kill(order.task_id)
            outcome = prepared.settle(started.result())
            return self._result(order, outcome, work_dir, prepared)
        finally:
            for used_up in ("inputs", "tmp"):
                remove_folder(f"{work_dir}/{used_up}")
            remove_attempt_volumes(work_dir)

    def _mounts(self, order: WorkOrder, call: Call) -> TaskMounts | None:
        """For a task without a container."""
        if not call.binds:
            return None
        ability = self.machine.mount_ability(order.fidelity)
        return TaskMounts(call.binds, ability, self.stores.root)

    def _container_mounts(self, order: WorkOrder, call: Call) -> Iterator[Mount]:
        for bind in call.binds:
            yield Mount(Path(bind.source), Path(bind.target), bind.is_read_only)
        shared = Path(order.names.text("workspace_path", order.path))
        if shared.is_dir():
            yield Mount.same(shared)

    def _prepare(
        self, order: WorkOrder, executor: ContainerExecutor, call: Call, work_dir: Path
    ) -> _Prepared:
        if executor.function is None:
            if order.fidelity is Fidelity.HOST_PROCESS:
                return self._on_host(order, call, work_dir)
            return self._in_container(order, call, work_dir)
        if order.fidelity is Fidelity.CONTAINER:
            return self._in_its_image(order, executor.function, call, work_dir)
        return self._forked(order, executor.function, call, work_dir)

    # -- Python components -----------------------------------------------------------------

    def _forked(
        self, order: WorkOrder, function: PythonFunction, call: Call, work_dir: Path
    ) -> _Prepared:
        environment = self._environment(order, function, work_dir)
        packages = self.stores.blobs.put("\n".join(environment.lock).encode())
        return _Prepared(self._specify(order, function, call, work_dir, environment), packages)

    def _environment(
        self, order: WorkOrder, function: PythonFunction, work_dir: Path
    ) -> PythonEnvironment:
        wanted = requirement_set(function)
        if order.fidelity is Fidelity.IN_PROCESS:
            return self.environments.host(wanted)
        index = self._index(order, function)
        return self.environments.ensure(
            wanted,
            index_url=index.url if index else None,
            scope=index.scope if index else "",
            on_progress=_tell(work_dir / LOG),
        )

    def _index(self, order: WorkOrder, function: PythonFunction) -> PackageIndex | None:
        """The one that the component names; else that of the run's environment."""
        if function.index_urls:
            return PackageIndex(function.index_urls[0])
        return self.find_index(order.context.environment, function.requirements)

    def _specify(
        self,
        order: WorkOrder,
        function: PythonFunction,
        call: Call,
        work_dir: Path,
        environment: PythonEnvironment,
    ) -> TaskSpec:
        source = function.source.encode()
        (work_dir / _SOURCE).write_bytes(source)
        (work_dir / _INPUT).write_text(json.dumps(call.executor_input), "utf-8")
        is_reused = order.fidelity is Fidelity.REUSED
        return TaskSpec(
            task_id=order.task_id,
            kind=TaskKind.KFP,
            source=work_dir / _SOURCE,
            source_digest=digest_of(source),
            function=function.function,
            input_path=work_dir / _INPUT,
            work_dir=work_dir,
            log_path=work_dir / LOG,
            environment=environment,
            env=call.env,
            limits=call.limits,
            isolation=TaskIsolation.REUSED if is_reused else TaskIsolation.FORKED,
            share=order.context.run_id if is_reused else "",
            is_light=not function.imports_libraries,
            mounts=self._mounts(order, call),
        )

    def _in_its_image(
        self, order: WorkOrder, function: PythonFunction, call: Call, work_dir: Path
    ) -> _Prepared:
        index = self._index(order, function)
        started = self._pinned_image(order, call, work_dir)
        image = ComponentImage(
            image=started.digest,
            reference=started.reference,
            requirements=function.requirements,
            index_urls=(index.url,) if index else (),
            trusted_hosts=function.trusted_hosts or None,
            inputs=call.outside,
            mounts=tuple(self._container_mounts(order, call)),
        )
        spec = self._specify(order, function, call, work_dir, self._host())
        kfp_dir = self.environments.ensure_folder(KFP_RUNTIME)
        run = component_run(spec, image, kfp_dir)
        return self._contained(order, run, started, call, work_dir)

    # -- commands --------------------------------------------------------------------------

    def _in_container(self, order: WorkOrder, call: Call, work_dir: Path) -> _Prepared:
        started = self._pinned_image(order, call, work_dir)
        run = ContainerRun(
            name=container_name(order.task_id),
            image=started.digest,
            reference=started.reference,
            command=call.command,
            args=call.args,
            env=call.env,
            mounts=(
                Mount.same(work_dir),
                *(Mount.same(path, is_read_only=True) for path in call.outside),
                *self._container_mounts(order, call),
            ),
            memory_bytes=call.limits.memory_bytes,
            cpus=call.limits.cpu_cores,
        )
        return self._contained(order, run, started, call, work_dir)

    def _contained(
        self,
        order: WorkOrder,
        run: ContainerRun,
        image: StartedImage,
        call: Call,
        work_dir: Path,
    ) -> _Prepared:
        engine = self.machine.container_engine()
        spec = engine.container_task(
            order.task_id,
            run,
            work_dir=work_dir,
            log_path=work_dir / LOG,
            host=self._host(),
            timeout_s=call.limits.timeout_s,
        )
        return _Prepared(
            spec, image=image, settle=lambda outcome: engine.settle(run, outcome, spec)
        )

    def _on_host(self, order: WorkOrder, call: Call, work_dir: Path) -> _Prepared:
        words = (*call.command, *call.args)
        path = self.machine.environ.get("PATH", os.defpath)
        allowed = self.machine.host_containers
        program = resolve_host_command(call.command, path, allowed=allowed)
        spec = command_task(
            order.task_id,
            Command(program, words, call.env),
            work_dir=work_dir,
            log_path=work_dir / LOG,
            host=self._host(),
            limits=call.limits,
        )
        return _Prepared(replace(spec, mounts=self._mounts(order, call)))

    def _pinned_image(self, order: WorkOrder, call: Call, work_dir: Path) -> StartedImage:
        """By digest: the bytes that are looked at are those that run."""
        reference = self.pin_image(order.context, call.image)
        engine = self.machine.container_engine()
        digest = engine.ensure_image(reference, _tell(work_dir / LOG))
        return StartedImage(reference, str(digest))

    def _host(self) -> PythonEnvironment:
        return self.environments.ensure(RequirementSet.of(()))

    # -- how it ended ----------------------------------------------------------------------

    def _result(
        self, order: WorkOrder, outcome: TaskOutcome, work_dir: Path, prepared: _Prepared
    ) -> TaskResult:
        packages_digest = prepared.packages_digest
        if order.is_canceled.is_set() and not outcome.succeeded:
            return TaskResult(TaskState.CANCELED, outcome=outcome)
        if not outcome.succeeded:
            return TaskResult(
                TaskState.FAILED,
                problem=_problem(outcome, prepared.spec.limits),
                outcome=outcome,
                packages_digest=packages_digest,
                image=prepared.image,
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
                image=prepared.image,
            )
        remove_folder(f"{work_dir}/outputs")
        return TaskResult(
            TaskState.SUCCEEDED,
            parameters,
            artifacts,
            None,
            outcome,
            packages_digest,
            prepared.image,
        )


def _tell(log: Path) -> Callable[[str], None]:
    def tell(line: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"[environment] {line}\n")

    return tell


def _problem(outcome: TaskOutcome, limits: Limits) -> TaskProblem:
    error = outcome.error
    kind = ERRORED if outcome.is_machinery else FAILED
    if outcome.timed_out:
        message = f"It did not end within its {limits.timeout_s:g} s, and was killed with all that "
        tail = error.log_tail if error else ""
        return TaskProblem(kind, "Timeout", f"{message}it had started.", log_tail=tail)
    if error is None:
        return TaskProblem(kind, outcome.end.value, "The task did not succeed.")
    return TaskProblem(kind, error.type, error.message, error.traceback, log_tail=error.log_tail)
