"""IR → plan, by pure functions: sub-pipelines are flattened, inputs traced to their origins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import TypeVar

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.ir.document import Node
from seamline.train.ir.expressions import names_read
from seamline.train.ir.placeholders import check_placeholders
from seamline.train.ir.types import (
    Component,
    Constant,
    Dag,
    DagTask,
    FinalStatus,
    FromInput,
    FromTask,
    ImporterExecutor,
    InputSource,
    Loop,
    Pipeline,
    RetryPolicy,
)
from seamline.train.ir.values import storable
from seamline.train.plan.sources import (
    ArtifactSource,
    Declared,
    FirstOf,
    Literal,
    NodeOutput,
    NodeStatus,
    Nothing,
    Part,
    ScopeInput,
    Source,
    Template,
)
from seamline.train.plan.types import (
    MAX_DISPLAY_NAME,
    MAX_NAME,
    MAX_NODES,
    Condition,
    Gate,
    Plan,
    PlannedGroup,
    PlannedLoop,
    PlannedNode,
    PlannedTask,
)

AnySource = TypeVar("AnySource", Source, ArtifactSource)


def make_plan(pipeline: Pipeline) -> Plan:
    """Raises InvalidInput where inputs and outputs do not fit together."""
    bench = _Workbench(pipeline)
    return _plan_scope(bench, pipeline.root, _dag_of(pipeline.root), ("root",), None, 0)


class _Workbench:
    """The pipeline, and how many nodes it has unfolded into so far."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._count = 0

    def count(self, name: str, around: int) -> None:
        """`around`: how long the path of the scope is that the name is in."""
        self._count += 1
        if self._count > MAX_NODES or around + len(name) > MAX_NAME:
            raise InvalidInput(
                f"The pipeline unfolds into more than {MAX_NODES} tasks, or into names longer "
                f"than {MAX_NAME} characters, at {name[:80]!r}."
            )


def _plan_scope(
    bench: _Workbench,
    component: Component,
    dag: Dag,
    open_components: tuple[str, ...],
    retry: RetryPolicy | None,
    around: int,
) -> Plan:
    builder = _Builder(bench, around)
    outputs = builder.add(
        _Frame(
            path="",
            dag=dag,
            parameters={
                name: Declared(ScopeInput(name), spec)
                for name, spec in component.parameters.items()
            },
            artifacts={name: ScopeInput(name) for name in component.artifacts},
            open_components=open_components,
            retry=retry,
        )
    )
    return Plan(
        pipeline=bench.pipeline,
        parameters=component.parameters,
        nodes=builder.nodes,
        output_parameters=outputs.parameters,
        output_artifacts=outputs.artifacts,
    )


@dataclass(frozen=True)
class _Frame:
    """One DAG in one place: what its inputs are bound to."""

    path: str
    dag: Dag
    parameters: Mapping[str, Source]
    artifacts: Mapping[str, ArtifactSource]
    open_components: tuple[str, ...]
    #: Of the sub-pipeline: for the tasks in it that have none of their own.
    retry: RetryPolicy | None

    def name(self, task: str) -> str:
        return f"{self.path}/{task}" if self.path else task


@dataclass(frozen=True)
class _Outputs:
    parameters: Mapping[str, Source]
    artifacts: Mapping[str, ArtifactSource]


@dataclass(frozen=True)
class _Bound:
    """A DAG's task with its inputs traced."""

    path: str
    task: DagTask
    component: Component
    gate: Gate
    parameters: Mapping[str, Source]
    artifacts: Mapping[str, ArtifactSource]
    #: All that the task is given, declared by its component or not.
    given: Mapping[str, Source]


@dataclass
class _Builder:
    """Adds the nodes of one scope."""

    bench: _Workbench
    #: See `_Workbench.count`.
    around: int
    nodes: dict[str, PlannedNode] = field(default_factory=dict)

    def add(self, frame: _Frame) -> _Outputs:
        """Adds a DAG's tasks; returns what its outputs are bound to."""
        made: dict[str, _Outputs] = {}
        order = TopologicalSorter({name: t.after for name, t in frame.dag.tasks.items()})
        for name in order.static_order():
            bound = self._bind(frame, frame.dag.tasks[name], made)
            made[name] = self._add_task(frame, bound)
        return _Outputs(
            {
                key: _first_of(
                    [
                        _output_of(source, made[source.task].parameters, frame, key)
                        for source in sources
                    ]
                )
                for key, sources in frame.dag.parameters.items()
            },
            {
                key: _first_of(
                    [
                        _output_of(source, made[source.task].artifacts, frame, key)
                        for source in sources
                    ]
                )
                for key, sources in frame.dag.artifacts.items()
            },
        )

    def _bind(self, frame: _Frame, task: DagTask, made: Mapping[str, _Outputs]) -> _Bound:
        path = frame.name(task.name)
        self.bench.count(path, self.around)
        component = self.bench.pipeline.components[task.component]
        if component.name in frame.open_components:
            circle = " → ".join((*frame.open_components, component.name))
            raise InvalidInput(
                f"A component contains itself: {circle}.",
                next_step="Repeat something with a loop (dsl.ParallelFor) instead.",
            )
        given = _trace_parameters(frame, task, made)
        return _Bound(
            path=path,
            task=task,
            component=component,
            gate=Gate(
                tuple(frame.name(name) for name in task.after),
                task.ignores_upstream_failure,
                frame.path or None,
                _bind_condition(path, task, given),
            ),
            parameters=_declare(path, task, component, given),
            artifacts=_trace_artifacts(frame, task, component, made),
            given=given,
        )

    def _add_task(self, frame: _Frame, bound: _Bound) -> _Outputs:
        task, body = bound.task, bound.component.body
        retry = task.retry or frame.retry
        inside = frame.open_components
        if isinstance(body, Dag):
            inside = (*inside, bound.component.name)
        if task.loop is not None:
            return self._add_loop(bound, task.loop, inside, retry)
        if isinstance(body, Dag):
            return self._add_group(
                bound,
                _Frame(bound.path, body, bound.parameters, bound.artifacts, inside, retry),
            )
        uri, metadata = _bind_importer(bound)
        self.nodes[bound.path] = PlannedTask(
            name=bound.path,
            component=bound.component,
            executor=body,
            gate=bound.gate,
            parameters=bound.parameters,
            artifacts=bound.artifacts,
            uri=uri,
            metadata=metadata,
            retry=retry,
            enable_cache=task.enable_cache,
            cache_key=task.cache_key,
            display_name=_display_name(task),
        )
        return _outputs_of(bound.path, bound.component)

    def _add_group(self, bound: _Bound, frame: _Frame) -> _Outputs:
        self.nodes[bound.path] = PlannedGroup(
            name=bound.path,
            component=bound.component,
            gate=bound.gate,
            members=tuple(frame.name(name) for name in frame.dag.tasks),
            display_name=_display_name(bound.task),
        )
        return self.add(frame)

    def _add_loop(
        self, bound: _Bound, loop: Loop, inside: tuple[str, ...], retry: RetryPolicy | None
    ) -> _Outputs:
        items, artifact_items = _bind_items(bound, loop)
        body = _plan_scope(
            self.bench,
            bound.component,
            _body_of(bound),
            inside,
            retry,
            self.around + len(bound.path) + len(f"[{MAX_NODES - 1}]/"),
        )
        self.nodes[bound.path] = PlannedLoop(
            name=bound.path,
            component=bound.component,
            gate=bound.gate,
            loop=loop,
            items=items,
            artifact_items=artifact_items,
            parameters=bound.parameters,
            artifacts=bound.artifacts,
            body=body,
            display_name=_display_name(bound.task),
        )
        return _Outputs(  # What the body makes, which is less than it declares in a broken file.
            {key: NodeOutput(bound.path, key) for key in body.output_parameters},
            {key: NodeOutput(bound.path, key) for key in body.output_artifacts},
        )


def _display_name(task: DagTask) -> str:
    return storable(task.display_name or task.name)[:MAX_DISPLAY_NAME]


def _dag_of(component: Component) -> Dag:
    if not isinstance(component.body, Dag):
        raise InvalidInput("root has no dag: there is nothing to run.")
    if not component.body.tasks:
        raise InvalidInput("The pipeline has no tasks: there is nothing to run.")
    return component.body


def _body_of(bound: _Bound) -> Dag:
    """What a loop over a component repeats: its DAG, or a DAG that holds nothing but it."""
    component = bound.component
    if isinstance(component.body, Dag):
        return component.body
    name = component.name.removeprefix("comp-")
    only = DagTask(
        name=name,
        component=component.name,
        parameters={key: FromInput(key) for key in component.parameters},
        artifacts={key: FromInput(key) for key in component.artifacts},
        after=(),
        enable_cache=bound.task.enable_cache,
        cache_key=bound.task.cache_key,
    )
    return Dag(
        {name: only},
        {key: (FromTask(name, key),) for key in component.output_parameters},
        {key: (FromTask(name, key),) for key in component.output_artifacts},
    )


def _outputs_of(path: str, component: Component) -> _Outputs:
    return _Outputs(
        {key: NodeOutput(path, key) for key in component.output_parameters},
        {key: NodeOutput(path, key) for key in component.output_artifacts},
    )


def _first_of(sources: list[AnySource]) -> AnySource | FirstOf:
    return sources[0] if len(sources) == 1 else FirstOf(tuple(sources))


# -- inputs -----------------------------------------------------------------------------------


def _trace_parameters(
    frame: _Frame, task: DagTask, made: Mapping[str, _Outputs]
) -> dict[str, Source]:
    traced: dict[str, Source] = {}
    templates: dict[str, Constant] = {}
    for key, source in task.parameters.items():
        if isinstance(source, Constant):
            templates[key] = source
        else:
            traced[key] = _parameter_source(source, made, frame, f"{frame.name(task.name)}.{key}")
    for key, constant in templates.items():
        traced[key] = Template.of(constant.value, traced)
    return traced


def _declare(
    path: str, task: DagTask, component: Component, given: Mapping[str, Source]
) -> dict[str, Source]:
    """The component's inputs; those of a loop's body but for its item."""
    declared: dict[str, Source] = {}
    for key, spec in component.parameters.items():
        if task.loop is not None and key == task.loop.item:
            continue
        if key not in given and not (spec.is_optional or spec.has_default):
            raise InvalidInput(f"Task {path!r} is not given its input {key!r}.")
        declared[key] = Declared(given.get(key, Nothing()), spec)
    return declared


def _bind_condition(path: str, task: DagTask, given: Mapping[str, Source]) -> Condition | None:
    if task.condition is None:
        return None
    names = names_read(task.condition)
    for name in names:
        if name not in given:
            raise InvalidInput(
                f"The condition of task {path!r} reads {name!r}, which the task is not given.",
                next_step=nearest(name, given),
            )
    return Condition(task.condition, {name: given[name] for name in names})


def _bind_items(bound: _Bound, loop: Loop) -> tuple[Source, ArtifactSource]:
    """(parameters, artifacts) that the loop is over: one of them is nothing."""
    if isinstance(loop.items, Constant):
        return Literal(loop.items.value), Nothing()
    name = loop.items.name
    known: Mapping[str, object] = bound.artifacts if loop.is_over_artifacts else bound.given
    if name not in known:
        raise InvalidInput(
            f"The loop {bound.path!r} is over {name!r}, which it is not given.",
            next_step=nearest(name, known),
        )
    if loop.is_over_artifacts:
        return Nothing(), bound.artifacts[name]
    return bound.given[name], Nothing()


def _bind_importer(bound: _Bound) -> tuple[Source, Source]:
    """(URI, metadata); nothing for other components."""
    importer, path = bound.component.body, bound.path
    if not isinstance(importer, ImporterExecutor):
        return Nothing(), Nothing()
    inputs = {**bound.given, **bound.parameters}
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


def _trace_artifacts(
    frame: _Frame, task: DagTask, component: Component, made: Mapping[str, _Outputs]
) -> dict[str, ArtifactSource]:
    """The component's declared artifacts, and what a loop over artifacts takes its items from."""
    path = frame.name(task.name)
    traced: dict[str, ArtifactSource] = {}
    for key, source in task.artifacts.items():
        if isinstance(source, FromTask):
            traced[key] = _output_of(source, made[source.task].artifacts, frame, f"{path}.{key}")
        elif source.name in frame.artifacts:
            traced[key] = frame.artifacts[source.name]
        else:
            raise _unknown("input artifact", source.name, frame, frame.artifacts)
    item = task.loop.item if task.loop and task.loop.is_over_artifacts else None
    for key, spec in component.artifacts.items():
        if key in traced or key == item:
            continue
        if not spec.is_optional:
            raise InvalidInput(f"Task {path!r} is not given its input artifact {key!r}.")
        traced[key] = Nothing()
    return traced


def _parameter_source(
    source: InputSource, made: Mapping[str, _Outputs], frame: _Frame, what: str
) -> Source:
    match source:
        case Constant(value):
            return Literal(value)
        case FinalStatus(task):
            return NodeStatus(frame.name(task))
        case FromTask():
            return _part_of(_output_of(source, made[source.task].parameters, frame, what), source)
        case FromInput(name):
            if name not in frame.parameters:
                raise _unknown("input", name, frame, frame.parameters)
            return _part_of(frame.parameters[name], source)


def _part_of(whole: Source, source: FromInput | FromTask) -> Source:
    return Part(whole, source.part) if source.part is not None else whole


def _output_of(
    source: FromTask, known: Mapping[str, AnySource], frame: _Frame, what: str
) -> AnySource:
    if source.key not in known:
        raise _missing_output(source, frame, what, known)
    return known[source.key]


def _missing_output(
    source: FromTask, frame: _Frame, what: str, known: Iterable[str]
) -> InvalidInput:
    return InvalidInput(
        f"{what} reads the output {source.key!r} of {frame.name(source.task)!r}, "
        "which has no such output of that kind.",
        next_step=nearest(source.key, known),
    )


def _unknown(kind: str, name: str, frame: _Frame, known: Iterable[str]) -> InvalidInput:
    return InvalidInput(
        f"{frame.path or 'root'} has no {kind} {name!r}.", next_step=nearest(name, known)
    )
