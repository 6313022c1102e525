"""How a run whose tasks have ended is called, and what there is to say of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from seamline.domain.states import RunState, TaskState
from seamline.train.engine.live import LiveRun
from seamline.train.ir.values import presentable
from seamline.train.plan.progress import GOOD
from seamline.train.plan.scope import OpenScope
from seamline.train.plan.sources import ABSENT
from seamline.train.plan.types import Plan, PlannedTask


def decide_run_state(run: LiveRun) -> RunState:
    """Partially failed: something failed, and something succeeded that no failed task waited for.

    A chain that breaks is failed, however far it came; what an exit handler does is no branch.
    """
    if run.is_canceled:
        return RunState.CANCELED
    if not run.root.progress.cause:
        return RunState.SUCCEEDED
    return RunState.PARTIALLY_FAILED if _has_finished_branch(run.root) else RunState.FAILED


def _has_finished_branch(scope: OpenScope) -> bool:
    failed = [name for name, end in scope.ends.items() if end.state is TaskState.FAILED]
    used_up = ancestors_of(scope.plan, failed)
    for name, end in scope.ends.items():
        if name in used_up or scope.progress.is_exempt(name):
            continue
        loop = scope.loops.get(name)
        if loop is not None:
            if any(_has_finished_branch(inner) for inner in loop.scopes.values()):
                return True
        elif end.state in GOOD and isinstance(scope.plan.nodes[name], PlannedTask):
            return True
    return False


def ancestors_of(plan: Plan, names: Iterable[str]) -> set[str]:
    """Every node that one of these waited for, directly or not; a group with all that is in it."""
    ancestors: set[str] = set()
    expanded: set[str] = set()
    walked: set[str] = set()
    pending = list(names)
    while pending:
        node: str | None = pending.pop()
        while node is not None and node not in walked:
            walked.add(node)
            gate = plan.nodes[node].gate
            for upstream in gate.after:
                if upstream not in expanded:
                    expanded.add(upstream)
                    fresh = [one for one in plan.within(upstream) if one not in ancestors]
                    ancestors.update(fresh)
                    pending.extend(fresh)
            node = gate.group
    return ancestors


def failed_tasks(run: LiveRun) -> list[str]:
    """Paths of what failed by itself: tasks, and conditions or loops that could not be read."""
    return [
        path
        for path, scope, name, end in run.all_ends()
        if end.state is TaskState.FAILED and end.cause == path
    ]


def explain_run(run: LiveRun) -> str:
    """One sentence: which branch failed and why, what it cost, what was done.

    Empty while nothing failed.
    """
    failed = failed_tasks(run)
    if not failed:
        return ""
    problems = [
        f"{path} failed: {run.problem_of(path).sentence}".rstrip(".") for path in failed[:5]
    ]
    left_out = done = total = 0
    for _, scope, name, end in run.all_ends():
        if isinstance(scope.plan.nodes[name], PlannedTask):
            total += 1
            left_out += end.state is TaskState.UPSTREAM_FAILED
            done += end.state in GOOD
    total += sum(1 for _ in run.open_tasks())
    more = f" … and {len(failed) - 5} more." if len(failed) > 5 else ""
    waited = f" {left_out} that needed it did not run." if left_out else ""
    return f"{'; '.join(problems)}.{more}{waited} {done} of {total} tasks succeeded."


def outputs_json(run: LiveRun) -> str:
    """Of the pipeline as a whole; null where what makes it has not succeeded.

    Artifacts are named by their ids.
    """
    plan, root = run.plan, run.root
    parameters: dict[str, Any] = {}
    for name, source in plan.output_parameters.items():
        value = root.value_of(source, "", name)
        parameters[name] = None if value is ABSENT else presentable(value)
    artifacts: dict[str, Any] = {}
    for name, made in plan.output_artifacts.items():
        found = root.artifact(made)
        ids = [one.id for one in found] if isinstance(found, tuple) else found and found.id
        artifacts[name] = ids
    return json.dumps({"parameters": parameters, "artifacts": artifacts})
