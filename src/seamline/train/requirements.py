"""What a task of a run declares that its Python environment holds."""

from __future__ import annotations

from seamline.domain.errors import InvalidInput, not_found
from seamline.store.stores import Stores
from seamline.train.ir import ContainerExecutor
from seamline.train.live import load_plan


def task_requirements(stores: Stores, pipeline_digest: str, task: str) -> tuple[str, ...]:
    """The `packages_to_install` of a lightweight component, as written."""
    plan = load_plan(stores, pipeline_digest)
    if task not in plan.tasks:
        raise not_found("task", task, plan.tasks)
    executor = plan.tasks[task].executor
    if not isinstance(executor, ContainerExecutor):
        raise InvalidInput(f"Task {task!r} imports something; it has no requirements.")
    return tuple(executor.function.requirements)
