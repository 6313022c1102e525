"""What could come next, and what a rollback would do: told without writing anything."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from seamline.app.promote.board import show_board, show_promotion
from seamline.app.promote.plan_rollback import plan_rollback
from seamline.domain.clock import ManualClock
from seamline.domain.states import PromotionPhase, Role
from seamline.promote.approvals import reject
from seamline.promote.environments import apply_policies
from seamline.promote.glass import break_glass
from seamline.promote.policy import DEFAULT_POLICIES, ApprovalRule
from seamline.promote.promotion import find_promotion
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import (
    request_emergency,
    request_promotion,
    request_rollback,
    why_asked,
)
from seamline.server import ControlPlane
from seamline.trust.roles import Principal

ROOT = Principal("root", frozenset({Role.ADMIN}))


def apply(plane: ControlPlane, **changes: object) -> None:
    """Nothing but what is asked of every promotion; `changes`: of staging's policy."""
    plain = [
        replace(one, gates=(), soak_s=0.0, automatic=False, approvals=ApprovalRule())
        for one in DEFAULT_POLICIES
    ]
    plain[2] = replace(plain[2], **changes)
    with plane.platform.stores.db.transaction() as tx:
        apply_policies(tx, plane.platform.stores.facts, tuple(plain), by="root")


def release(plane: ControlPlane, alias: str) -> str:
    digest = plane.platform.stores.blobs.put(alias.encode())
    made = Release(locks=(Pin("m", alias, digest),))
    return record_release(plane.platform.stores, made, alias, by="ada").digest


def promote(plane: ControlPlane, alias: str, environment: str = "development") -> str:
    asked = request_promotion(plane.platform.stores, alias, environment, by="ada", reason=" now ")
    settle(plane)
    return asked.id


def settle(plane: ControlPlane) -> None:
    while plane.loop.step():
        pass


def up(plane: ControlPlane, environment: str) -> dict[str, Any] | None:
    shown = {one["name"]: one for one in show_board(plane.platform)["environments"]}
    found: dict[str, Any] | None = shown[environment]["next"]
    return found


def test_next_is_what_is_live_one_step_earlier(plane: ControlPlane) -> None:
    apply(plane, approvals=ApprovalRule(count=1))
    assert up(plane, "development") is None
    release(plane, "r1")
    following = up(plane, "development")
    assert following is not None
    assert (following["release_alias"], following["refused"]) == ("r1", None)
    assert up(plane, "staging") is None
    promote(plane, "r1")
    assert up(plane, "development") is None
    following = up(plane, "staging")
    assert following is not None
    assert following["release_alias"] == "r1"
    assert [one[:15] for one in following["waits"]] == ["1 more approval"]
    asked = promote(plane, "r1", "staging")
    assert up(plane, "staging") is None
    reject(plane.platform.stores, asked, ROOT, "not in August")
    following = up(plane, "staging")
    assert following is not None
    assert (following["stopped"]["id"], following["stopped"]["reason"]) == (asked, "not in August")


def test_what_was_rolled_back_says_why_it_cannot_come(plane: ControlPlane) -> None:
    apply(plane)
    for alias in ("r1", "r2"):
        release(plane, alias)
        promote(plane, alias)
        promote(plane, alias, "staging")
    went = request_rollback(plane.platform.stores, "staging", "zeros", by="bea")
    settle(plane)
    following = up(plane, "staging")
    assert following is not None
    assert following["release_alias"] == "r2"
    assert "was rolled back in staging by bea" in following["refused"]
    assert show_promotion(plane.platform, went.id)["why_asked"] == "zeros"


def test_soak_and_window_with_the_time_left(plane: ControlPlane, clock: ManualClock) -> None:
    day = (clock.now() + timedelta(days=1)).strftime("%a").lower()
    apply(plane, soak_s=7200.0, windows=(f"{day} 00:00-23:59 UTC",))
    release(plane, "r1")
    promote(plane, "r1")
    shown = {one["name"]: one for one in show_board(plane.platform)["environments"]}
    assert shown["development"]["window"] is None
    assert shown["staging"]["window"]["is_open"] is False
    soak, window = shown["staging"]["next"]["waits"]
    assert soak == "2 h of 2 h soak in development are left"
    assert window.startswith("the next window opens in ")
    clock.advance(24 * 3600)
    shown = {one["name"]: one for one in show_board(plane.platform)["environments"]}
    assert shown["staging"]["window"]["is_open"] is True
    assert shown["staging"]["next"]["waits"] == []


def test_a_rollback_is_planned(plane: ControlPlane) -> None:
    apply(plane)
    digests = {}
    assert "nothing to roll back" in plan_rollback(plane.platform, "development")["refused"]
    for alias in ("r1", "r2", "r3"):
        digests[alias] = release(plane, alias)
        promote(plane, alias)
    planned = plan_rollback(plane.platform, "development")
    assert (planned["live"]["alias"], planned["target"]["alias"]) == ("r3", "r2")
    assert [one["alias"] for one in planned["choices"]] == ["r2", "r1"]
    (change,) = planned["changes"]
    assert (change["before"]["version"], change["after"]["version"]) == ("r3", "r2")
    assert planned["verified"] is True
    assert plan_rollback(plane.platform, "development", "r1")["target"]["alias"] == "r1"
    release(plane, "r4")
    for alias in ("r3", "r4", "nonsense"):
        refused = plan_rollback(plane.platform, "development", alias)
        assert refused["refused"]
        assert refused["target"] is None
    stores = plane.platform.stores
    with stores.db.read() as connection:
        assert find_promotion(connection, promotion_of(plane)).phase is PromotionPhase.LIVE
    lock = stores.blobs.path_of(str(stores.blobs.put(b"r2")))
    lock.chmod(0o644)
    lock.write_bytes(b"R2")
    assert plan_rollback(plane.platform, "development")["verified"] is False


def promotion_of(plane: ControlPlane) -> str:
    shown = {one["name"]: one for one in show_board(plane.platform)["environments"]}
    return str(shown["development"]["promotion_id"])


def test_who_asked_said_why(plane: ControlPlane) -> None:
    apply(plane)
    release(plane, "r1")
    regular = promote(plane, "r1")
    stores = plane.platform.stores
    break_glass(stores, "production", ROOT, "fire", 600)
    hurried = request_emergency(stores, "r1", "production", by="root")
    with stores.db.read() as connection:
        assert why_asked(connection, find_promotion(connection, regular)) == "now"
        assert why_asked(connection, hurried) == "fire"
