"""What the KFP compiler gets wrong about parts of loop items, put right.

With `for item in dsl.ParallelFor([{"a": 1}])`, `item.a` inside an f-string, or inside dsl.If and
dsl.Elif, compiles into inputs that come from nowhere:

1. the loop's task is given an input `…-subvar-a` from outside of the loop, where there is no item:
   inside the loop it is the part "a" of the item;
2. a group around the loop is given the item or a part of it, too, and does not need it;
3. a group in the loop is given the part, and its members ask for a part of the item, which the
   group was not given: the part is meant.

Only inputs whose source does not exist are touched, and only those named after loop items; whatever
else has no source is refused later, with its name.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

from seamline.train.expression_tree import Call, Part, Whole
from seamline.train.expressions import Expression, parse_expression
from seamline.train.ir import (
    Component,
    Dag,
    DagTask,
    FromInput,
    FromTask,
    InputSource,
)

_SUBVAR = "-subvar-"
_ITEM = re.compile(r"loop-item(?:-param-\d+)?(?:-subvar-\w+)?$")


def mend_loop_items(
    root: Component, components: Mapping[str, Component]
) -> tuple[Component, dict[str, Component]]:
    """Each component is mended once, from the outermost inwards."""
    mender = _Mender(components)
    root = mender.mend(root)
    pending = _used_by(root)
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen or name not in mender.components:
            continue
        seen.add(name)
        mended = mender.mend(mender.components[name])
        mender.components[name] = mended
        pending.extend(_used_by(mended))
    return root, mender.components


def _used_by(component: Component) -> list[str]:
    if not isinstance(component.body, Dag):
        return []
    return [task.component for task in component.body.tasks.values()]


class _Mender:
    def __init__(self, components: Mapping[str, Component]) -> None:
        self.components = dict(components)

    def mend(self, owner: Component) -> Component:
        """The component with its tasks mended; what these lose is taken from their components."""
        if not isinstance(owner.body, Dag):
            return owner
        dag = owner.body
        tasks = {name: self._mend_task(task, owner, dag) for name, task in dag.tasks.items()}
        return dataclasses.replace(owner, body=dataclasses.replace(dag, tasks=tasks))

    def _mend_task(self, task: DagTask, owner: Component, dag: Dag) -> DagTask:
        sources = {
            key: _part_given(source, owner.parameters) for key, source in task.parameters.items()
        }
        lost = [
            key
            for key, source in sources.items()
            if _ITEM.search(key) and not self._exists(source, owner, dag)
        ]
        kept = {key: source for key, source in sources.items() if key not in lost}
        component = self.components.get(task.component)
        if lost and component is not None:
            item = task.loop.item if task.loop is not None else None
            self.components[component.name] = _without(component, lost, item)
        return dataclasses.replace(task, parameters=kept) if kept != task.parameters else task

    def _exists(self, source: InputSource, owner: Component, dag: Dag) -> bool:
        match source:
            case FromInput(name):
                return name in owner.parameters
            case FromTask(task, key):
                producer = dag.tasks.get(task)
                component = self.components.get(producer.component) if producer else None
                return component is None or key in component.output_parameters
        return True


def _part_given(source: InputSource, given: Mapping[str, object]) -> InputSource:
    """Case 3: the part that the group was given, instead of a part of what it was not."""
    if isinstance(source, FromInput) and source.part is not None and source.name not in given:
        key = _key_of(source.part)
        if key is not None and f"{source.name}{_SUBVAR}{key}" in given:
            return FromInput(f"{source.name}{_SUBVAR}{key}")
    return source


def _key_of(selector: Expression) -> str | None:
    match selector.tree:
        case Part(Call("parseJson", Whole()), str() as key):
            return key
    return None


def _without(component: Component, lost: Iterable[str], item: str | None) -> Component:
    """The component without inputs that it is not given; as a loop's body, it has their parts."""
    names = set(lost)
    parameters = {key: spec for key, spec in component.parameters.items() if key not in names}
    if not isinstance(component.body, Dag):
        return dataclasses.replace(component, parameters=parameters)
    parts = {
        name: FromInput(item, parse_expression(f'parseJson(string_value)["{key}"]'))
        for name in names
        for whole, _, key in (name.rpartition(_SUBVAR),)
        if item is not None and whole == item
    }
    body = _with_sources(component.body, lambda source: _replaced(source, parts))
    return dataclasses.replace(component, parameters=parameters, body=body)


def _replaced(source: InputSource, parts: Mapping[str, FromInput]) -> InputSource:
    if isinstance(source, FromInput) and source.part is None:
        return parts.get(source.name, source)
    return source


def _with_sources(dag: Dag, change: Callable[[InputSource], InputSource]) -> Dag:
    tasks = {
        name: dataclasses.replace(
            task, parameters={key: change(source) for key, source in task.parameters.items()}
        )
        for name, task in dag.tasks.items()
    }
    return dataclasses.replace(dag, tasks=tasks)
