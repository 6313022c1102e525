"""Whose task is next: no team and no run starves, no limit is exceeded, nothing is lost."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from seamline.train.engine.counts import EngineCounts, TeamCounts
from seamline.train.engine.turns import Turns


def start(turns: Turns) -> tuple[str, str] | None:
    chosen = turns.take()
    if chosen is not None:
        turns.started(chosen[0])
    return chosen


def start_all(turns: Turns) -> list[tuple[str, str]]:
    return list(iter(lambda: start(turns), None))


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_three_tasks_of_a_team_start_within_three_rounds_beside_two_thousand(slots: int) -> None:
    turns = Turns({}.get)
    for number in range(2_000):
        turns.offer(f"run-{number % 5}", "large", None, f"l{number}")
    running = [start(turns) for _ in range(slots)]
    for number in range(3):
        turns.offer("small-run", "small", None, f"s{number}")
    order = []
    for _ in range(6):  # As each slot is freed, the next task takes it.
        turns.ended(running.pop(0)[0])
        running.append(start(turns))
        order.append(running[-1][0] == "small-run")
    # At the most the one whose turn it already was comes before each of them.
    assert order == [False, True] * 3


def test_runs_of_a_team_take_turns_and_a_run_starts_its_tasks_as_they_came() -> None:
    turns = Turns({}.get)
    for run in ("a", "b"):
        for number in range(3):
            turns.offer(run, "t", None, str(number))
    assert start_all(turns) == [(run, task) for task in "012" for run in "ab"]


def test_a_team_at_its_limit_holds_nobody_else_up() -> None:
    turns = Turns({"large": 2}.get)
    for number in range(10):
        turns.offer("big", "large", None, str(number))
        turns.offer("other", "small", None, str(number))
    assert Counter(run for run, _ in start_all(turns)) == {"big": 2, "other": 10}
    turns.ended("other")
    assert start(turns) is None
    turns.ended("big")
    assert start_all(turns) == [("big", "2")]


def test_a_run_at_its_limit_leaves_the_team_s_slots_to_its_other_runs() -> None:
    turns = Turns({"t": 3}.get)
    for number in range(5):
        turns.offer("narrow", "t", 1, str(number))
        turns.offer("wide", "t", None, str(number))
    assert Counter(run for run, _ in start_all(turns)) == {"narrow": 1, "wide": 2}


def test_a_task_that_took_no_slot_counts_as_nothing() -> None:
    turns = Turns({"t": 1}.get)
    for number in range(3):
        turns.offer("cached", "t", None, str(number))
    assert [turns.take() for _ in range(4)] == [*(("cached", n) for n in "012"), None]
    assert turns.counts().running == 0


def test_a_raised_limit_counts_after_refresh() -> None:
    limits = {"t": 1}
    turns = Turns(limits.get)
    for number in range(4):
        turns.offer("r", "t", None, str(number))
    assert len(start_all(turns)) == 1
    limits["t"] = 3
    turns.refresh()
    assert start_all(turns) == [("r", "1"), ("r", "2")]
    limits["t"] = 1  # A lowered one takes nothing back, and starts nothing new.
    turns.ended("r")
    turns.ended("r")
    assert start(turns) is None


def test_what_is_forgotten_never_starts_and_its_running_tasks_still_count() -> None:
    turns = Turns({"t": 1}.get)
    turns.offer("gone", "t", None, "1")
    turns.offer("gone", "t", None, "2")
    assert start(turns) == ("gone", "1")
    turns.forget("gone")
    turns.forget("never heard of")
    turns.offer("next", "t", None, "x")
    assert start(turns) is None
    turns.ended("gone")
    assert start_all(turns) == [("next", "x")]


def test_a_run_between_two_waves_keeps_its_team_when_the_team_s_other_run_is_forgotten() -> None:
    turns = Turns({"t": 1}.get)
    turns.offer("idle", "t", None, "1")
    turns.offer("over", "t", None, "1")
    assert [run for run, _ in (turns.take(), turns.take())] == ["idle", "over"]
    turns.forget("over")
    turns.offer("idle", "t", None, "2")
    turns.offer("later", "t", None, "1")
    assert start_all(turns) == [("idle", "2")]
    assert turns.counts().by_team == {"t": TeamCounts(ready=1, running=1)}


def test_a_retried_run_is_heard_again() -> None:
    turns = Turns({}.get)
    turns.offer("r", "t", None, "1")
    start(turns)
    turns.forget("r")
    turns.offer("r", "t", None, "2")
    turns.ended("r")
    assert start_all(turns) == [("r", "2")]


def test_nothing_is_kept_of_what_is_over() -> None:
    turns = Turns({}.get)
    for number in range(100):
        run = f"run-{number}"
        turns.offer(run, f"team-{number % 7}", None, "a")
        start(turns)
        turns.ended(run)
        turns.forget(run)
    assert turns.counts() == EngineCounts()


def test_an_end_without_a_start_is_an_error() -> None:
    turns = Turns({}.get)
    turns.offer("r", "t", None, "1")
    with pytest.raises(ValueError, match="Nothing of the run r"):
        turns.ended("r")


def test_counts() -> None:
    turns = Turns({"a": 1}.get)
    for run, team in (("r1", "a"), ("r2", "a"), ("r3", "b")):
        turns.offer(run, team, None, "1")
        turns.offer(run, team, None, "2")
    start(turns)
    assert turns.counts() == EngineCounts(
        ready=5, running=1, waiting_runs=2, by_team={"a": TeamCounts(3, 1), "b": TeamCounts(2, 0)}
    )


def test_work_per_task_does_not_grow_with_what_waits() -> None:
    """Counted, not timed: how often a limit is asked for, with a thousand teams held back."""

    def asked(teams: int) -> int:
        calls = 0

        def limit(team: str) -> int | None:
            nonlocal calls
            calls += 1
            return 1 if team.startswith("held") else None

        turns = Turns(limit)
        for number in range(teams):
            turns.offer(f"h{number}", f"held-{number}", None, "1")
            turns.offer(f"h{number}", f"held-{number}", None, "2")
        while start(turns):
            pass
        calls = 0
        for number in range(500):
            turns.offer("free", "free", None, str(number))
            assert start(turns) == ("free", str(number))
        return calls

    assert asked(1_000) == asked(1) <= 1_500


class TurnsMachine(RuleBasedStateMachine):
    """Against the plainest model: lists, and all of them looked at each time."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: dict[str, int] = {}
        self.turns = Turns(self.limits.get)
        self.waiting: dict[str, list[str]] = defaultdict(list)
        self.running: Counter[str] = Counter()
        self.team: dict[str, str] = {}
        self.forgotten: set[str] = set()
        self.slots: dict[str, int | None] = {}
        self.number = 0

    def team_running(self, team: str) -> int:
        return sum(n for run, n in self.running.items() if n and self.team[run] == team)

    def may_start(self) -> set[str]:
        found = set()
        for run, tasks in self.waiting.items():
            slots, limit = self.slots.get(run), self.limits.get(self.team.get(run, ""))
            has_room = slots is None or self.running[run] < slots
            team_has = limit is None or self.team_running(self.team.get(run, "")) < limit
            if tasks and has_room and team_has:
                found.add(run)
        return found

    @rule(
        run=st.sampled_from("rstuv"),
        team=st.sampled_from("AB"),
        slots=st.sampled_from([None, 1, 2]),
        count=st.integers(1, 4),
    )
    def offer(self, run: str, team: str, slots: int | None, count: int) -> None:
        self.team.setdefault(run, team)
        self.forgotten.discard(run)
        self.slots[run] = slots
        for _ in range(count):
            self.number += 1
            self.turns.offer(run, self.team[run], slots, str(self.number))
            self.waiting[run].append(str(self.number))

    @rule(takes_slot=st.booleans())
    def take(self, takes_slot: bool) -> None:
        able = self.may_start()
        chosen = self.turns.take()
        assert (chosen is None) == (not able)
        if chosen is None:
            return
        run, task = chosen
        assert run in able
        assert self.waiting[run].pop(0) == task
        if takes_slot:
            self.turns.started(run)
            self.running[run] += 1

    @precondition(lambda self: any(self.running.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(r for r, n in self.running.items() if n)))
        self.turns.ended(run)
        self.running[run] -= 1
        self.leave_team(run)

    @rule(run=st.sampled_from("rstuv"))
    def forget(self, run: str) -> None:
        self.turns.forget(run)
        self.waiting[run].clear()
        self.forgotten.add(run)
        self.leave_team(run)

    def leave_team(self, run: str) -> None:
        if run in self.forgotten and not self.running[run]:
            self.team.pop(run, None)

    @rule(team=st.sampled_from("AB"), slots=st.sampled_from([None, 1, 3]))
    def change_limit(self, team: str, slots: int | None) -> None:
        self.limits.pop(team, None)
        if slots is not None:
            self.limits[team] = slots
        self.turns.refresh()

    @invariant()
    def counts_are_right(self) -> None:
        counts = self.turns.counts()
        assert counts.ready == sum(map(len, self.waiting.values()))
        assert counts.running == sum(self.running.values())
        assert counts.waiting_runs == sum(
            1 for run, tasks in self.waiting.items() if tasks and not self.running[run]
        )
        for team, found in counts.by_team.items():
            assert found.running == self.team_running(team)


TestTurnsMachine = TurnsMachine.TestCase


@given(
    sizes=st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(1, 30)), min_size=1, max_size=12),
    slots=st.integers(1, 5),
)
def test_teams_with_work_never_differ_by_more_than_a_turn(
    sizes: list[tuple[str, int]], slots: int
) -> None:
    """While two teams both wait, neither starts two tasks between two of the other's."""
    turns = Turns({}.get)
    left: Counter[str] = Counter()
    team_of = {}
    for number, (team, size) in enumerate(sizes):
        team_of[f"r{number}"] = team
        left[team] += size
        for task in range(size):
            turns.offer(f"r{number}", team, None, str(task))
    running: list[str] = []
    since: dict[str, Counter[str]] = {team: Counter() for team in left}
    for _ in range(sum(left.values())):
        if len(running) == slots:
            turns.ended(running.pop(0))
        chosen = start(turns)
        assert chosen is not None
        running.append(chosen[0])
        team = team_of[chosen[0]]
        for other in left:
            if other != team and left[other]:
                since[other][team] += 1
                assert since[other][team] <= 1
        since[team].clear()
        left[team] -= 1
    assert turns.take() is None
    assert not any(left.values())
