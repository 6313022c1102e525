"""Who may ask what over HTTP, and what a request can never do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from seamline.domain.states import Role
from seamline.project.plan import apply_project
from seamline.protocols.kfp_registry import MAX_UPLOAD_BYTES
from seamline.server import ControlPlane
from seamline.trust.principals import add_principal

Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(plane: ControlPlane) -> Ask:
    """One request to the application, from loopback unless told."""

    def send(method: str, path: str, peer: str = "127.0.0.1", **more: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(plane.app, client=(peer, 5000))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8765"
            ) as client:
                return await client.request(method, path, **more)

        return asyncio.run(one())

    return send


def _token(plane: ControlPlane, name: str, *roles: Role) -> dict[str, str]:
    stores = plane.platform.stores
    with stores.db.transaction() as tx:
        token = add_principal(tx, stores.facts, stores.clock, name, frozenset(roles), by="root")
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Token abc", "sl_abc"])
def test_a_header_without_a_token_is_not_the_owner(ask: Ask, header: str) -> None:
    assert ask("GET", "/api/v1/status").json()["roles"] == ["admin"]
    answer = ask("GET", "/api/v1/status", headers={"Authorization": header})
    assert answer.status_code == 401


@pytest.mark.parametrize("peer", ["192.0.2.7", "somewhere", ""])
def test_strangers_need_a_token_for_everything(ask: Ask, plane: ControlPlane, peer: str) -> None:
    headers = _token(plane, "vera", Role.VIEWER)
    for path in ("/metrics", "/api/v1/board", "/api/v1/facts", "/pypi/dataops/simple/"):
        assert ask("GET", path, peer).status_code == 401
        assert ask("GET", path, peer, headers=headers).status_code == 200


def test_a_viewer_changes_nothing(ask: Ask, plane: ControlPlane) -> None:
    """Every route of the API that changes state, as the document lists them."""
    headers = _token(plane, "vera", Role.VIEWER)
    reads = ("project/plan", "promotions/plan", "pipeline-checks", "outdated-pipelines")
    reads += ("retention/plan",)
    reads += ("evaluations/{evaluation_id}/decide",)
    asks = {f"/api/v1/{path}" for path in reads}
    routes = [
        (method.upper(), path)
        for path, methods in plane.app.openapi()["paths"].items()
        for method in methods
        if method not in ("get", "head") and path not in asks
    ]
    assert len(routes) > 15
    for method, path in routes:
        filled = path.replace("{environment}", "dataops").replace("{", "").replace("}", "")
        answer = ask(method, filled, headers=headers, json={})
        assert answer.status_code == 403, (method, path, answer.text)


@pytest.mark.parametrize("source", ["..", "a/..", ".", "x" * 300, "a\x00b"])
def test_a_delivery_cannot_name_its_way_out(ask: Ask, source: str) -> None:
    answer = ask(
        "POST", "/api/v1/datasets/none/deliveries", params={"source": source}, content=b"a\n1\n"
    )
    assert answer.status_code in (400, 404)


def test_pipelines_have_a_limit(ask: Ask) -> None:
    body = b"x" * (MAX_UPLOAD_BYTES + 1)
    assert ask("POST", "/api/v1/pipelines", content=body).status_code == 413


def test_each_environment_of_the_workspace_has_an_index(ask: Ask, plane: ControlPlane) -> None:
    assert ask("GET", "/pypi/staging/simple/").status_code == 200
    text = """
project = "platform"
team = "platform"
[environments.dataops]
[environments.shop-floor]
after = "dataops"
"""
    apply_project(plane.platform.stores, text, "seamline.toml", by="ada")
    assert ask("GET", "/pypi/shop-floor/simple/").status_code == 200
    assert ask("GET", "/pypi/staging/simple/").status_code == 404
