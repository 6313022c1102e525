"""What a component is called with: KFP's executor input, its environment and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamline.domain.errors import DigestMismatch, InvalidInput, NotFound
from seamline.runtime.mounts import Bind
from seamline.runtime.specs import Limits
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact, materialise
from seamline.train.attempts.order import WorkOrder
from seamline.train.attempts.outputs import EXECUTOR_OUTPUT, artifact_path, parameter_file
from seamline.train.attempts.volumes import task_binds
from seamline.train.context import ResolveUri
from seamline.train.ir.command import expand_variables, fill_environment, fill_text, fill_words
from seamline.train.ir.quantities import parse_bytes, parse_cores
from seamline.train.ir.types import Constant, ContainerExecutor, FromInput
from seamline.train.plan.sources import ArtifactValue
from seamline.trust.secrets import read_text


@dataclass(frozen=True)
class Call:
    """One attempt's, with everything filled in."""

    executor_input: Mapping[str, Any]
    env: Mapping[str, str]
    limits: Limits
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    #: Files and folders that the executor input names outside of the task's folder.
    outside: tuple[Path, ...]
    #: Volumes, and where the task finds them.
    binds: tuple[Bind, ...]


def make_call(
    stores: Stores,
    resolve_uri: ResolveUri,
    order: WorkOrder,
    executor: ContainerExecutor,
    work_dir: Path,
) -> Call:
    """Copies the input artifacts into the task's folder, verified.

    Raises DigestMismatch or NotFound for an artifact or secret that is not what it was.
    """
    inputs = _Inputs(stores, resolve_uri, order, work_dir)
    executor_input = inputs.executor_input()

    def name(placeholder: str) -> str:
        return order.names.text(placeholder, order.path)

    secrets = _secrets(stores, order, executor)
    env = fill_environment(executor.env, executor_input, name, secrets)
    variables = {**secrets, **env}

    def fill(words: tuple[Any, ...]) -> tuple[str, ...]:
        # As written, variables first: data never becomes a reference to one.
        expanded = [_expand(word, variables) for word in words]
        return tuple(fill_words(expanded, executor_input, name))

    is_command = executor.function is None
    asked = executor.resources
    memory = fill_text(asked.memory_limit, executor_input, name)
    cores = fill_text(asked.cpu_limit, executor_input, name)
    return Call(
        executor_input=executor_input,
        env={**variables, "TMPDIR": str(work_dir / "tmp")},
        limits=Limits(
            memory_bytes=parse_bytes(memory, "The memory limit") if memory else None,
            cpu_cores=parse_cores(cores, "The CPU limit") if cores else None,
            timeout_s=executor.timeout_s,
        ),
        image=fill_text(executor.image, executor_input, name),
        command=fill(executor.command) if is_command else (),
        args=fill(executor.args) if is_command else (),
        outside=tuple(inputs.outside),
        binds=_binds(stores, order, executor, work_dir),
    )


def _binds(
    stores: Stores, order: WorkOrder, executor: ContainerExecutor, work_dir: Path
) -> tuple[Bind, ...]:
    mounts = [
        (mount, input_text(order, mount.name, f"The volume at {mount.path}"))
        for mount in executor.mounts
    ]
    return task_binds(stores, order.context.environment, mounts, work_dir)


def _expand(word: Any, variables: Mapping[str, str]) -> Any:
    """Variables in a word, also inside struct placeholders."""
    match word:
        case str():
            return expand_variables(word, variables)
        case list():
            return [_expand(item, variables) for item in word]
        case dict():
            return {key: _expand(item, variables) for key, item in word.items()}
    return word


def input_text(order: WorkOrder, source: Constant | FromInput, what: str) -> str:
    """The name of a secret or volume."""
    value = source.value if isinstance(source, Constant) else order.parameters.get(source.name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{what} of task {order.path!r} has no name.")
    return value


def _secrets(stores: Stores, order: WorkOrder, executor: ContainerExecutor) -> dict[str, str]:
    found: dict[str, str] = {}
    for variable in executor.secrets:
        what = f"The {variable.kind} behind {variable.variable}"
        name = input_text(order, variable.name, what)
        try:
            value = read_text(stores, order.context.environment, variable.kind, name, variable.key)
        except NotFound:
            if variable.is_optional:
                continue
            raise
        found[variable.variable] = value
    return found


class _Inputs:
    """Builds the executor input, and remembers what it names outside of the task's folder."""

    def __init__(
        self, stores: Stores, resolve_uri: ResolveUri, order: WorkOrder, work_dir: Path
    ) -> None:
        self.outside: list[Path] = []
        self._stores = stores
        self._resolve_uri = resolve_uri
        self._order = order
        self._work_dir = work_dir

    def executor_input(self) -> dict[str, Any]:
        order, work_dir = self._order, self._work_dir
        component = order.task.component
        for folder, has in (
            ("parameters", component.output_parameters),
            ("outputs", component.output_artifacts),
        ):
            if has:
                (work_dir / folder).mkdir()
        return {
            "inputs": {
                "parameterValues": dict(order.parameters),
                "artifacts": {
                    name: {"artifacts": self._each(name, value)}
                    for name, value in order.artifacts.items()
                },
            },
            "outputs": {
                "parameters": {
                    name: {"outputFile": str(parameter_file(work_dir, name))}
                    for name in component.output_parameters
                },
                "artifacts": {
                    name: {"artifacts": [self._output(name, spec.schema_title)]}
                    for name, spec in component.output_artifacts.items()
                },
                "outputFile": str(work_dir / EXECUTOR_OUTPUT),
            },
        }

    def _output(self, name: str, schema_title: str) -> dict[str, Any]:
        return _runtime_artifact(name, schema_title, artifact_path(self._work_dir, name), {})

    def _each(self, name: str, value: ArtifactValue) -> list[dict[str, Any]]:
        folder = self._work_dir / "inputs" / name
        if isinstance(value, Artifact):
            return [self._input(value, folder)]
        return [self._input(one, folder / str(index)) for index, one in enumerate(value)]

    def _input(self, artifact: Artifact, path: Path) -> dict[str, Any]:
        if artifact.is_blob:
            materialise(self._stores.blobs, artifact, path)
            return _runtime_artifact(artifact.name, artifact.schema_type, path, artifact.metadata)
        found = self._resolve_uri(artifact.uri, self._order.context)
        if found.digest != artifact.digest:
            raise DigestMismatch(
                f"artifact {artifact.uri}", expected=artifact.digest, actual=found.digest
            )
        self.outside.append(found.path)
        # The task sees the logical URI, and the folder or file as its `.path`.
        shown = _runtime_artifact(
            artifact.name, artifact.schema_type, found.path, artifact.metadata
        )
        return {**shown, "uri": artifact.uri, "custom_path": str(found.path)}


def _runtime_artifact(
    name: str, schema_title: str, path: Path, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "type": {"schemaTitle": schema_title},
        "uri": str(path),
        "metadata": dict(metadata),
    }
