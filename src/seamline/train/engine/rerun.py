"""Re-running from a task: what comes at or after it runs again, all else may be reused."""

from __future__ import annotations

import re

from seamline.train.engine.outcome import ancestors_of
from seamline.train.plan.types import Plan, PlannedLoop

_WORD = re.compile(r"(.*?)(\[\d+\])?")


def is_at_or_after(plan: Plan, start: str, path: str) -> bool:
    """`start`: a task, group or loop; one in a loop may name its iteration ("loop-1[3]/train")."""
    scope, here, there = plan, _steps(plan, start), _steps(plan, path)
    for (name, index), (other, other_index) in zip(here, there, strict=False):
        if name != other and not other.startswith(f"{name}/"):
            return _is_after(scope, name, other)
        node = scope.nodes.get(name)
        if not isinstance(node, PlannedLoop):
            return True
        if index and index != other_index:
            return False
        scope = node.body
    return len(there) >= len(here)


def _is_after(scope: Plan, name: str, other: str) -> bool:
    return not ancestors_of(scope, [other]).isdisjoint(scope.within(name))


def _steps(plan: Plan, path: str) -> list[tuple[str, str]]:
    """(node, "[index]" or "") in each scope on the way.

    The last step of a path that ends in a loop has no index.
    """
    steps: list[tuple[str, str]] = []
    scope: Plan | None = plan
    name = ""
    for word in path.split("/"):
        name = f"{name}/{word}" if name else word
        match = _WORD.fullmatch(name)
        assert match is not None
        node = scope.nodes.get(match.group(1)) if scope is not None else None
        if isinstance(node, PlannedLoop):
            steps.append((match.group(1), match.group(2) or ""))
            scope, name = node.body, ""
    if name:
        steps.append((name, ""))
    return steps
