"""Promotions as the loop drives them, with what can go wrong on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from seamline.app.promote.advance_promotion import advance_waiting, on_promotion_moved
from seamline.app.promote.promote_automatically import on_release_created
from seamline.domain.clock import ManualClock
from seamline.domain.errors import Unavailable
from seamline.domain.states import PromotionPhase, Role, Verdict
from seamline.promote.approvals import approve
from seamline.promote.environments import apply_policies, find_environment
from seamline.promote.gate_results import GateResult, record_gate
from seamline.promote.policy import DEFAULT_POLICIES, POLICY
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_promotion
from seamline.promote.rows import RELEASES
from seamline.promote.steps import advance, finish, point_environment
from seamline.serve.snapshots.snapshot import read_snapshot, snapshot_path
from seamline.server import ControlPlane
from seamline.store.facts import RecordedFact, read_facts
from seamline.store.stores import Stores
from seamline.trust.roles import Principal

BEA = Principal("bea", frozenset({Role.APPROVER}))


def _policies(stores: Stores, **development: object) -> None:
    """No gates; nothing waits, but staging for one approval and a minute."""
    plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    plain[1] = replace(plain[1], **development)
    plain[2] = replace(plain[2], soak_s=60.0)
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(plain), by="root")


def _release(stores: Stores, alias: str, **pins: tuple[Pin, ...]) -> str:
    pins = pins or {"pipelines": (Pin(alias, "1.0.0", "sha256:" + "b2" * 32),)}
    return record_release(stores, Release(**pins), alias, by="ada").digest


def _checked(stores: Stores, promotion: Promotion) -> Promotion:
    """Through its gates: only what is asked of every promotion is."""
    advance(stores, promotion.id)
    record_gate(stores, promotion.id, GateResult(POLICY, Verdict.PASS, "", {}), by="seamline")
    return advance(stores, promotion.id)


def _fact(stores: Stores, kind: str) -> RecordedFact:
    with stores.db.read() as connection:
        return read_facts(connection, kinds=[kind], newest_first=True)[0]


def _find(stores: Stores, promotion_id: str) -> Promotion:
    with stores.db.read() as connection:
        return find_promotion(connection, promotion_id)


def _settle(plane: ControlPlane) -> None:
    while plane.loop.step():
        pass


def test_a_release_whose_bytes_are_gone_gives_way_to_the_one_before(plane: ControlPlane) -> None:
    stores, platform = plane.platform.stores, plane.platform
    _policies(stores)
    broken = _release(stores, "broken", packages=(Pin("m", "1.0.0", "sha256:" + "a1" * 32),))
    good = _release(stores, "good", locks=(Pin("m", "1.0.0", stores.blobs.put(b"polars")),))
    for digest, live in ((broken, None), (good, good), (broken, good)):
        asked = request_promotion(stores, digest, "development", by="ada")
        _settle(plane)
        phase = PromotionPhase.LIVE if digest == live else PromotionPhase.FAILED
        assert _find(stores, asked.id).phase is phase
        with stores.db.read() as connection:
            assert find_environment(connection, "development").release == live
        path = snapshot_path(stores.root, "development")
        snapshot = read_snapshot(path, platform.key.public)
        assert snapshot.release == (live or "")
        assert snapshot.endpoints == ()


def test_gates_are_checked_again_when_the_policy_changed_meanwhile(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    _policies(stores)
    asked = request_promotion(stores, _release(stores, "r1"), "development", by="ada")
    advance(stores, asked.id)
    moved = _fact(stores, "promotion.moved")
    _policies(stores, gates=("soak",))
    record_gate(stores, asked.id, GateResult("digests", Verdict.PASS, "", {}), by="seamline")
    assert advance(stores, asked.id).phase is PromotionPhase.CHECKING
    on_promotion_moved(plane.platform, moved)
    assert _find(stores, asked.id).phase is PromotionPhase.APPLYING


def test_an_altered_release_holds_up_no_other(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    _policies(stores)
    waiting = []
    for environment in ("staging", "production"):
        alias = f"for-{environment}"
        digest = _release(stores, alias)
        for step in ("development", "staging")[: 1 + (environment == "production")]:
            _go_live(stores, digest, step)
        waiting.append((digest, environment))
    altered, sound = waiting[0], waiting[1]
    asked = request_promotion(stores, sound[0], sound[1], by="ada")
    _checked(stores, asked)
    other = request_promotion(stores, altered[0], altered[1], by="ada")
    _checked(stores, other)
    approve(stores, asked.id, BEA, {})
    with stores.db.transaction() as tx:
        where = RELEASES.c.digest == altered[0]
        tx.execute(update(RELEASES).where(where).values(document="{}"))
    advance_waiting(plane.platform)
    assert _find(stores, asked.id).phase is PromotionPhase.APPLYING
    assert _find(stores, other.id).phase is PromotionPhase.AWAITING_APPROVAL


def _go_live(stores: Stores, digest: str, environment: str) -> None:
    promotion = request_promotion(stores, digest, environment, by="ada")
    promotion = _checked(stores, promotion)
    if promotion.phase is PromotionPhase.AWAITING_APPROVAL:
        approve(stores, promotion.id, BEA, {})
        assert isinstance(stores.clock, ManualClock)
        stores.clock.advance(61)
        promotion = advance(stores, promotion.id)
    point_environment(stores, promotion.id)
    finish(stores, promotion.id, PromotionPhase.LIVE, "", caused_by=None)


def test_an_automatic_request_waits_until_the_one_before_is_applied(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    _policies(stores, automatic=True)
    first = request_promotion(stores, _release(stores, "r1"), "development", by="ada")
    point_environment(stores, _checked(stores, first).id)
    second = _release(stores, "r2")
    created = _fact(stores, "release.created")
    with pytest.raises(Unavailable, match="never interleave"):
        on_release_created(plane.platform, created)
    finish(stores, first.id, PromotionPhase.LIVE, "", caused_by=None)
    on_release_created(plane.platform, created)
    on_release_created(plane.platform, created)
    with stores.db.read() as connection:
        asked = [one.release for one in list_promotions(connection)]
    assert sorted(asked) == sorted([first.release, second])
