"""The Kubeflow API keeps the house's rules: who asks, from which page, and how much they send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Barrier, BrokenBarrierError
from typing import Any

import httpx
import pytest

from seamline.domain.states import Role, RunState, TaskState
from seamline.protocols.kfp_api import pipelines
from seamline.protocols.kfp_api.run_details import RUN_STATES, TASK_STATES
from seamline.server import ControlPlane
from seamline.trust.principals import add_principal

BASE = "/apis/v2beta1"
READS = ["/experiments", "/pipelines", "/runs", "/recurringruns", "/runs/x", "/experiments/x"]
CHANGES = [
    ("POST", "/experiments"),
    ("POST", "/experiments/x:archive"),
    ("DELETE", "/experiments/x"),
    ("POST", "/pipelines/upload"),
    ("POST", "/pipelines/upload_version?pipelineid=x"),
    ("POST", "/pipelines/x/versions"),
    ("DELETE", "/pipelines/x"),
    ("DELETE", "/pipelines/x/versions/y"),
    ("POST", "/runs"),
    ("POST", "/runs/x:terminate"),
    ("POST", "/runs/x:retry"),
    ("POST", "/runs/x:archive"),
    ("POST", "/runs/x:unarchive"),
    ("DELETE", "/runs/x"),
    ("POST", "/recurringruns"),
    ("POST", "/recurringruns/x:enable"),
    ("POST", "/recurringruns/x:disable"),
    ("DELETE", "/recurringruns/x"),
]
Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(plane: ControlPlane) -> Ask:
    def send(method: str, path: str, peer: str = "127.0.0.1", **more: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(plane.app, client=(peer, 5000))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8765"
            ) as client:
                return await client.request(method, BASE + path, **more)

        return asyncio.run(one())

    return send


def bearer(plane: ControlPlane, name: str, *roles: Role) -> dict[str, str]:
    stores = plane.platform.stores
    with stores.db.transaction() as tx:
        token = add_principal(tx, stores.facts, stores.clock, name, frozenset(roles), by="root")
    return {"Authorization": f"Bearer {token}"}


def test_strangers_learn_only_that_there_is_a_server(ask: Ask, plane: ControlPlane) -> None:
    assert ask("GET", "/healthz", "192.0.2.7").json()["multi_user"] is False
    for method, path in [*(("GET", path) for path in READS), *CHANGES]:
        answer = ask(method, path, "192.0.2.7", json={} if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (401, 16), path
    viewer = bearer(plane, "vera", Role.VIEWER)
    for path in READS[:4]:
        assert ask("GET", path, "192.0.2.7", headers=viewer).status_code == 200


def test_a_viewer_changes_nothing(ask: Ask, plane: ControlPlane) -> None:
    viewer = bearer(plane, "vera", Role.VIEWER)
    for method, path in CHANGES:
        answer = ask(method, path, headers=viewer, json={} if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (403, 7), path
        assert "vera (viewer) may not" in answer.json()["message"]


def test_a_page_of_another_site_changes_nothing(ask: Ask) -> None:
    for method, path in CHANGES:
        for mark in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert ask(method, path, headers=mark).status_code == 403, path
    assert ask("GET", "/runs", headers={"Host": "evil.example"}).status_code == 403


def test_a_body_is_read_only_from_who_may_send_it_and_only_so_far(
    ask: Ask, plane: ControlPlane
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 65_536

    assert ask("POST", "/runs", "192.0.2.7", content=endless()).status_code == 401
    assert read <= 1
    answer = ask("POST", "/experiments", content=endless())
    assert (answer.status_code, answer.json()["code"]) == (413, 3)
    assert read < 40


def test_errors_have_the_apis_shape(ask: Ask) -> None:
    unknown = ask("GET", "/artifacts")
    assert unknown.json() == {
        "error": unknown.json()["message"],
        "code": 5,
        "message": "There is no /apis/v2beta1/artifacts here. "
        "Spoken are experiments, pipelines, runs and recurringruns.",
        "details": [],
    }
    shape = ask("POST", "/experiments", json={"display_name": ["x"]})
    assert (shape.status_code, shape.json()["code"]) == (400, 3)
    assert "display_name" in shape.json()["message"].replace("displayName", "display_name")
    assert ask("POST", "/experiments", content=b"{").json()["code"] == 3
    missing = ask("POST", "/pipelines/upload")
    assert (missing.status_code, missing.json()["code"]) == (400, 3)


def test_both_spellings_of_names(ask: Ask) -> None:
    first = ask("POST", "/experiments", json={"display_name": "one"})
    second = ask("POST", "/experiments", json={"displayName": "two"})
    assert (first.status_code, second.status_code) == (200, 200)
    found = ask("GET", "/experiments").json()["experiments"]
    assert {one["display_name"] for one in found} == {"one", "two", "Default"}


def test_every_state_has_a_word() -> None:
    assert set(RUN_STATES) == set(RunState)
    assert set(TASK_STATES) == set(TaskState)


def test_of_two_files_uploaded_at_once_under_one_name_one_is_refused(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of two that come one after the other: pipelines, and versions of one."""
    publish = pipelines.publish_pipeline

    def upload(path: str, note: str) -> httpx.Response:
        data = f"schemaVersion: 2.1.0\npipelineInfo: {{name: score}}\nroot: {{dag: {{}}}}\n# {note}"
        return ask("POST", f"/pipelines/{path}", files={"uploadfile": ("a.yaml", data)})

    def at_once(path: str, *notes: str) -> list[httpx.Response]:
        met = Barrier(len(notes))

        def together(*given: Any, **more: Any) -> Any:
            with suppress(BrokenBarrierError):
                met.wait(0.3)
            return publish(*given, **more)

        monkeypatch.setattr(pipelines, "publish_pipeline", together)
        with ThreadPoolExecutor(len(notes)) as pool:
            return list(pool.map(partial(upload, path), notes))

    made = at_once("upload?name=Score", "a", "b")
    assert sorted(one.status_code for one in made) == [200, 409]
    pipeline_id = next(one.json()["pipeline_id"] for one in made if one.is_success)
    versions = at_once(f"upload_version?name=v1&pipelineid={pipeline_id}", "c", "d")
    assert sorted(one.status_code for one in versions) == [200, 409]
    listed = ask("GET", f"/pipelines/{pipeline_id}/versions").json()["pipeline_versions"]
    assert sorted(one["display_name"] for one in listed) == ["Score", "v1"]
