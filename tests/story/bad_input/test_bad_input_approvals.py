"""Who may not approve, what may not be promoted, and what each is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def waiting(kiosk: Any) -> str:
    """A promotion to staging that asks for two approvals; `rita` requested it."""
    rita = kiosk.person.with_token(kiosk.tokens["rita"])
    found = rita.data("promote", "first", "--to", "staging")
    assert found["phase"] == "awaiting_approval"
    return str(found["id"])


@pytest.fixture
def as_(kiosk: Any) -> Callable[[str], Any]:
    return lambda name: kiosk.person.with_token(kiosk.tokens[name])


def test_bad_input_promotion_out_of_order(kiosk: Any, as_: Callable[[str], Any]) -> None:
    with kiosk.untouched():
        said = as_("rita").is_refused("promote", "first", "--to", "production")
    assert said == (
        f"refused: Release first ({kiosk.release[7:19]}) has not been live in staging, which comes "
        "before production. First: seamline promote first --to staging."
    )


def test_bad_input_a_release_under_a_taken_alias(kiosk: Any, as_: Callable[[str], Any]) -> None:
    with kiosk.untouched():
        said = as_("rita").is_refused("release", "create", "first", "--model", "ice-cream")
    assert said.startswith("conflict: ")
    assert "first" in said


@pytest.mark.parametrize("alias", ["", "../x", "a b", "sha256:x", "x" * 300])
def test_bad_input_aliases_that_cannot_be(
    kiosk: Any, as_: Callable[[str], Any], alias: str
) -> None:
    with kiosk.untouched():
        said = as_("rita").is_refused("release", "create", alias, "--model", "ice-cream")
    assert said.startswith("invalid_input: ")


def test_bad_input_approval_by_the_trainer(
    kiosk: Any, waiting: str, as_: Callable[[str], Any]
) -> None:
    with kiosk.untouched():
        said = as_("tess").is_refused("promotion", "approve", waiting)
    assert said.startswith("forbidden: tess may not approve this promotion to staging: ")
    assert "trained ice-cream 1.0.0 (run " in said


def test_bad_input_approval_by_the_requester(
    kiosk: Any, waiting: str, as_: Callable[[str], Any]
) -> None:
    with kiosk.untouched():
        said = as_("rita").is_refused("promotion", "approve", waiting)
    assert said.startswith("forbidden: rita may not approve this promotion to staging: ")
    assert "requested this promotion" in said


def test_bad_input_approval_without_the_role(
    kiosk: Any, waiting: str, as_: Callable[[str], Any]
) -> None:
    with kiosk.untouched():
        for verb in (("approve",), ("reject", "--reason", "no")):
            said = as_("vera").is_refused("promotion", verb[0], waiting, *verb[1:])
            assert said.startswith("forbidden: vera ")
            assert "approver" in said


def test_bad_input_approval_twice_by_one_person(
    kiosk: Any, waiting: str, as_: Callable[[str], Any]
) -> None:
    found = as_("anna").data("promotion", "approve", waiting, "--comment", "looks right")
    assert found["phase"] == "awaiting_approval"
    with kiosk.untouched():
        said = as_("anna").is_refused("promotion", "approve", waiting)
    assert said.startswith(f"conflict: anna has approved promotion {waiting} already.")


def test_bad_input_approval_with_a_revoked_token(
    kiosk: Any, waiting: str, as_: Callable[[str], Any]
) -> None:
    assert kiosk.person.data("principal", "revoke", "carl")["revoked"] == 1
    with kiosk.untouched():
        said = as_("carl").is_refused("promotion", "approve", waiting)
    assert said.startswith("unauthenticated: This token of carl was revoked at ")


def test_bad_input_rejection_without_a_reason(
    kiosk: Any, waiting: str, as_: Callable[[str], Any], send: Callable[..., Any]
) -> None:
    with kiosk.untouched():
        said = as_("bert").is_refused("promotion", "reject", waiting, "--reason", " ")
        answer = send(
            kiosk.url,
            "POST",
            f"/api/v1/promotions/{waiting}/reject",
            json.dumps({}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {kiosk.tokens['bert']}"},
        )
    assert said.startswith("invalid_input: ")
    assert "reason" in said
    assert (answer.status, answer.json["error"]["code"]) == (400, "invalid_input")


@pytest.mark.parametrize(
    "words",
    [
        ("apply",),
        ("data", "ingest", "sales", "may.csv"),
        ("pipeline", "push", "training.yaml"),
        ("run", "submit", "sales-training@1.0.0"),
        ("release", "create", "second", "--model", "ice-cream"),
        ("promote", "first", "--to", "staging"),
        ("principal", "add", "mallory", "--role", "admin"),
        ("principal", "token", "anna"),
        ("principal", "revoke", "anna"),
    ],
    ids=" ".join,
)
def test_bad_input_what_a_viewer_cannot_do(
    kiosk: Any, as_: Callable[[str], Any], words: tuple[str, ...]
) -> None:
    with kiosk.untouched():
        said = as_("vera").is_refused(*words)
    assert said.startswith("forbidden: vera (viewer) may not "), said


def test_bad_input_a_page_of_another_site_approves_nothing(
    kiosk: Any, waiting: str, send: Callable[..., Any]
) -> None:
    path = f"/api/v1/promotions/{waiting}/approve"
    for headers in (
        {"Origin": "http://evil.example"},
        {"Host": "evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        with kiosk.untouched():
            answer = send(kiosk.url, "POST", path, b"{}", headers)
        assert (answer.status, answer.json["error"]["code"]) == (403, "forbidden")


def test_bad_input_a_second_decision(kiosk: Any, waiting: str, as_: Callable[[str], Any]) -> None:
    """The last test of the file: it rejects the promotion that the others ask about."""
    found = as_("bert").data("promotion", "reject", waiting, "--reason", "not before the holidays")
    assert (found["phase"], found["reason"]) == ("rejected", "not before the holidays")
    with kiosk.untouched():
        for words in (("approve", waiting), ("reject", waiting, "--reason", "no")):
            said = as_("bert").is_refused("promotion", *words)
            assert said.startswith("conflict: ")
            assert "rejected" in said
