"""IR flattened into leaf tasks with path names ("punctuality/predict"), by pure functions.

A sub-pipeline is a *group*: it opens when what it waits for has ended, and ends when its tasks
have. Groups keep the number of edges that of the file, where joining leaf to leaf would square it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.document import Node
from seamline.train.ir import (
    Component,
    Constant,
    ContainerExecutor,
    Dag,
    DagTask,
    FromInput,
    FromTask,
    ImporterExecutor,
    InputSource,
    Pipeline,
    RetryPolicy,
)
from seamline.train.placeholders import check_placeholders
from seamline.train.sources import (
    Declared,
    Literal,
    Nothing,
    RunArgument,
    Source,
    TaskOutput,
    Template,
)

MAX_TASKS = 100_000
#: Path names are a column and a folder.
MAX_NAME = 480


@dataclass(frozen=True)
class Gate:
    """What a node waits for: its siblings (tasks or groups), and its group's own gate."""

    after: tuple[str, ...]
    #: Opens once all of `after` ended, however they ended.
    is_tolerant: bool
    group: str | None


@dataclass(frozen=True)
class PlannedTask:
    name: str
    component: Component
    executor: ContainerExecutor | ImporterExecutor
    gate: Gate
    parameters: Mapping[str, Source]
    #: None: nothing upstream can make it, and it is optional.
    artifacts: Mapping[str, TaskOutput | None]
    #: Of importers.
    uri: Source
    metadata: Source
    retry: RetryPolicy | None
    enable_cache: bool


@dataclass(frozen=True)
class PlannedGroup:
    name: str
    gate: Gate
    members: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    pipeline: Pipeline
    #: In an order in which each task comes after all that it waits for.
    tasks: Mapping[str, PlannedTask]
    groups: Mapping[str, PlannedGroup]
    output_parameters: Mapping[str, Source]
    output_artifacts: Mapping[str, TaskOutput | None]

    def gate_of(self, node: str) -> Gate:
        return self.tasks[node].gate if node in self.tasks else self.groups[node].gate

    def leaves_of(self, node: str) -> Iterator[str]:
        pending = [node]
        while pending:
            name = pending.pop()
            if name in self.groups:
                pending.extend(reversed(self.groups[name].members))
            else:
                yield name


def make_plan(pipeline: Pipeline) -> Plan:
    """Raises InvalidInput where inputs and outputs do not fit together."""
    builder = _Builder(pipeline)
    scope = _Scope(
        path="",
        dag=_dag_of(pipeline.root),
        component=pipeline.root,
        parameters={
            name: Declared(RunArgument(name), spec)
            for name, spec in pipeline.root.parameters.items()
        },
        artifacts=dict.fromkeys(pipeline.root.artifacts),
        open_components=("root",),
    )
    outputs = builder.add(scope)
    return Plan(pipeline, builder.tasks, builder.groups, outputs.parameters, outputs.artifacts)


@dataclass(frozen=True)
class _Scope:
    """One DAG in one place: what its inputs are bound to."""

    path: str
    dag: Dag
    component: Component
    parameters: Mapping[str, Source]
    artifacts: Mapping[str, TaskOutput | None]
    open_components: tuple[str, ...]

    def name(self, task: str) -> str:
        return f"{self.path}/{task}" if self.path else task


@dataclass(frozen=True)
class _Outputs:
    parameters: Mapping[str, Source]
    artifacts: Mapping[str, TaskOutput | None]


class _Builder:
    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.tasks: dict[str, PlannedTask] = {}
        self.groups: dict[str, PlannedGroup] = {}

    def add(self, scope: _Scope) -> _Outputs:
        """Adds a DAG's tasks; returns what its outputs are bound to."""
        made: dict[str, _Outputs] = {}
        order = TopologicalSorter({name: t.after for name, t in scope.dag.tasks.items()})
        for name in order.static_order():
            task = scope.dag.tasks[name]
            made[name] = self._add_task(scope, task, made)
        return _Outputs(
            {key: _parameter_from(source, made, scope, key) for key, source in
             scope.dag.parameters.items()},
            {key: _artifact_from(source, made, scope, key) for key, source in
             scope.dag.artifacts.items()},
        )  # fmt: skip

    def _add_task(self, scope: _Scope, task: DagTask, made: Mapping[str, _Outputs]) -> _Outputs:
        component = self._pipeline.components[task.component]
        path = scope.name(task.name)
        if component.name in scope.open_components:
            circle = " → ".join((*scope.open_components, component.name))
            raise InvalidInput(f"A component contains itself: {circle}.")
        gate = Gate(
            tuple(scope.name(name) for name in task.after),
            task.ignores_upstream_failure,
            scope.path or None,
        )
        parameters, extra = _bind_parameters(scope, task, component, made)
        artifacts = _bind_artifacts(scope, task, component, made)
        if isinstance(component.body, Dag):
            return self._add_group(
                _Scope(path, component.body, component, parameters, artifacts,
                       (*scope.open_components, component.name)), gate,
            )  # fmt: skip
        if len(self.tasks) >= MAX_TASKS or len(path) > MAX_NAME:
            raise InvalidInput(
                f"The pipeline unfolds into more than {MAX_TASKS} tasks, or into names longer "
                f"than {MAX_NAME} characters, at {path[:80]!r}."
            )
        uri, metadata = _bind_importer(path, component, {**extra, **parameters})
        self.tasks[path] = PlannedTask(
            name=path,
            component=component,
            executor=component.body,
            gate=gate,
            parameters=parameters,
            artifacts=artifacts,
            uri=uri,
            metadata=metadata,
            retry=task.retry,
            enable_cache=task.enable_cache,
        )
        return _Outputs(
            {key: TaskOutput(path, key) for key in component.output_parameters},
            {key: TaskOutput(path, key) for key in component.output_artifacts},
        )

    def _add_group(self, scope: _Scope, gate: Gate) -> _Outputs:
        members = tuple(scope.name(name) for name in scope.dag.tasks)
        self.groups[scope.path] = PlannedGroup(scope.path, gate, members)
        return self.add(scope)


def _dag_of(component: Component) -> Dag:
    if not isinstance(component.body, Dag):
        raise InvalidInput("root has no dag: there is nothing to run.")
    if not component.body.tasks:
        raise InvalidInput("The pipeline has no tasks: there is nothing to run.")
    return component.body


def _bind_parameters(
    scope: _Scope, task: DagTask, component: Component, made: Mapping[str, _Outputs]
) -> tuple[dict[str, Source], dict[str, Source]]:
    """(declared inputs, inputs that only placeholders use)."""
    raw: dict[str, Source] = {}
    templates: dict[str, Constant] = {}
    for key, source in task.parameters.items():
        if isinstance(source, Constant):
            templates[key] = source
        else:
            raw[key] = _parameter_source(source, made, scope, f"{scope.name(task.name)}.{key}")
    for key, constant in templates.items():
        raw[key] = Template.of(constant.value, raw)
    declared: dict[str, Source] = {}
    for key, spec in component.parameters.items():
        if key not in raw and not (spec.is_optional or spec.has_default):
            raise InvalidInput(f"Task {scope.name(task.name)!r} is not given its input {key!r}.")
        declared[key] = Declared(raw.get(key, Nothing()), spec)
    return declared, {key: source for key, source in raw.items() if key not in declared}


def _bind_importer(
    path: str, component: Component, inputs: Mapping[str, Source]
) -> tuple[Source, Source]:
    """(URI, metadata); nothing for other components."""
    importer = component.body
    if not isinstance(importer, ImporterExecutor):
        return Nothing(), Nothing()
    check_placeholders(importer.metadata, inputs, path, Node(None, f"{path}: metadata"))
    metadata = Template.of(importer.metadata, inputs)
    if isinstance(importer.uri, str):
        check_placeholders(importer.uri, inputs, path, Node(None, f"{path}: artifactUri"))
        return Template.of(importer.uri, inputs), metadata
    if importer.uri.name not in inputs:
        raise InvalidInput(
            f"The importer {path!r} takes its URI from {importer.uri.name!r}, which it lacks.",
            next_step=nearest(importer.uri.name, inputs),
        )
    return inputs[importer.uri.name], metadata


def _bind_artifacts(
    scope: _Scope, task: DagTask, component: Component, made: Mapping[str, _Outputs]
) -> dict[str, TaskOutput | None]:
    bound: dict[str, TaskOutput | None] = {}
    for key, spec in component.artifacts.items():
        source = task.artifacts.get(key)
        if source is None:
            if not spec.is_optional:
                raise InvalidInput(
                    f"Task {scope.name(task.name)!r} is not given its input artifact {key!r}."
                )
            bound[key] = None
        elif isinstance(source, FromTask):
            bound[key] = _artifact_from(source, made, scope, f"{scope.name(task.name)}.{key}")
        else:
            if source.name not in scope.artifacts:
                raise _unknown("input artifact", source.name, scope, scope.artifacts)
            bound[key] = scope.artifacts[source.name]
    return bound


def _parameter_source(
    source: InputSource, made: Mapping[str, _Outputs], scope: _Scope, what: str
) -> Source:
    if isinstance(source, FromTask):
        return _parameter_from(source, made, scope, what)
    if isinstance(source, FromInput):
        if source.name not in scope.parameters:
            raise _unknown("input", source.name, scope, scope.parameters)
        return scope.parameters[source.name]
    return Literal(source.value)


def _parameter_from(
    source: FromTask, made: Mapping[str, _Outputs], scope: _Scope, what: str
) -> Source:
    known = made[source.task].parameters
    if source.key not in known:
        raise _missing_output(source, scope, what, known)
    return known[source.key]


def _artifact_from(
    source: FromTask, made: Mapping[str, _Outputs], scope: _Scope, what: str
) -> TaskOutput | None:
    known = made[source.task].artifacts
    if source.key not in known:
        raise _missing_output(source, scope, what, known)
    return known[source.key]


def _missing_output(
    source: FromTask, scope: _Scope, what: str, known: Mapping[str, object]
) -> InvalidInput:
    return InvalidInput(
        f"{what} reads the output {source.key!r} of {scope.name(source.task)!r}, "
        "which has no such output of that kind.",
        next_step=nearest(source.key, known),
    )


def _unknown(kind: str, name: str, scope: _Scope, known: Mapping[str, object]) -> InvalidInput:
    return InvalidInput(
        f"{scope.path or 'root'} has no {kind} {name!r}.", next_step=nearest(name, known)
    )
