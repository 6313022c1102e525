"""Hooks, the ledger's filters and waiting for an end, as they are asked over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from seamline.domain.digests import digest_of
from seamline.domain.states import Role
from seamline.hooks.deliveries import queue_new
from seamline.hooks.sender import HookSender
from seamline.project.plan import apply_project
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_promotion
from seamline.server import ControlPlane
from seamline.trust.principals import add_principal
from seamline.trust.teams import add_team

Ask = Callable[..., Any]
PROJECT = """
project = "platform"
team = "platform"

[environments.dataops]

[environments.staging]
after = "dataops"
approvals = { count = 1 }

[hooks.ci]
url = "http://127.0.0.1:1/nobody"
events = ["team.*"]
secret = "staging/ci"
"""


@pytest.fixture
def ask(plane: ControlPlane) -> Ask:
    """(status, JSON) of one request by somebody of this role."""
    stores = plane.platform.stores
    apply_project(stores, PROJECT, "platform.toml", by="root")
    with stores.db.transaction() as tx:
        tokens = {
            role: add_principal(tx, stores.facts, stores.clock, role, frozenset({role}), by="root")
            for role in Role
        }
        for team in ("a", "b"):
            add_team(tx, stores.facts, stores.clock, team, by="root")

    def send(method: str, path: str, role: Role = Role.VIEWER, **more: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {tokens[role]}"}

        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(plane.app, client=("127.0.0.1", 5000))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8765/api/v1"
            ) as client:
                return await client.request(method, path, headers=headers, **more)

        answer = asyncio.run(one())
        return answer.status_code, answer.json()

    return send


def test_everybody_sees_and_only_who_declares_sends_again(plane: ControlPlane, ask: Ask) -> None:
    stores = plane.platform.stores
    queue_new(stores)
    assert HookSender(stores).send_next("ci") == "pending", "the secret is missing"
    status, [hook] = ask("GET", "/hooks")
    assert (status, hook["name"], hook["pending"]) == (200, "ci", 2)
    assert "There is no secret 'ci' in staging" in hook["next"]["error"]
    _, [second, first] = ask("GET", "/hooks/ci/deliveries?state=pending")
    assert [first["attempts"], second["attempts"]] == [1, 0]
    assert ask("GET", "/hooks/ci/deliveries?state=delivered") == (200, [])
    assert ask("GET", "/hooks/cii/deliveries")[0] == 404
    assert ask("GET", "/hooks/ci/deliveries?state=lost")[0] == 400

    body = {"fact_id": first["fact_id"]}
    for role in Role:
        status, _ = ask("POST", "/hooks/ci/redeliveries", role, json=body)
        assert status == (200 if role is Role.ADMIN else 403), role
    _, [_, again] = ask("GET", "/hooks/ci/deliveries")
    assert (again["attempts"], again["asked_by"]) == (0, "admin")


def test_the_ledger_by_kind_person_and_time(ask: Ask) -> None:
    def subjects(**asked: Any) -> list[str]:
        status, found = ask("GET", "/facts", params=asked)
        assert status == 200, found
        return [one["subject"] for one in found]

    assert subjects(kind="team.added") == ["b", "a"]
    assert subjects(kind=["team.*", "project.applied"]) == ["b", "a", "platform"]
    assert subjects(kind="team.*", by="zoë") == []
    assert subjects(kind="team.*", by="root", subject="a") == ["a"]
    assert subjects(kind="team.*", since="2026-01-01", until="2026-01-02") == ["b", "a"]
    assert subjects(kind="team.*", since="2026-01-01T00:00:01") == []
    assert subjects(kind="team.*", until="2026-01-01T01:00:00+01:00") == []
    newest = ask("GET", "/facts?kind=team.*")[1][0]
    assert subjects(kind="team.*", before=newest["seq"]) == ["a"]
    for wrong in ({"kind": "team.add"}, {"since": "yesterday"}, {"until": "1.2.3d"}):
        assert ask("GET", "/facts", params=wrong)[0] == 400, wrong


def test_an_end_is_waited_for_past_the_approvals(plane: ControlPlane, ask: Ask) -> None:
    """The answer may not come before its time, else a job would ask without a pause."""
    stores = plane.platform.stores
    record_release(stores, Release(locks=(Pin("m", "1", digest_of(b"m")),)), "r1", by="ada")
    made = request_promotion(stores, "r1", "staging", by="ada")
    while plane.loop.step():
        continue
    began = time.monotonic()
    _, found = ask("GET", f"/promotions/{made.id}?wait_s=30")
    assert found["phase"] == "awaiting_approval"
    assert time.monotonic() - began < 30, "somebody is waited for: that is settled"
    began = time.monotonic()
    _, found = ask("GET", f"/promotions/{made.id}?wait_s=0.3&until=end")
    assert time.monotonic() - began >= 0.3
    reason = {"reason": "no"}
    assert ask("POST", f"/promotions/{made.id}/reject", Role.APPROVER, json=reason)[0] == 200
    _, found = ask("GET", f"/promotions/{made.id}?wait_s=30&until=end")
    assert found["phase"] == "rejected"
