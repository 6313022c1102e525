"""Whose name a run or a project bears: a token for one team speaks for that team alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from seamline.domain.states import Role
from seamline.server import ControlPlane
from seamline.trust.principals import add_principal
from seamline.trust.roles import Scope
from seamline.trust.teams import add_team, join_team
from seamline.trust.tokens import issue_token

Ask = Callable[..., httpx.Response]
V1 = "/api/v1"
EXECUTORS = {"exec-do": {"container": {"image": "x", "command": ["true"]}}}
TASK = {"taskInfo": {"name": "do"}, "componentRef": {"name": "comp-do"}, "inputs": {}}
IR = json.dumps(
    {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": "nothing"},
        "root": {"dag": {"tasks": {"do": TASK}}},
        "components": {"comp-do": {"executorLabel": "exec-do"}},
        "deploymentSpec": {"executors": EXECUTORS},
    }
)
MONITORED = """
project = "board"
team = "{team}"

[datasets.flights]
date = ["year", "month", "day"]
"""


@pytest.fixture
def ask(plane: ControlPlane) -> Ask:
    """One request: with a token from another machine, else by the owner."""

    def send(path: str, token: str | None = None, **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        peer = "192.0.2.7" if token else "127.0.0.1"

        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(plane.app, client=(peer, 5000))
            address = "http://127.0.0.1:8765"
            async with httpx.AsyncClient(transport=transport, base_url=address) as client:
                return await client.post(f"{V1}{path}", headers=headers, json=body)

        return asyncio.run(one())

    return send


@pytest.fixture
def tokens(plane: ControlPlane) -> dict[str, str]:
    """Of a developer in both teams, of an outsider, and of an admin who is in one: all that they
    may, or limited to a team."""
    stores = plane.platform.stores
    people = {"ada": Role.DEVELOPER, "olaf": Role.DEVELOPER, "zoe": Role.ADMIN}
    with stores.db.transaction() as tx:
        for team in ("arrivals", "punctuality", "weather"):
            add_team(tx, stores.facts, stores.clock, team, by="root")
        for name, role in people.items():
            add_principal(tx, stores.facts, stores.clock, name, frozenset({role}), by="root")
        for team, name in (("arrivals", "ada"), ("punctuality", "ada"), ("arrivals", "zoe")):
            join_team(tx, stores.facts, stores.clock, team, name, by="root")

        def issue(name: str, team: str | None = None) -> str:
            scope = Scope(team=team)
            issued = issue_token(tx, stores.facts, stores.clock, name, by="root", scope=scope)
            return issued.token

        return {
            "ada": issue("ada"),
            "ada for arrivals": issue("ada", "arrivals"),
            "olaf": issue("olaf"),
            "zoe": issue("zoe"),
            "zoe for arrivals": issue("zoe", "arrivals"),
        }


@pytest.mark.parametrize(
    ("who", "label", "refusal"),
    [
        (None, "weather", ""),
        ("zoe", "weather", ""),
        ("zoe for arrivals", "weather", "this token of zoe speaks for arrivals"),
        ("ada for arrivals", "arrivals", ""),
        ("ada for arrivals", "", ""),
        ("ada for arrivals", "punctuality", "this token of ada speaks for arrivals"),
        ("ada for arrivals", "nightly", "this token of ada speaks for arrivals"),
        ("ada", "punctuality", ""),
        ("ada", "weather", "ada speaks for arrivals, punctuality"),
        ("ada", "nightly", ""),
        ("olaf", "arrivals", "olaf speaks for no team"),
    ],
)
def test_a_run_is_labelled_by_those_who_speak_for_the_team(
    ask: Ask, tokens: dict[str, str], who: str | None, label: str, refusal: str
) -> None:
    answer = ask("/runs", tokens[who] if who else None, ir=IR, team=label)
    assert answer.status_code == (403 if refusal else 200), answer.text
    if refusal:
        assert f"labelled {label}; {refusal}." in answer.json()["error"]["message"]
    else:
        assert answer.json()["team"] == label


def test_running_again_keeps_the_label_and_so_asks_for_the_right(
    ask: Ask, tokens: dict[str, str], plane: ControlPlane
) -> None:
    run = ask("/runs", ir=IR, team="punctuality").json()["id"]
    for who, status in (("ada for arrivals", 403), ("olaf", 403), ("ada", 422)):
        # 422: they may, and the run goes on still.
        assert ask(f"/runs/{run}/rerun", tokens[who]).status_code == status


def test_a_project_is_applied_by_those_who_speak_for_its_team(
    ask: Ask, tokens: dict[str, str]
) -> None:
    def apply(who: str | None, text: str) -> tuple[int, str]:
        token = tokens[who] if who else None
        answer = ask("/project/apply", token, file="seamline.toml", text=text)
        said = answer.json()
        return answer.status_code, said["error"]["message"] if "error" in said else ""

    own, others = MONITORED.format(team="arrivals"), MONITORED.format(team="punctuality")
    status, said = apply("zoe for arrivals", others)
    assert status == 403
    assert "the project board of the team punctuality; this token of zoe speaks for arriv" in said
    assert apply("zoe for arrivals", own) == (200, "")
    # A share of the slots takes from all: whoever is limited to a team does not deal it out.
    status, said = apply("zoe for arrivals", own + "[teams.arrivals]\nslots = 9\n")
    assert status == 403 and "whose teams are every team's" in said
    # Another team's project is not taken over by a file that says it is ours.
    assert apply("zoe", others) == (200, "")
    status, said = apply("zoe for arrivals", own)
    assert status == 403 and "the project board of the team punctuality" in said
    assert apply(None, own) == (200, "")
    assert apply("ada for arrivals", own)[0] == 403
