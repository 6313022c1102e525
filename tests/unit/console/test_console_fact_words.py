"""Every kind of fact can be said, also one of an earlier or a later version."""

from __future__ import annotations

import dataclasses

import pytest

from seamline.console.fact_words import say_fact
from seamline.domain.facts import FACT_TYPES

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize("kind", sorted(FACT_TYPES))
def test_each_kind_has_a_sentence(kind: str) -> None:
    names = [field.name for field in dataclasses.fields(FACT_TYPES[kind])]
    said = say_fact(kind, {name: f"the {name}" for name in names}, {})
    assert "{" not in said
    assert len(said) > 10


def test_releases_go_by_their_alias_and_times_to_the_minute() -> None:
    body = {"environment": "qa", "release": DIGEST, "before": None, "promotion_id": "1"}
    assert (
        say_fact("environment.changed", body, {DIGEST: "r1"})
        == "qa points at r1, instead of nothing"
    )
    assert (
        say_fact("environment.changed", body, {}) == f"qa points at {'a' * 12}, instead of nothing"
    )
    glass = {"environment": "qa", "reason": "fire", "until": "2026-11-21T10:20:30.000000Z"}
    assert say_fact("glass.broken", glass, {}) == (
        "the glass of qa was broken until 2026-11-21 10:20 UTC: fire"
    )


def test_what_an_earlier_version_did_not_say_is_left_out() -> None:
    body = {"promotion_id": "1", "release": DIGEST, "environment": "qa"}
    assert say_fact("promotion.requested", body, {DIGEST: "r1"}) == "r1 was asked for in qa"
    given = {**body, "comment": "fine", "self_approved": ["trainer"]}
    assert say_fact("approval.given", given, {DIGEST: "r1"}) == (
        "r1 was approved for qa, by its trainer: “fine”"
    )
