"""Whether a pipeline can run here: everything that can be checked without running it."""

from __future__ import annotations

from seamline.domain.errors import Refused, SeamlineError
from seamline.domain.states import Fidelity
from seamline.train.attempts.machine import Machine
from seamline.train.attempts.requirements import requirement_set
from seamline.train.attempts.volumes import check_mounts
from seamline.train.ir.types import ContainerExecutor
from seamline.train.options import DEFAULT_OPTIONS, RunOptions
from seamline.train.plan.load import plan_of
from seamline.train.plan.types import Plan, all_tasks, find_node


def check_pipeline(
    ir: bytes, options: RunOptions = DEFAULT_OPTIONS, machine: Machine | None = None
) -> tuple[Plan, list[str]]:
    """The plan, and notes of what it asks for and does not get.

    Raises InvalidInput, or Refused for a feature that is not supported.
    """
    plan = plan_of(ir)
    for path, task in all_tasks(plan):
        executor = task.executor
        if isinstance(executor, ContainerExecutor) and executor.function is not None:
            try:
                requirement_set(executor.function)
            except SeamlineError as error:
                raise type(error)(
                    f"Task {path!r}: {error.message}", next_step=error.next_step
                ) from error
    if options.from_task is not None:
        find_node(plan, options.from_task)
    lacking = _check_machine(plan, options, machine) if machine is not None else []
    return plan, [*plan.pipeline.notes, *lacking]


def _check_machine(plan: Plan, options: RunOptions, machine: Machine) -> list[str]:
    lacking: list[str] = []
    for path, task in all_tasks(plan):
        fidelity = machine.fidelity_of(path, task, options)
        if isinstance(task.executor, ContainerExecutor):
            if task.executor.mounts and fidelity is not Fidelity.CONTAINER:
                paths = [mount.path for mount in task.executor.mounts]
                check_mounts(path, paths, machine.mount_ability(fidelity))
            lacking += machine.lacks(path, task.executor)
    if lacking and options.demand_resources:
        raise Refused(
            f"This machine lacks what the pipeline asks for: {' '.join(lacking)}",
            next_step="Run it on a larger machine, or without demand_resources.",
        )
    return lacking
