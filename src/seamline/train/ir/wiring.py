"""Tasks and their components, completed by what each knows of the other.

A task is given inputs that its component does not declare, for what a container needs besides its
arguments: resources and images from parameters (`set_cpu_limit(parameter)`), and names of secrets,
config maps and claims. They are made into declared ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from seamline.train.ir.claims import makes_claims
from seamline.train.ir.platform import ExecutorPlatform
from seamline.train.ir.tasks import tasks_read
from seamline.train.ir.types import (
    Component,
    ContainerExecutor,
    Dag,
    DagTask,
    ParameterSpec,
    ParameterType,
)
from seamline.train.ir.words import inputs_named

_HIDDEN = ParameterSpec(ParameterType.STRING, is_optional=True)


def wire_tasks(
    owner: Component,
    components: Mapping[str, Component],
    platforms: Mapping[str, ExecutorPlatform],
) -> Component:
    """Its tasks with what the platform document (`platforms`, by component) adds to them."""
    if not isinstance(owner.body, Dag):
        return owner
    tasks = {
        name: _complete(task, components.get(task.component), platforms.get(task.component))
        for name, task in owner.body.tasks.items()
    }
    return dataclasses.replace(owner, body=dataclasses.replace(owner.body, tasks=tasks))


def _complete(
    task: DagTask, component: Component | None, platform: ExecutorPlatform | None
) -> DagTask:
    body = component.body if component is not None else None
    if isinstance(body, ContainerExecutor) and makes_claims(body.function):
        task = dataclasses.replace(task, enable_cache=False)
    if platform is None or not platform.inputs:
        return task
    after = (*task.after, *tasks_read(tuple(platform.inputs.values())))
    return dataclasses.replace(
        task,
        parameters={**task.parameters, **platform.inputs},
        after=tuple(dict.fromkeys(after)),
    )


def declare_inputs(
    wired: list[Component], components: Mapping[str, Component]
) -> dict[str, Component]:
    """`components`, with the inputs declared that the tasks of `wired` are given and they use."""
    declared = dict(components)
    for owner in wired:
        tasks = owner.body.tasks.values() if isinstance(owner.body, Dag) else ()
        for task in tasks:
            if task.component in declared:
                declared[task.component] = _declare(declared[task.component], task)
    return declared


def _declare(component: Component, task: DagTask) -> Component:
    body = component.body
    if not isinstance(body, ContainerExecutor):
        return component
    names = [name for name in task.parameters if name.startswith("kubernetes--")]
    names += [name for name in inputs_named(body) if name in task.parameters]
    hidden = {name: _HIDDEN for name in names if name not in component.parameters}
    if not hidden:
        return component
    return dataclasses.replace(component, parameters={**component.parameters, **hidden})
