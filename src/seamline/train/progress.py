"""Which tasks may run next, and how a run ends: rules without effects (law 7).

A counter per node holds what it still waits for, so one ended task costs its own edges only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from seamline.domain.states import RunState, TaskState, is_terminal
from seamline.train.plan import Plan

_GOOD = frozenset({TaskState.SUCCEEDED, TaskState.SKIPPED})


@dataclass
class Step:
    """What one ended task brings about."""

    ready: list[str] = field(default_factory=list)
    #: Task → a task whose failure reached it.
    upstream_failed: dict[str, str] = field(default_factory=dict)


class Progress:
    """The in-memory state of one run; built anew from rows after a restart."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        nodes = [*plan.tasks, *plan.groups]
        gates = {name: plan.gate_of(name) for name in nodes}
        self._gates = gates
        self._waiting = {n: len(g.after) + (g.group is not None) for n, g in gates.items()}
        self._members_left = {name: len(group.members) for name, group in plan.groups.items()}
        # Node → the task whose failure reached it.
        self._spoiled: dict[str, str] = {}
        self._bad_groups: dict[str, str] = {}
        self._dependents: dict[str, list[str]] = {name: [] for name in nodes}
        for name, gate in gates.items():
            for upstream in gate.after:
                self._dependents[upstream].append(name)
        self._left = len(plan.tasks)

    @property
    def is_over(self) -> bool:
        return self._left == 0

    def begin(self) -> Step:
        """The first ready tasks; to be called once, before any `settle`."""
        step = Step()
        for name in [n for n, waiting in self._waiting.items() if waiting == 0]:
            self._arrive([name], step)
        return step

    def resume(self, states: Mapping[str, TaskState]) -> Step:
        """`begin`, then every task that has ended already; ready holds only what has not."""
        step = self.begin()
        settled = set(step.upstream_failed)
        for name in self._plan.tasks:
            state = states.get(name, TaskState.PENDING)
            if is_terminal(state) and name not in settled:
                more = self.settle(name, state)
                step.ready += more.ready
                step.upstream_failed |= more.upstream_failed
                settled.update(more.upstream_failed)
        open_ = {n for n in self._plan.tasks if not is_terminal(states.get(n, TaskState.PENDING))}
        return Step(
            [name for name in step.ready if name in open_],
            {name: cause for name, cause in step.upstream_failed.items() if name in open_},
        )

    def settle(self, name: str, state: TaskState) -> Step:
        """A task ended: the tasks that became ready, and those that now never can be."""
        step = Step()
        self._left -= 1
        self._arrive(self._end(name, "" if state in _GOOD else name), step)
        return step

    def _arrive(self, names: list[str], step: Step) -> None:
        pending = list(reversed(names))
        while pending:
            name = pending.pop()
            culprit = self._spoiled.get(name, "")
            if name in self._plan.groups:
                members = self._plan.groups[name].members
                if culprit:
                    self._spoiled |= dict.fromkeys(members, culprit)
                arrived = [m for m in members if self._count_down(m)]
                pending.extend(reversed(arrived))
                if not members:
                    pending.extend(self._end(name, culprit))
            elif culprit:
                step.upstream_failed[name] = culprit
                self._left -= 1
                pending.extend(self._end(name, culprit))
            else:
                step.ready.append(name)

    def _end(self, name: str, culprit: str) -> list[str]:
        """Nodes that nothing holds back any more, now that `name` (and its groups) ended."""
        arrived: list[str] = []
        node: str | None = name
        while node is not None:
            for dependent in self._dependents[node]:
                if culprit and not self._gates[dependent].is_tolerant:
                    self._spoiled.setdefault(dependent, culprit)
                if self._count_down(dependent):
                    arrived.append(dependent)
            node = self._end_group_of(node, culprit)
            culprit = self._bad_groups.get(node, "") if node is not None else ""
        return arrived

    def _end_group_of(self, node: str, culprit: str) -> str | None:
        group = self._gates[node].group
        if group is None:
            return None
        if culprit:
            self._bad_groups.setdefault(group, culprit)
        self._members_left[group] -= 1
        return group if self._members_left[group] == 0 else None

    def _count_down(self, name: str) -> bool:
        self._waiting[name] -= 1
        return self._waiting[name] == 0


def decide_run_state(plan: Plan, states: Mapping[str, TaskState]) -> RunState:
    """How a run whose tasks all ended is called.

    Partially failed: something failed, and something succeeded that no failed task waited for.
    A chain that breaks is failed, however far it came.
    """
    if TaskState.CANCELED in states.values():
        return RunState.CANCELED
    if all(state in _GOOD or state is TaskState.NOT_TRIGGERED for state in states.values()):
        return RunState.SUCCEEDED
    failed = [name for name, state in states.items() if state is TaskState.FAILED]
    used_up = ancestors_of(plan, failed)
    finished = any(state in _GOOD and name not in used_up for name, state in states.items())
    return RunState.PARTIALLY_FAILED if finished else RunState.FAILED


def ancestors_of(plan: Plan, tasks: Iterable[str]) -> set[str]:
    """Every task that one of these waited for, directly or not."""
    ancestors: set[str] = set()
    expanded: set[str] = set()
    walked: set[str] = set()
    pending = list(tasks)
    while pending:
        node: str | None = pending.pop()
        while node is not None and node not in walked:
            walked.add(node)
            gate = plan.gate_of(node)
            for upstream in gate.after:
                if upstream not in expanded:
                    expanded.add(upstream)
                    fresh = [leaf for leaf in plan.leaves_of(upstream) if leaf not in ancestors]
                    ancestors.update(fresh)
                    pending.extend(fresh)
            node = gate.group
    return ancestors
