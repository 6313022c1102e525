"""Which nodes of one scope may run next, and how each ends: rules without effects (law 7).

A counter per node holds what it still waits for, so one ended node costs its own edges only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from seamline.domain.errors import SeamlineError
from seamline.domain.states import TaskState, is_terminal
from seamline.train.plan.types import Plan, PlannedGroup

#: Its outputs can be read.
GOOD = frozenset({TaskState.SUCCEEDED, TaskState.SKIPPED})


@dataclass
class Step:
    """What one ended node brings about, besides itself."""

    #: Tasks and loops that can start now.
    ready: list[str] = field(default_factory=list)
    #: Nodes that have ended without running, and groups whose members have.
    ended: dict[str, Ended] = field(default_factory=dict)

    def add(self, more: Step) -> None:
        self.ready += more.ready
        self.ended |= more.ended


@dataclass(frozen=True)
class Ended:
    state: TaskState
    #: The task whose failure reached it; for a failed condition the node itself.
    cause: str = ""
    error: SeamlineError | None = None


def is_inside(path: str, holder: str) -> bool:
    """Whether a path leads into that group, loop or iteration.

    >>> is_inside("loop[2]/train", "loop"), is_inside("loop-2", "loop")
    (True, False)
    """
    return path.startswith((f"{holder}/", f"{holder}["))


def whose_fault(holder: str, known: str, cause: str) -> str:
    """Which of two failures a group, loop or iteration ended by: the first inside of it, else the
    first that reached it.

    >>> whose_fault("loop", "elsewhere", "loop[2]/train"), whose_fault("loop", "elsewhere", "there")
    ('loop[2]/train', 'elsewhere')
    """
    if not known or (is_inside(cause, holder) and not is_inside(known, holder)):
        return cause
    return known


class Progress:
    """The in-memory state of one scope; built anew from rows after a restart."""

    def __init__(
        self, plan: Plan, is_triggered: Callable[[str], bool], path_of: Callable[[str], str]
    ) -> None:
        """`is_triggered` decides a node's condition; it may raise a SeamlineError.

        `path_of`: what a node is called in the run, as causes name it.
        """
        nodes = plan.nodes
        self._plan = plan
        self._is_triggered = is_triggered
        self._path_of = path_of
        self._waiting = {
            name: len(node.gate.after) + (node.gate.group is not None)
            for name, node in nodes.items()
        }
        groups = [node for node in nodes.values() if isinstance(node, PlannedGroup)]
        self._members_left = {group.name: len(group.members) for group in groups}
        #: Node → the task whose failure reached it, by what it waits for or by its group.
        self._spoiled: dict[str, str] = {}
        #: Nodes that wait for something that was not triggered, or whose group was not.
        self._left_out: set[str] = set()
        #: Group → a failure inside of it, or else the one that halted the run.
        self._bad_groups: dict[str, str] = {}
        #: Groups that did not open.
        self._fates_of_groups: dict[str, Ended] = {}
        self._dependents: dict[str, list[str]] = {name: [] for name in nodes}
        for name, node in nodes.items():
            for upstream in node.gate.after:
                self._dependents[upstream].append(name)
        self._exempt = _exempt_nodes(plan)
        self._halted = ""
        self._open = {name for name in nodes if not isinstance(nodes[name], PlannedGroup)}
        #: The first failure of all.
        self.cause = ""

    @property
    def is_over(self) -> bool:
        return not self._open

    def is_exempt(self, name: str) -> bool:
        """Whether it runs after failures, too."""
        return self._exempt[name]

    def is_due(self, name: str) -> bool:
        """Nothing holds the task or loop back, and it has not ended."""
        return name in self._open and self._waiting[name] == 0

    def halt(self, cause: str) -> list[str]:
        """Nothing starts any more but what runs after failures, too; what was ready and is no more.

        The caller settles those of the returned nodes that it has not started.
        """
        self._halted = self._halted or cause
        return [name for name in self._plan.nodes if self.is_due(name) and not self._exempt[name]]

    def begin(self) -> Step:
        """The first ready nodes; to be called once, before any `settle`."""
        step = Step()
        self._arrive([n for n, waiting in self._waiting.items() if waiting == 0], step)
        return step

    def resume(self, states: Mapping[str, Ended]) -> Step:
        """`begin`, then every task and loop that has ended already.

        `ready` holds only what has not ended, `ended` only what `states` does not know.
        """
        step = self.begin()
        for name, node in self._plan.nodes.items():
            known = states.get(name)
            if known is None or isinstance(node, PlannedGroup) or name not in self._open:
                continue
            if is_terminal(known.state):
                step.add(self.settle(name, known.state, known.cause))
        return Step(
            [name for name in step.ready if name in self._open],
            {name: end for name, end in step.ended.items() if name not in states},
        )

    def settle(self, name: str, state: TaskState, cause: str = "") -> Step:
        """A task or loop ended: what became ready, and what now never can be.

        `cause`: the task whose failure this is, where `state` is not a good one.
        """
        step = Step()
        if name not in self._open:
            return step
        is_well = state in GOOD or state is TaskState.NOT_TRIGGERED
        culprit = "" if is_well else cause or self._path_of(name)
        is_left_out = state is TaskState.NOT_TRIGGERED
        self._arrive(self._end(name, culprit, is_left_out, step), step)
        return step

    # -- how nodes end ---------------------------------------------------------------------

    def _arrive(self, names: list[str], step: Step) -> None:
        """Nodes that wait for nothing any more."""
        pending = list(reversed(names))
        while pending:
            name = pending.pop()
            fate = self._decide_fate(name)
            node = self._plan.nodes[name]
            if fate is None and not isinstance(node, PlannedGroup):
                step.ready.append(name)
            elif isinstance(node, PlannedGroup) and node.members:
                pending.extend(reversed(self._open_group(node, fate)))
                if fate is not None:
                    step.ended[name] = fate
            else:
                end = fate or Ended(TaskState.SUCCEEDED)
                step.ended[name] = end
                is_left_out = end.state is TaskState.NOT_TRIGGERED
                pending.extend(reversed(self._end(name, end.cause, is_left_out, step)))

    def _decide_fate(self, name: str) -> Ended | None:
        """How a node ends that is not to run; None: it runs."""
        if name in self._spoiled:
            return Ended(TaskState.UPSTREAM_FAILED, self._spoiled[name])
        if name in self._left_out:
            return Ended(TaskState.NOT_TRIGGERED)
        if self._halted and not self._exempt[name]:
            return Ended(TaskState.UPSTREAM_FAILED, self._halted)
        if self._plan.nodes[name].gate.condition is None:
            return None
        try:
            return None if self._is_triggered(name) else Ended(TaskState.NOT_TRIGGERED)
        except SeamlineError as error:
            return Ended(TaskState.FAILED, self._path_of(name), error)

    def _open_group(self, group: PlannedGroup, fate: Ended | None) -> list[str]:
        """Members that wait for nothing else; all of them share a fate of their group."""
        if fate is not None:
            for member in group.members:
                if fate.state is TaskState.NOT_TRIGGERED:
                    self._left_out.add(member)
                else:
                    self._spoiled[member] = fate.cause
            self._fates_of_groups[group.name] = fate
        return [member for member in group.members if self._count_down(member)]

    def _end(self, name: str, culprit: str, is_left_out: bool, step: Step) -> list[str]:
        """Nodes that nothing holds back any more, now that `name` (and its groups) ended."""
        arrived: list[str] = []
        self._open.discard(name)
        self.cause = self.cause or culprit
        node: str | None = name
        while node is not None:
            for dependent in self._dependents[node]:
                if not self._plan.nodes[dependent].gate.is_tolerant:
                    if culprit:
                        self._spoiled.setdefault(dependent, culprit)
                    elif is_left_out:
                        self._left_out.add(dependent)
                if self._count_down(dependent):
                    arrived.append(dependent)
            node = self._end_group_of(node, culprit)
            if node is not None:
                culprit, is_left_out = self._close_group(node, step)
        return arrived

    def _end_group_of(self, node: str, culprit: str) -> str | None:
        group = self._plan.nodes[node].gate.group
        if group is None:
            return None
        if culprit:
            known = self._bad_groups.get(group, "")
            self._bad_groups[group] = whose_fault(self._path_of(group), known, culprit)
        self._members_left[group] -= 1
        return group if self._members_left[group] == 0 else None

    def _close_group(self, group: str, step: Step) -> tuple[str, bool]:
        """(culprit, whether it was left out) of a group whose members have ended.

        One whose members were all left out by conditions of their own has succeeded.
        """
        fate = self._fates_of_groups.get(group)
        if fate is not None:
            return fate.cause, fate.state is TaskState.NOT_TRIGGERED
        culprit = self._bad_groups.get(group, "")
        state = TaskState.FAILED if culprit else TaskState.SUCCEEDED
        if culprit and not is_inside(culprit, self._path_of(group)):  # The run was halted.
            state = TaskState.UPSTREAM_FAILED
        step.ended[group] = Ended(state, culprit)
        return culprit, False

    def _count_down(self, name: str) -> bool:
        self._waiting[name] -= 1
        return self._waiting[name] == 0


def _exempt_nodes(plan: Plan) -> dict[str, bool]:
    """Whether a node runs after failures, too: by itself or by a group that it is in."""
    exempt: dict[str, bool] = {}
    for name, node in plan.nodes.items():
        group = node.gate.group
        exempt[name] = node.gate.is_tolerant or (group is not None and exempt[group])
    return exempt
