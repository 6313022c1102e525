"""What flows into loops and branches, where the KFP compiler forgot to pass it on.

A loop, a branch or an exit handler compiles into a component of its own, and all that its tasks
read from outside has to be passed in as inputs, border by border. The compiler forgets some: a
condition in a loop on a parameter of the pipeline, the list of an inner loop, `item.part` in an
f-string or in a dsl.If. Then a task reads an input that its component does not have, or a component
is given one from where there is none. The inputs are called after what they carry, so that they can
be found and passed on:

    pipelinechannel--rows                    the parameter "rows" of the (sub-)pipeline
    pipelinechannel--train-model             the output "model" of the task "train"
    pipelinechannel--…-loop-item…            the item of a loop around
    pipelinechannel--…-loop-item…-subvar-a   its part "a"

Only inputs without a source are touched; what cannot be found is left, to be refused by its name.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from seamline.train.ir.expression_tree import Call, Part, Whole
from seamline.train.ir.expressions import Expression, parse_expression
from seamline.train.ir.tasks import tasks_read
from seamline.train.ir.types import (
    ArtifactSpec,
    Component,
    Dag,
    DagTask,
    FromInput,
    FromTask,
    InputSource,
    ParameterSpec,
    ParameterType,
)

CHANNEL = "pipelinechannel--"
_PART = "-subvar-"
_GROUP = re.compile(r"comp-(?:for-loop|condition|condition-branches|exit-handler)(?:-\d+)+")
_ITEM = re.compile(r"loop-item(?:-param-\d+)?(?:-subvar-\w+)?$")
_ANY = ParameterSpec(ParameterType.ANY)


class _Kind(StrEnum):
    PARAMETERS = "parameters"
    ARTIFACTS = "artifacts"


@dataclass
class _Draft:
    """A DAG whose inputs, and what its tasks are given, may still change."""

    component: Component
    dag: Dag
    inputs: Mapping[_Kind, dict[str, Any]]
    #: By task: what it is given.
    given: Mapping[str, Mapping[_Kind, dict[str, Any]]]
    #: The DAG around and the name of the task in it that this one is; None for a pipeline.
    around: tuple[_Draft, str] | None = None


@dataclass(frozen=True)
class _Found:
    source: FromInput | FromTask
    spec: ParameterSpec | ArtifactSpec


def mend_channels(
    root: Component, components: Mapping[str, Component]
) -> tuple[Component, dict[str, Component]]:
    """Each component once, from the outermost inwards."""
    drafts = {name: _draft(one) for name, one in components.items() if isinstance(one.body, Dag)}
    mender = _Mender(components, drafts)
    top = _draft(root)
    mender.mend_all(top)
    mended = {name: _finish(drafts[name]) for name in drafts}
    return _finish(top), {**components, **mended}


def _draft(component: Component) -> _Draft:
    dag = component.body if isinstance(component.body, Dag) else Dag({}, {}, {})
    return _Draft(
        component,
        dag,
        {
            _Kind.PARAMETERS: dict(component.parameters),
            _Kind.ARTIFACTS: dict(component.artifacts),
        },
        {
            name: {
                _Kind.PARAMETERS: dict(task.parameters),
                _Kind.ARTIFACTS: dict(task.artifacts),
            }
            for name, task in dag.tasks.items()
        },
    )


def _finish(draft: _Draft) -> Component:
    if not isinstance(draft.component.body, Dag):
        return draft.component
    tasks = {name: _finish_task(task, draft.given[name]) for name, task in draft.dag.tasks.items()}
    inputs = draft.inputs
    return dataclasses.replace(
        draft.component,
        parameters=inputs[_Kind.PARAMETERS],
        artifacts=inputs[_Kind.ARTIFACTS],
        body=dataclasses.replace(draft.dag, tasks=tasks),
    )


def _finish_task(task: DagTask, given: Mapping[_Kind, dict[str, Any]]) -> DagTask:
    parameters, artifacts = given[_Kind.PARAMETERS], given[_Kind.ARTIFACTS]
    if parameters == task.parameters and artifacts == task.artifacts:
        return task
    read = tasks_read((*parameters.values(), *artifacts.values()))
    return dataclasses.replace(
        task,
        parameters=parameters,
        artifacts=artifacts,
        after=tuple(dict.fromkeys((*task.after, *read))),
    )


class _Mender:
    def __init__(self, components: Mapping[str, Component], drafts: Mapping[str, _Draft]) -> None:
        self._components = components
        self._drafts = drafts

    def mend_all(self, top: _Draft) -> None:
        pending, seen = [top], {id(top)}
        while pending:
            draft = pending.pop()
            self._mend(draft)
            for name, task in draft.dag.tasks.items():
                inner = self._drafts.get(task.component)
                if inner is None or id(inner) in seen:
                    continue
                seen.add(id(inner))
                if _GROUP.fullmatch(inner.component.name):
                    inner.around = (draft, name)
                pending.append(inner)

    def _mend(self, draft: _Draft) -> None:
        for name, given in draft.given.items():
            inner = self._drafts.get(draft.dag.tasks[name].component)
            is_group = inner is not None and _GROUP.fullmatch(inner.component.name) is not None
            for kind, sources in given.items():
                for key, source in list(sources.items()):
                    if self._exists(draft, kind, source):
                        continue
                    found = self._look_up(draft, kind, source)
                    if found is not None:
                        sources[key] = found.source
                    elif is_group and inner is not None and _ITEM.search(key):
                        # There is no item out here; those inside who need it will find it.
                        del sources[key]
                        inner.inputs[kind].pop(key, None)

    def _exists(self, draft: _Draft, kind: _Kind, source: InputSource) -> bool:
        match source:
            case FromInput(name):
                return name in draft.inputs[kind]
            case FromTask(task, key):
                outputs = self._outputs(draft, kind, task)
                return outputs is None or key in outputs
        return True

    def _outputs(self, draft: _Draft, kind: _Kind, task: str) -> Mapping[str, Any] | None:
        """None for a task or a component that is not there: that is another mistake."""
        sibling = draft.dag.tasks.get(task)
        component = self._components.get(sibling.component) if sibling else None
        if component is None:
            return None
        if kind is _Kind.PARAMETERS:
            return component.output_parameters
        return component.output_artifacts

    def _look_up(self, draft: _Draft, kind: _Kind, source: InputSource) -> _Found | None:
        match source:
            case FromInput(name, part):
                return self._find(draft, kind, name.removeprefix(CHANNEL), part)
            case FromTask(task, key, part):
                return self._find(draft, kind, f"{task}-{key}", part)
        return None

    def _find(
        self, draft: _Draft, kind: _Kind, channel: str, part: Expression | None
    ) -> _Found | None:
        """Where the DAG has it, after it was passed in if need be."""
        inputs = draft.inputs[kind]
        for name in _input_names(channel, part):
            if name in inputs:
                return _Found(FromInput(name), inputs[name])
        if CHANNEL + channel in inputs:
            return _Found(FromInput(CHANNEL + channel, part), _ANY)
        if draft.around is None and channel in inputs:
            return _Found(FromInput(channel, part), inputs[channel])
        made = self._made_by_sibling(draft, kind, channel, part)
        if made is not None:
            return made
        if part is None and _PART in channel:
            whole, _, key = channel.rpartition(_PART)
            return self._find(draft, kind, whole, _part(key))
        return self._pass_in(draft, kind, channel, part)

    def _made_by_sibling(
        self, draft: _Draft, kind: _Kind, channel: str, part: Expression | None
    ) -> _Found | None:
        for task in draft.dag.tasks:
            outputs = self._outputs(draft, kind, task) or {}
            key = channel.removeprefix(f"{task}-")
            if key != channel and key in outputs:
                return _Found(FromTask(task, key, part), _ANY if part else outputs[key])
        return None

    def _pass_in(
        self, draft: _Draft, kind: _Kind, channel: str, part: Expression | None
    ) -> _Found | None:
        if draft.around is None:
            return None
        outer, task = draft.around
        found = self._find(outer, kind, channel, part)
        if found is None:
            return None
        key = next(iter(_input_names(channel, part)), CHANNEL + channel)
        outer.given[task][kind][key] = found.source
        draft.inputs[kind][key] = found.spec if kind is _Kind.ARTIFACTS else _ANY
        return _Found(FromInput(key), found.spec)


def _input_names(channel: str, part: Expression | None) -> list[str]:
    """How an input is called that carries exactly this."""
    if part is None:
        return [CHANNEL + channel]
    key = _key_of(part)
    return [] if key is None else [f"{CHANNEL}{channel}{_PART}{key}"]


def _key_of(selector: Expression) -> str | None:
    match selector.tree:
        case Part(Call("parseJson", Whole()), str() as key):
            return key
    return None


def _part(key: str) -> Expression:
    return parse_expression(f'parseJson(string_value)["{key}"]')
