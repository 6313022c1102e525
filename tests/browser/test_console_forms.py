"""No form of the console acts for somebody whose page it was not, or who may not; told of every
form that there is."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from seamline.console import make_router
from seamline.store.facts import read_facts
from seamline.trust.roles import Scope
from seamline.trust.tokens import issue_token

FORMS = sorted(
    route.path
    for route in make_router().routes
    if isinstance(route, APIRoute) and "POST" in route.methods
)
#: A form that asks an endpoint for a prediction governs nothing.
GOVERNING = [
    path for path in FORMS if path.startswith("/environments/") and "/endpoints/" not in path
]


def filled(path: str) -> str:
    return re.sub(r"\{.*?\}", "production", path)


def form_token(client: httpx.Client) -> str:
    found = re.search(r'name="form_token" value="(\w+)"', client.get("/approvals").text)
    assert found
    return found[1]


def facts(town: Any) -> list[str]:
    """Whatever somebody did; what the platform does by itself may go on meanwhile."""
    with town.platform.stores.db.read() as connection:
        return [one.id for one in read_facts(connection) if one.by != "seamline"]


def test_there_are_forms() -> None:
    assert len(FORMS) > 10
    assert len(GOVERNING) == 6


@pytest.mark.parametrize("path", FORMS)
def test_every_form_carries_the_token_of_its_page(town: Any, path: str) -> None:
    before = facts(town)
    with httpx.Client(base_url=town.url, cookies={"seamline_token": town.tokens["nora"]}) as client:
        for given in ("", "0" * 64):
            data = {"form_token": given, "reason": "because", "lasts": "1h"}
            answer = client.post(filled(path), data=data)
            assert answer.status_code == 403
            assert "not made for you" in answer.text
    assert facts(town) == before


@pytest.mark.parametrize("path", GOVERNING)
def test_a_viewer_can_send_none_of_them(town: Any, path: str) -> None:
    before = facts(town)
    with httpx.Client(base_url=town.url, cookies={"seamline_token": town.tokens["vic"]}) as client:
        data = {"form_token": form_token(client), "reason": "because", "lasts": "1h"}
        answer = client.post(filled(path), data={**data, "release": "flights-2013-06"})
        assert answer.status_code == 403
        assert "vic (viewer) may not" in answer.text
    assert facts(town) == before


@pytest.mark.parametrize("path", GOVERNING)
def test_a_token_for_one_environment_does_nothing_in_another(town: Any, path: str) -> None:
    stores = town.platform.stores
    scope = Scope(environments=frozenset({"staging"}))
    with stores.db.transaction() as tx:
        token = issue_token(tx, stores.facts, stores.clock, "nora", by="root", scope=scope).token
    before = facts(town)
    with httpx.Client(base_url=town.url, cookies={"seamline_token": token}) as client:
        data = {"form_token": form_token(client), "reason": "because", "lasts": "1h"}
        answer = client.post(filled(path), data={**data, "release": "flights-2013-06"})
        assert answer.status_code == 403
        assert "is for staging; the request is about production" in answer.text
    assert facts(town) == before
