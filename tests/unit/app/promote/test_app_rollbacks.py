"""Rollback, plan and gates as the loop drives them."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from seamline.app.promote.advance_promotion import advance_waiting
from seamline.app.promote.plan_promotion import plan_promotion
from seamline.app.promote.show_release import compare_releases, verify_release
from seamline.domain.clock import ManualClock
from seamline.domain.promote_facts import ApprovalDismissed
from seamline.domain.states import PromotionPhase, Role, Verdict
from seamline.promote.approvals import approvals_of, approve
from seamline.promote.environments import apply_policies, find_environment
from seamline.promote.gate_results import GateResult, gate_results
from seamline.promote.holds import standing_holds
from seamline.promote.policy import DEFAULT_POLICIES, ApprovalRule, ExternalGate, Party
from seamline.promote.promotion import find_promotion
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_promotion, request_rollback
from seamline.serve.snapshots.snapshot import read_snapshot, snapshot_path
from seamline.server import ControlPlane
from seamline.store.facts import read_facts
from seamline.trust.hmac_signing import is_signed
from seamline.trust.principals import add_principal
from seamline.trust.roles import Principal
from seamline.trust.secrets import SecretKind, set_values

BEA = Principal("bea", frozenset({Role.APPROVER}))


def apply(plane: ControlPlane, **changes: object) -> None:
    """Nothing but what is asked of every promotion; `changes`: of development's policy."""
    plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    plain[1] = replace(plain[1], **changes)
    with plane.platform.stores.db.transaction() as tx:
        apply_policies(tx, plane.platform.stores.facts, tuple(plain), by="root")


def release(plane: ControlPlane, alias: str) -> str:
    """Of a lock that is stored, so that its bytes can be verified."""
    digest = plane.platform.stores.blobs.put(alias.encode())
    made = Release(locks=(Pin("m", alias, digest),))
    return record_release(plane.platform.stores, made, alias, by="ada").digest


def settle(plane: ControlPlane) -> None:
    while plane.loop.step():
        pass


def promote(plane: ControlPlane, alias: str, environment: str = "development") -> PromotionPhase:
    asked = request_promotion(plane.platform.stores, alias, environment, by="ada")
    settle(plane)
    return phase_of(plane, asked.id)


def phase_of(plane: ControlPlane, promotion_id: str) -> PromotionPhase:
    with plane.platform.stores.db.read() as connection:
        return find_promotion(connection, promotion_id).phase


def gate(plane: ControlPlane, promotion_id: str, name: str) -> GateResult:
    with plane.platform.stores.db.read() as connection:
        return next(one for one in gate_results(connection, promotion_id) if one.gate == name)


def test_a_rollback_reaches_the_serving_snapshot(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    apply(plane)
    first, second = release(plane, "r1"), release(plane, "r2")
    promote(plane, "r1")
    promote(plane, "r2")
    asked = request_rollback(stores, "development", "bad", by="bea")
    settle(plane)
    assert phase_of(plane, asked.id) is PromotionPhase.LIVE
    path = snapshot_path(stores.root, "development")
    assert read_snapshot(path, plane.platform.key.public).release == first
    with stores.db.read() as connection:
        assert [one.release for one in standing_holds(connection)] == [second]


def test_a_hold_stops_what_would_come_by_itself(plane: ControlPlane) -> None:
    apply(plane, automatic=True)
    release(plane, "r1")
    settle(plane)
    release(plane, "r2")
    settle(plane)
    request_rollback(plane.platform.stores, "development", "bad", by="bea")
    settle(plane)
    release(plane, "r3")
    settle(plane)
    with plane.platform.stores.db.read() as connection:
        found = find_environment(connection, "development")
        kinds = [fact.kind for fact in read_facts(connection, kinds=["promotion.requested"])]
    assert len(kinds) == 2
    assert found.release is not None


def test_a_blob_altered_since_is_not_rolled_back_to(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    apply(plane)
    release(plane, "r1")
    live = release(plane, "r2")
    promote(plane, "r1")
    promote(plane, "r2")
    path = stores.blobs.verified_path(stores.blobs.put(b"r1"), "r1")
    path.chmod(0o644)
    path.write_bytes(b"rx")
    asked = request_rollback(stores, "development", "bad", by="bea")
    settle(plane)
    assert phase_of(plane, asked.id) is PromotionPhase.FAILED
    with stores.db.read() as connection:
        assert find_environment(connection, "development").release == live
    assert not verify_release(plane.platform, "r1")["verified"]
    assert verify_release(plane.platform, "r2")["verified"]


def test_loosened_rules_are_named_in_the_evidence(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    apply(plane, soak_s=60.0)
    release(plane, "r1")
    asked = request_promotion(stores, "r1", "development", by="ada")
    settle(plane)
    shipped = gate(plane, asked.id, "policy").evidence["loosened"]
    assert shipped == [
        "the gate digests is not asked for any more",
        "the gate provenance is not asked for any more",
    ]
    assert isinstance(stores.clock, ManualClock)
    stores.clock.advance(61)
    plane.loop.step()
    advance_waiting(plane.platform)
    settle(plane)
    apply(plane, soak_s=1.0)
    release(plane, "r2")
    asked = request_promotion(stores, "r2", "development", by="ada")
    settle(plane)
    found = gate(plane, asked.id, "policy")
    assert found.evidence["loosened"] == ["soak: 1 min → 1 s"]
    assert "since root applied it at" in found.sentence


def test_approvals_by_a_policy_that_is_gone_are_dismissed_at_once(plane: ControlPlane) -> None:
    """Not only when somebody else approves: until then nobody would know, and who approved could
    not approve again."""
    apply(plane, approvals=ApprovalRule(count=2))
    release(plane, "r1")
    stores = plane.platform.stores
    asked = request_promotion(stores, "r1", "development", by="ada")
    settle(plane)
    approve(stores, asked.id, BEA, {})
    settle(plane)
    apply(plane, approvals=ApprovalRule(count=3))
    advance_waiting(plane.platform)
    settle(plane)
    with stores.db.read() as connection:
        assert approvals_of(connection, asked.id) == ()
        (fact,) = read_facts(connection, kinds=[ApprovalDismissed.kind], subject=asked.id)
    assert "the policy of development changed" in fact.body["reason"]
    assert phase_of(plane, asked.id) is PromotionPhase.AWAITING_APPROVAL
    approve(stores, asked.id, BEA, {})


def test_a_plan_says_what_would_happen_and_writes_nothing(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    apply(plane)
    release(plane, "r1")
    release(plane, "r2")
    with stores.db.transaction() as tx:
        add_principal(tx, stores.facts, stores.clock, "bea", frozenset({Role.APPROVER}), by="root")
        add_principal(tx, stores.facts, stores.clock, "cid", frozenset({Role.VIEWER}), by="root")
    planned = plan_promotion(plane.platform, "r1", "development", by="ada")
    assert (planned["would"], planned["refused"], planned["live"]) == ("live", None, None)
    promote(plane, "r1")
    promote(plane, "r2")
    with stores.db.read() as connection:
        before = len(read_facts(connection))
    planned = plan_promotion(plane.platform, "r2", "staging", by="bea")
    assert planned["would"] == "awaiting_approval"
    assert planned["waits"] == [
        "1 more approval by approver or admin, not the trainer, author, requester"
    ]
    names = {one["name"]: one["why_not"] for one in planned["approvers"]}
    assert "requested this promotion" in names.pop("bea")
    assert "cid" not in names
    assert all(why is None for why in names.values())
    refused = plan_promotion(plane.platform, "r1", "production", by="ada")
    assert refused["would"] == "refused"
    assert "has not been live in staging" in refused["refused"]
    again = plan_promotion(plane.platform, "r1", "development", by="ada")
    assert [(one["kind"], one["name"]) for one in again["changes"]] == [("lock", "m")]
    with stores.db.read() as connection:
        assert len(read_facts(connection)) == before


def test_releases_compared(plane: ControlPlane) -> None:
    release(plane, "r1")
    release(plane, "r2")
    [change] = compare_releases(plane.platform, "r1", "r2")["changes"]
    assert (change["before"]["version"], change["after"]["version"]) == ("r1", "r2")
    assert compare_releases(plane.platform, "r1", "r1")["changes"] == []


@contextmanager
def board(answer: bytes, status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A change board on a port of its own; what it was asked."""
    asked: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((dict(self.headers), body))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/ask", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("answer", "status", "phase", "verdict"),
    [
        (b'{"verdict": "pass", "sentence": "CHG-7 is open"}', 200, "live", "pass"),
        (b'{"verdict": "fail", "sentence": "freeze"}', 200, "failed", "fail"),
        (b'{"verdict": "inconclusive"}', 200, "failed", "inconclusive"),
        (b'{"verdict": "error"}', 200, "errored", "error"),
        (b'{"verdict": true}', 200, "errored", "error"),
        (b"[]", 200, "errored", "error"),
        (b"yes", 200, "errored", "error"),
        (b'{"verdict": "pass"}', 500, "errored", "error"),
    ],
)
def test_somebody_else_decides(
    plane: ControlPlane, answer: bytes, status: int, phase: str, verdict: str
) -> None:
    release(plane, "r1")
    with board(answer, status) as (url, asked):
        apply(plane, external=(ExternalGate("board", url, "board-key"),))
        set_values(
            plane.platform.stores, "development", SecretKind.SECRET, "board-key",
            {"signing": b"s3cret"}, by="root",
        )  # fmt: skip
        made = request_promotion(plane.platform.stores, "r1", "development", by="ada")
        settle(plane)
    assert phase_of(plane, made.id) == phase
    assert gate(plane, made.id, "external:board").verdict is Verdict(verdict)
    headers, body = asked[0]
    question = json.loads(body)
    assert (question["promotion_id"], question["release"]["alias"]) == (made.id, "r1")
    assert is_signed(b"s3cret", headers["Seamline-Signature"], body)
    assert not is_signed(b"other", headers["Seamline-Signature"], body)


def test_self_approval_is_said(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    solo = replace(DEFAULT_POLICIES[1].approvals, count=1, exclude=())
    apply(plane, approvals=solo)
    release(plane, "r1")
    made = request_promotion(stores, "r1", "development", by="bea")
    settle(plane)
    approve(stores, made.id, BEA, {Party.REQUESTER: {"bea": "requested this promotion"}})
    settle(plane)
    assert phase_of(plane, made.id) is PromotionPhase.LIVE
    with stores.db.read() as connection:
        [given] = read_facts(connection, kinds=["approval.given"])
    assert given.body["self_approved"] == ["requester"]
