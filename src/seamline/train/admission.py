"""Whether a pipeline can run here: everything that can be checked without running it."""

from __future__ import annotations

from seamline.domain.errors import SeamlineError
from seamline.runtime.requirements import RequirementSet
from seamline.train.ir import ContainerExecutor
from seamline.train.options import RunOptions
from seamline.train.plan import Plan, all_tasks, find_node
from seamline.train.plans import plan_of
from seamline.train.requirements import KFP_RUNTIME


def check_pipeline(ir: bytes, options: RunOptions) -> tuple[Plan, list[str]]:
    """The plan, and notes of what this machine does not do.

    Raises InvalidInput, or Refused for a feature that is not supported.
    """
    plan = plan_of(ir)
    for path, task in all_tasks(plan):
        executor = task.executor
        if isinstance(executor, ContainerExecutor) and executor.function is not None:
            try:
                RequirementSet.of(executor.function.requirements, bare=KFP_RUNTIME)
            except SeamlineError as error:
                raise type(error)(
                    f"Task {path!r}: {error.message}", next_step=error.next_step
                ) from error
    if options.from_task is not None:
        find_node(plan, options.from_task)
    return plan, list(plan.pipeline.notes)
