"""Secrets over HTTP: who may set them, and that no answer holds a value."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from seamline.domain.states import Role
from seamline.server import ControlPlane
from seamline.trust.principals import add_principal
from seamline.trust.secrets import SecretKind, read_value, read_values

Ask = Callable[..., httpx.Response]
HUSH = "correct-horse-battery-staple"
PATH = "/api/v1/environments/{}/secrets{}"


@pytest.fixture
def said() -> list[str]:
    """Every answer that was given."""
    return []


@pytest.fixture
def ask(plane: ControlPlane, said: list[str]) -> Ask:
    def send(method: str, environment: str, name: str = "", **more: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(plane.app, client=("127.0.0.1", 5000))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8765"
            ) as client:
                path = PATH.format(environment, name and f"/{name}")
                return await client.request(method, path, **more)

        answer = asyncio.run(one())
        said.append(f"{answer.text} {answer.headers}")
        return answer

    return send


def headers(plane: ControlPlane, *roles: Role) -> dict[str, str]:
    stores, name = plane.platform.stores, f"who-{'-'.join(roles)}"
    with stores.db.transaction() as tx:
        token = add_principal(tx, stores.facts, stores.clock, name, frozenset(roles), by="root")
    return {"Authorization": f"Bearer {token}"}


def test_set_list_show_delete(plane: ControlPlane, ask: Ask, said: list[str]) -> None:
    stores = plane.platform.stores
    binary = base64.b64encode(b"\xff\x00").decode()
    made = ask(
        "POST", "dataops", "db", json={"values": {"password": HUSH}, "values_base64": {"b": binary}}
    )
    assert made.status_code == 200, made.text
    assert [one["key"] for one in made.json()["keys"]] == ["b", "password"]
    assert read_values(stores, "dataops", SecretKind.SECRET, "db") == {
        "password": HUSH.encode(),
        "b": b"\xff\x00",
    }
    (listed,) = ask("GET", "dataops").json()
    assert (listed["kind"], listed["name"], listed["environment"]) == ("secret", "db", "dataops")
    assert listed["keys"][1]["set_by"] == plane.platform.owner
    assert ask("GET", "dataops", "db").json() == listed
    left = ask("DELETE", "dataops", "db", params={"key": ["b"]}).json()
    assert [one["key"] for one in left["keys"]] == ["password"]
    assert ask("DELETE", "dataops", "db").json()["keys"] == []
    assert ask("GET", "dataops").json() == []
    assert ask("DELETE", "dataops", "db").status_code == 404
    assert HUSH not in "".join(said)
    assert base64.b64encode(HUSH.encode()).decode() not in "".join(said)


def test_config_maps_show_their_values(ask: Ask) -> None:
    binary = base64.b64encode(b"\xff").decode()
    body = {"kind": "config_map", "values": {"level": "info"}, "values_base64": {"blob": binary}}
    ask("POST", "dataops", "logging", json=body)
    shown = ask("GET", "dataops", "logging", params={"kind": "config_map"}).json()
    assert shown["values"] == {"blob": None, "level": "info"}
    assert ask("GET", "dataops", "logging").status_code == 404
    (listed,) = ask("GET", "dataops").json()
    assert "values" not in listed


@pytest.mark.parametrize(
    ("role", "dataops", "production"),
    [
        (Role.VIEWER, 403, 403),
        (Role.APPROVER, 403, 403),
        (Role.DEVELOPER, 200, 403),
        (Role.RELEASER, 200, 200),
        (Role.ADMIN, 200, 200),
    ],
)
def test_who_may_set_and_delete(
    plane: ControlPlane, ask: Ask, role: Role, dataops: int, production: int
) -> None:
    who = headers(plane, role)
    for environment, status in (("dataops", dataops), ("production", production)):
        body = {"values": {"password": HUSH, "user": "ada"}}
        assert ask("POST", environment, "db", json=body).status_code == 200
        answers = [
            ask("POST", environment, "db", json=body, headers=who),
            ask("DELETE", environment, "db", params={"key": "user"}, headers=who),
            ask("DELETE", environment, "db", headers=who),
        ]
        assert [answer.status_code for answer in answers] == [status] * 3, answers[0].text
        left = ask("GET", environment, headers=who)
        assert left.status_code == 200
        assert bool(left.json()) == (status == 403)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "given no key"),
        ({"values": HUSH}, "values"),
        ({"values": {"password": [HUSH]}}, "values.password"),
        ({"values": {f"password={HUSH}": "x"}}, "cannot be a key"),
        ({"values_base64": {"password": HUSH}}, "'password' is no base64"),
        ({"values_base64": {f"password={HUSH}": "!"}}, "cannot be a key"),
        ({"values": {"a": HUSH}, "values_base64": {"a": HUSH}}, "both as text and in base64"),
        ({"kind": "sekret", "values": {"a": HUSH}}, "kind"),
        ({"values": {"a": "x" * (1 << 20)}}, "1,048,576 is the most"),
    ],
)
def test_a_refusal_never_repeats_a_value(
    plane: ControlPlane, ask: Ask, said: list[str], body: dict[str, Any], words: str
) -> None:
    answer = ask("POST", "dataops", "db", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert HUSH not in said[-1]
    assert ask("GET", "dataops").json() == []


def test_half_a_character_is_refused(ask: Ask) -> None:
    body = b'{"values": {"password": "\\ud800"}}'
    answer = ask(
        "POST", "dataops", "db", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert "half of a character" in answer.text


def test_too_large_a_body_is_not_read(ask: Ask) -> None:
    answer = ask("POST", "dataops", "db", content=b"x" * ((8 << 20) + 1))
    assert answer.status_code == 413


def test_unknown_environments_and_odd_names(plane: ControlPlane, ask: Ask) -> None:
    body = {"values": {"password": HUSH}}
    for method in ("GET", "POST", "DELETE"):
        answer = ask(method, "producton", "db", **({"json": body} if method == "POST" else {}))
        assert answer.status_code == 404
        assert "Did you mean production?" in answer.text
    assert ask("POST", "dataops", "..%2f..%2fx", json=body).status_code in (400, 404)
    assert ask("POST", "dataops", "Db", json=body).status_code == 400
    assert not (plane.platform.root / "secrets").exists()


def test_an_environment_reads_its_own(plane: ControlPlane, ask: Ask) -> None:
    for environment in ("dataops", "production"):
        ask("POST", environment, "db", json={"values": {"password": f"of {environment}"}})
    for environment in ("dataops", "production"):
        value = read_value(plane.platform.stores, environment, SecretKind.SECRET, "db", "password")
        assert value == f"of {environment}".encode()
