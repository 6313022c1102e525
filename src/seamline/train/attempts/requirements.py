"""What a task's Python environment is made from."""

from __future__ import annotations

from functools import lru_cache

from seamline.domain.errors import InvalidInput
from seamline.runtime.requirements import RequirementSet
from seamline.store.stores import Stores
from seamline.train.ir.lightweight import PythonFunction
from seamline.train.ir.types import ContainerExecutor
from seamline.train.plan.load import load_plan
from seamline.train.plan.types import PlannedTask, find_node

#: The kfp package alone is enough at run time, without the thirty that it depends on.
KFP_RUNTIME = ("kfp>=2.14,<3",)


@lru_cache(maxsize=1024)
def requirement_set(function: PythonFunction) -> RequirementSet:
    """What a component's environment holds; remembered, since reading requirements takes long.

    Raises InvalidInput for one that pip could not read either.
    """
    return RequirementSet.of(function.requirements, bare=KFP_RUNTIME)


def task_requirements(stores: Stores, pipeline_digest: str, task: str) -> tuple[str, ...]:
    """The `packages_to_install` of a lightweight component, as written."""
    _, node = find_node(load_plan(stores, pipeline_digest), task)
    executor = node.executor if isinstance(node, PlannedTask) else None
    if not isinstance(executor, ContainerExecutor) or executor.function is None:
        raise InvalidInput(f"Task {task!r} is no Python component; it has no requirements.")
    return tuple(executor.function.requirements)
