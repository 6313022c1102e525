"""A promotion, a rollback and an emergency, killed right after each commit on their way to live.

tests/chaos/test_chaos_promotions.py kills a whole server, in every phase; what lies between two
commits of one phase is over too soon for that to hit it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from seamline.app.promote.make_release import make_release
from seamline.domain.states import Role
from seamline.promote.environments import find_environment
from seamline.promote.glass import break_glass
from seamline.promote.holds import lift_holds
from seamline.promote.promotion import Promotion
from seamline.promote.recount import all_problems
from seamline.promote.requests import request_emergency, request_promotion, request_rollback
from seamline.serve.snapshots.snapshot import read_snapshot, snapshot_path
from seamline.store.facts import verify_chain
from seamline.store.outbox import release_leases
from seamline.trust.roles import Principal

HERE = "development"
ANN = Principal("ann", frozenset({Role.ADMIN}))
PHASES = ["checking", "applying", "verifying", "live"]


class Killed(BaseException):
    """The process dies here: nothing behind this line happens."""


class Fuse:
    """Burns down with each commit once it is lit."""

    def __init__(self) -> None:
        self._left = 0

    def light(self, commits: int) -> None:
        self._left = commits

    def burn(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed


def ask_plainly(house: Any, target: str) -> Promotion:
    return request_promotion(house.stores, target, HERE, by="ann")


def ask_back(house: Any, target: str) -> Promotion:
    return request_rollback(house.stores, HERE, "it was better", by="ann", to=target)


def ask_in_an_emergency(house: Any, target: str) -> Promotion:
    return request_emergency(house.stores, target, HERE, by="ann")


@pytest.fixture
def database_url() -> None:
    """SQLite alone: what is committed together is the same on both."""


@pytest.mark.parametrize("ask", [ask_plainly, ask_back, ask_in_an_emergency])
def test_killed_right_after_any_commit(house: Any, ask: Callable[[Any, str], Promotion]) -> None:
    releases = []
    for version in ("1.0.0", "1.1.0"):
        house.register(version)
        pins = ([f"late@{version}"], [f"score@{version}"])
        releases.append(make_release(house.platform, f"r{version}", *pins, by="ann").digest)
        ask_plainly(house, releases[-1])
        house.settle()
    break_glass(house.stores, HERE, ANN, "a test", 3600.0)
    fuse = Fuse()
    house.stores.db.on_commit(fuse.burn)
    commits, was_killed = 0, True
    while was_killed:
        commits += 1
        target = releases[(commits - 1) % 2]
        if ask is ask_back:  # from the second one, always: what was gone back from comes again
            target = releases[0]
            if commits > 1:
                lift_holds(house.stores, HERE, "a test", by="ann")
                ask_plainly(house, releases[1])
                house.settle()
        promotion = ask(house, target)
        was_killed = killed(house, fuse, commits)
        check_whole(house, f"commit {commits}")
        release_leases(house.stores.db, house.platform.stores.clock)  # as a new process does first
        house.settle()
        check_whole(house, f"after commit {commits}")
        check_live(house, promotion.id, target, f"after commit {commits}")
    assert commits > 8


def killed(house: Any, fuse: Fuse, commits: int) -> bool:
    fuse.light(commits)
    try:
        house.settle()
    except Killed:
        return True
    fuse.light(0)
    return False


def check_whole(house: Any, moment: str) -> None:
    with house.stores.db.read() as connection:
        assert verify_chain(connection).broken is None, moment
        assert all_problems(connection) == [], moment


def check_live(house: Any, promotion: str, target: str, moment: str) -> None:
    moved = [one for one in house.facts("promotion.moved") if one.subject == promotion]
    assert [one.body["after"] for one in moved] == PHASES, moment
    changed = [one.body["promotion_id"] for one in house.facts("environment.changed")]
    assert changed.count(promotion) == 1, moment
    with house.stores.db.read() as connection:
        assert find_environment(connection, HERE).release == target, moment
    snapshot = read_snapshot(snapshot_path(house.stores.root, HERE), house.platform.key.public)
    assert snapshot.release == target, moment
