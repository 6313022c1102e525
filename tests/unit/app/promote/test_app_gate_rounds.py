"""Gates that take their time: begun once, looked at again, decided once in each round of checks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from seamline.app.platform import Platform
from seamline.app.promote import gates
from seamline.app.promote.advance_promotion import advance_waiting
from seamline.domain.digests import digest_of
from seamline.domain.errors import Unavailable
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.environments import apply_policies
from seamline.promote.gate_results import GateResult, gate_results
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.release import StoredRelease

from .conftest import House

NAME = "successes"


class SlowGate:
    """Works until it is let go, and says then what it was told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.began = 0
        self.ends: Callable[[], GateResult] = lambda: GateResult(NAME, Verdict.PASS, "well", {})

    def check(
        self, platform: Platform, promotion: Promotion, release: StoredRelease
    ) -> GateResult | None:
        def work() -> GateResult:
            self.began += 1
            assert self.go_on.wait(120)
            return self.ends()

        return platform.gate_work.ask((promotion.id, NAME, promotion.release), work)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowGate:
    gate = SlowGate()
    monkeypatch.setattr(gates, "GATES", {**gates.GATES, NAME: gate.check})
    monkeypatch.setattr(gates, "SLOW", frozenset([NAME]))
    return gate


def asked(house: House, *names: str) -> Promotion:
    ask_for(house, *names)
    made = house.ask("first", "score@1.0.0")
    house.settle()
    return made


def ask_for(house: House, *names: str, soak_s: float = 0.0) -> None:
    plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    plain[1] = replace(plain[1], gates=names, soak_s=soak_s)
    with house.stores.db.transaction() as tx:
        apply_policies(tx, house.stores.facts, tuple(plain), by="root")


def phase_of(house: House, promotion: Promotion) -> PromotionPhase:
    with house.stores.db.read() as connection:
        return find_promotion(connection, promotion.id).phase


def let_go(house: House, slow: SlowGate) -> None:
    slow.go_on.set()
    assert house.platform.gate_work.await_ends(240)
    advance_waiting(house.platform)
    house.settle()


def test_it_is_waited_for_and_holds_up_nothing(house: House, slow: SlowGate) -> None:
    promotion = asked(house, "digests", NAME)
    advance_waiting(house.platform)
    assert phase_of(house, promotion) is PromotionPhase.CHECKING
    assert not house.plane.loop.is_idle()
    let_go(house, slow)
    assert phase_of(house, promotion) is PromotionPhase.LIVE
    assert slow.began == 1
    decided = [one.body["gate"] for one in house.facts("gate.decided")]
    assert sorted(decided) == sorted(["digests", NAME, "policy"])
    moved = [one.id for one in house.facts("promotion.moved") if one.body["after"] == "checking"]
    assert {one.caused_by for one in house.facts("gate.decided")} == set(moved)


def test_a_killed_server_asks_again(house: House, slow: SlowGate) -> None:
    """The one that follows knows nothing of the work: only the result counts."""
    promotion = asked(house, NAME)
    house.platform.gate_work.keep_only([])
    advance_waiting(house.platform)
    let_go(house, slow)
    assert phase_of(house, promotion) is PromotionPhase.LIVE
    assert slow.began == 2
    assert [one.body["gate"] for one in house.facts("gate.decided")].count(NAME) == 1


@pytest.mark.parametrize("error", [Unavailable("it did not end in time."), KeyError("rows")])
def test_one_that_breaks_is_an_error(house: House, slow: SlowGate, error: Exception) -> None:
    def breaks() -> GateResult:
        raise error

    slow.ends = breaks
    promotion = asked(house, NAME)
    let_go(house, slow)
    assert phase_of(house, promotion) is PromotionPhase.ERRORED
    with house.stores.db.read() as connection:
        [found] = [one for one in gate_results(connection, promotion.id) if one.gate == NAME]
    assert found.verdict is Verdict.ERROR


def test_another_policy_meanwhile_begins_another_round(house: House, slow: SlowGate) -> None:
    promotion = asked(house, "digests", NAME)
    ask_for(house, "digests", NAME, soak_s=1.0)
    let_go(house, slow)
    advance_waiting(house.platform)
    assert phase_of(house, promotion) is PromotionPhase.AWAITING_APPROVAL
    decided = [one.body["gate"] for one in house.facts("gate.decided")]
    assert (decided.count("digests"), decided.count("policy")) == (2, 2)


def test_what_is_not_signed_is_not_run(house: House, slow: SlowGate) -> None:
    ask_for(house, "digests", "provenance", NAME)
    made = house.ask("first", "score@1.0.0")
    house.stores.blobs.path_of(digest_of(house.old)).unlink()
    house.settle()
    assert phase_of(house, made) is PromotionPhase.FAILED
    assert slow.began == 0
