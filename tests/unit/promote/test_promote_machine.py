"""Whatever people, clocks and policies do: nothing is live that its environment's policy did not
allow at that moment, and the facts alone explain all that is.

The judge (conftest.py) knows the rules from the documentation and reads nothing but facts (and the
text of policies, by digest). The last test takes each rule out of the program, one by one: the
judge has to notice, or it would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Connection

from seamline.app.promote import promote_automatically
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote import approvals, decide, requests, situation, steps
from seamline.promote.glass import Glass, broken_glass
from seamline.promote.policy import ApprovalRule
from seamline.trust import refusals, tokens

DEVELOPMENT, STAGING = "development", "staging"
PASS = [Verdict.PASS] * 5
ONE = {"approvals": ApprovalRule(1)}


def run(machine: Any, examples: int, steps_: int = 30) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps_,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.hypothesis  # `make soak` asks for these
def test_nothing_is_live_that_its_policy_did_not_allow(machine: Any, soak: bool) -> None:
    is_sqlite = machine.copies.server is None
    examples = {(False, True): 12, (False, False): 3, (True, True): 2000, (True, False): 500}
    run(machine, examples[soak, is_sqlite])


# The rules, one by one --------------------------------------------------------------------------
def _no_reasons(*_: object) -> list[str]:
    return []


def _stays_approved(known: decide.Situation) -> decide.Step:
    """Whatever the policy says by now."""
    if known.phase is PromotionPhase.APPLYING:
        return decide.Step(PromotionPhase.VERIFYING)
    return decide._or_wait(known)


def _applied_whatever_it_is(known: decide.Situation) -> decide.Step:
    if known.phase is PromotionPhase.APPLYING:
        return decide.Step(PromotionPhase.VERIFYING)
    return decide.decide_step(known)


def _glass_of_anybody(tx: Connection, now: datetime, environment: str) -> list[Glass]:
    return [replace(one, principal="ada") for one in broken_glass(tx, now, environment)]


def _promote(play: Any, environment: str = DEVELOPMENT, release: str = "r1", **how: Any) -> None:
    """Asked for by ada, approved by bea, and nothing happens meanwhile, where not said."""
    said = {"person": "ada", "people": {"bea"}, "verdict": Verdict.PASS, "meanwhile": "", **how}
    play.bring_in(environment=environment, release=release, **said)


def _soak_is_cut(play: Any) -> None:
    play.time_passes(2.0)
    _promote(play)
    _promote(play, STAGING)


def _goes_back_upstream(play: Any) -> None:
    _promote(play, release="r1")
    _promote(play, release="r3")
    _promote(play, STAGING, "r3", meanwhile="rollback")


def _comes_again(play: Any) -> None:
    _promote(play, release="r1")
    _promote(play, release="r3")
    play.take_back(DEVELOPMENT, "bea")
    _promote(play, release="r3")


def _comes_into_a_hold(play: Any) -> None:
    play.hold(DEVELOPMENT, lifted=False)
    play.nothing_is_live_that_was_not_allowed()
    play.come_by_itself()
    _promote(play)


def _policy_changes_after_the_approval(play: Any) -> None:
    play.ask("r1", DEVELOPMENT, "ada")
    for _ in range(2):
        play.go_on(DEVELOPMENT, PASS)
    play.decide(DEVELOPMENT, "bea", "yes")
    play.apply_policy(DEVELOPMENT, {"approvals": ApprovalRule(1, exclude=())})
    for _ in range(2):
        play.go_on(DEVELOPMENT, PASS)


def _hurries_under_glass_of_another(play: Any) -> None:
    play.smash(DEVELOPMENT, "root", 7200.0)
    play.hurry("r1", DEVELOPMENT, "ada")
    for _ in range(3):
        play.go_on(DEVELOPMENT, PASS)


def _hurries_too_late(play: Any) -> None:
    play.smash(DEVELOPMENT, "root", 60.0)
    play.hurry("r1", DEVELOPMENT, "root")
    play.time_passes(1.0)
    for _ in range(3):
        play.go_on(DEVELOPMENT, PASS)


@dataclass(frozen=True)
class Rule:
    """`out`: where it is looked up, and what stands in for it. `play`: where it matters, when the
    policies of all environments ask `first`."""

    out: tuple[tuple[object, str, object], ...]
    play: Callable[[Any], None] = _promote
    first: dict[str, Any] = field(default_factory=dict)


RULES = {
    "who may approve": Rule(
        ((approvals, "why_may_not_approve", lambda *_: None),),
        lambda play: _promote(play, people={"cid"}),
        ONE,
    ),
    "how many approve": Rule(
        ((decide, "_lacking_approvals", _no_reasons),),
        lambda play: _promote(play, people=set()),
        ONE,
    ),
    "what an approval binds": Rule(
        ((decide, "_binds", lambda *_: True), (decide, "_checked_again", _stays_approved)),
        _policy_changes_after_the_approval,
        ONE,
    ),
    "soak": Rule(((decide, "_soak_left", _no_reasons),), _soak_is_cut, {"soak_s": 3600.0}),
    "windows": Rule(
        ((decide, "_until_a_window", _no_reasons),),
        first={"windows": ("mon-sun 08:00-10:00 UTC",)},
    ),
    "order": Rule(
        (
            (requests, "has_been_live", lambda *_: True),
            (situation, "has_been_live", lambda *_: True),
        ),
        lambda play: _promote(play, STAGING),
    ),
    "what went back upstream": Rule(
        ((situation, "has_been_live", lambda *_: True),), _goes_back_upstream, ONE
    ),
    "holds": Rule(((situation, "standing_holds", _no_reasons),), _comes_into_a_hold),
    "a hold on what comes by itself": Rule(
        ((promote_automatically, "standing_holds", _no_reasons),),
        _comes_into_a_hold,
        {"automatic": True},
    ),
    "the hold of a rollback": Rule(
        ((requests, "record_hold", lambda *_, **__: None),), _comes_again
    ),
    "whose glass": Rule(
        ((requests, "broken_glass", _glass_of_anybody),), _hurries_under_glass_of_another
    ),
    "how long glass is broken": Rule(((Glass, "is_broken", lambda *_: True),), _hurries_too_late),
    "gates": Rule(
        ((decide, "gates_asked", lambda policy, kind: ()),),
        lambda play: _promote(play, verdict=Verdict.FAIL),
        {"gates": ("digests",)},
    ),
    "the moment of applying": Rule(
        ((steps, "decide_step", _applied_whatever_it_is),),
        lambda play: _promote(play, meanwhile="hold"),
        ONE,
    ),
    "revoked tokens": Rule(
        ((tokens, "_check_in_force", lambda *_: None),),
        lambda play: _promote(play, meanwhile="revoke"),
        ONE,
    ),
    "roles": Rule(
        ((refusals, "require", lambda *_: None),), lambda play: _promote(play, person="dan")
    ),
}


@pytest.mark.hypothesis
@pytest.mark.parametrize("copies", ["sqlite"], indirect=True)  # the rules are the same on either
@pytest.mark.parametrize("name", RULES)
def test_the_judge_notices_each_rule_that_is_gone(
    machine: Any, name: str, monkeypatch: pytest.MonkeyPatch, soak: bool
) -> None:
    rule_ = RULES[name]
    eager: Any = type("Eager", (machine,), {"first": rule_.first})
    assert _objections(eager, rule_.play) == [], "the rule is in place"
    for module, where, stand_in in rule_.out:
        monkeypatch.setattr(module, where, stand_in)
    assert _objections(eager, rule_.play) != [], "the judge does not notice that it is gone"
    if soak:  # and whoever tries at random finds it, too
        with pytest.raises(AssertionError):
            run(eager, 500)


def _objections(machine: Any, play: Callable[[Any], None]) -> list[str]:
    made = machine()
    try:
        play(made)
        with suppress(AssertionError):
            made.nothing_is_live_that_was_not_allowed()
        return list(made.judge.objections)
    finally:
        made.teardown()
