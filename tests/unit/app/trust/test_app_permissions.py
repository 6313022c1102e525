"""Every role × every verb × every environment, asked over HTTP of every route that asks for it.

What is expected is read off the published table (docs/reference/roles.md, generated from the code's
own), never worked out by what is tested here.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from seamline.domain.states import Role
from seamline.promote.environments import TRAINING, apply_policies
from seamline.promote.policy import DEFAULT_POLICIES, BreakGlassRule
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.rows import PROMOTIONS
from seamline.server import ControlPlane
from seamline.train.rows import RUNS
from seamline.train.schedule.rows import SCHEDULES
from seamline.trust.principals import add_principal
from seamline.trust.roles import Grant, Verb

API = "/api/v1"
PAGE = Path(__file__).resolve().parents[4] / "docs" / "reference" / "roles.md"
ENVIRONMENTS = [one.name for one in DEFAULT_POLICIES]
#: Of the routes' parameters, those that say which environment is meant by what lives in it.
LIVES = {"promotion_id": "promotion", "run_id": "run", "schedule": "schedule", "against_run": "run"}


@dataclass(frozen=True)
class Row:
    """One verb, as the page tells it."""

    roles: frozenset[Role]
    in_one_environment: bool
    for_one_team: bool


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    verb: Verb
    names_environment: bool
    takes_body: bool


def published() -> dict[Verb, Row]:
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines()
             if line.startswith("| ")]  # fmt: skip
    head, *rows = lines
    return {
        Verb(row[0]): Row(
            frozenset(Role(name) for name, cell in zip(head[1:-2], row[1:-2], strict=True)
                      if cell == "yes"),
            row[-2] != "–",
            row[-1] != "–",
        )
        for row in rows
    }  # fmt: skip


def routes_of(plane: ControlPlane) -> list[Route]:
    found = []
    for route in iter_route_contexts(plane.app.routes):
        if not (route.path or "").startswith(API) or getattr(route, "dependant", None) is None:
            continue
        verb = next(filter(None, map(_verb, route.dependant.dependencies)), None)
        if verb is None:
            continue
        taken = {one.alias for one in route.dependant.query_params}
        taken |= set(re.findall(r"\{(\w+)", route.path))
        for one in route.dependant.body_params:
            taken |= set(getattr(one.field_info.annotation, "model_fields", ()))
        has_body = bool(route.dependant.body_params)
        names = bool(taken & {"environment", *LIVES})
        found += [Route(method, route.path, verb, names, has_body) for method in route.methods]
    return found


def _verb(dependant: Any) -> Verb | None:
    if not inspect.isfunction(dependant.call):
        return None
    verb = inspect.getclosurevars(dependant.call).nonlocals.get("verb")
    return verb if isinstance(verb, Verb) else None


@pytest.fixture
def asked(plane: ControlPlane, put_row: Callable[..., None]) -> Iterator[ControlPlane]:
    """In each environment a run, a schedule and a promotion; teams and policies for all."""
    stores = plane.platform.stores
    open_to_all = BreakGlassRule(tuple(Role))
    policies = tuple(replace(one, break_glass=open_to_all) for one in DEFAULT_POLICIES)
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, policies, by="root")
    made = Release(locks=(Pin("m", "1", stores.blobs.put(b"lock")),))
    release = record_release(stores, made, "r1", by="root")
    for environment in ENVIRONMENTS:
        where = {"environment": environment}
        put_row(RUNS, id=f"run-{environment}", state="succeeded", **where)
        put_row(
            SCHEDULES,
            id=f"schedule-{environment}",
            name=f"nightly-{environment}",
            missed="latest",
            arguments="{}",
            options="{}",
            **where,
        )
        put_row(
            PROMOTIONS,
            id=f"promotion-{environment}",
            release=release.digest,
            phase="rejected",
            kind="regular",
            **where,
        )
    yield plane


def filled(route: Route, environment: str) -> tuple[str, dict[str, Any]]:
    """The route's path, and what is sent, about this environment."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name == "environment":
            return environment
        return f"{LIVES[name]}-{environment}" if name in LIVES else "none"

    path = re.sub(r"\{(\w+)[^}]*\}", value, route.path)
    said = {"environment": environment} if route.names_environment else {}
    return path, {"params": said, **({"json": said} if route.takes_body else {})}


def ask_all(
    plane: ControlPlane, token: str, wanted: list[tuple[Route, str]]
) -> dict[tuple[Route, str], int]:
    async def every() -> dict[tuple[Route, str], int]:
        transport = httpx.ASGITransport(
            plane.app, raise_app_exceptions=False, client=("192.0.2.7", 5000)
        )
        headers = {"Authorization": f"Bearer {token}"}
        answers = {}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8765", headers=headers
        ) as client:
            for route, environment in wanted:
                path, more = filled(route, environment)
                answer = await client.request(route.method, path, **more)
                assert answer.status_code != 401, answer.text
                answers[route, environment] = answer.status_code
        return answers

    return asyncio.run(every())


def verb_asked(route: Route, environment: str) -> Verb:
    """Secrets of dataops are the developers', all others are not: one route, two verbs."""
    if route.verb is Verb.SET_TRAINING_SECRETS and environment != TRAINING:
        return Verb.SET_SECRETS
    return route.verb


def is_expected(row: Row, route: Route, grant: Grant, environment: str) -> bool:
    if grant.role not in row.roles:
        return False
    if grant.team is not None and not row.for_one_team:
        return False
    if grant.environment is None:
        return True
    if not row.in_one_environment:
        return False
    if route.names_environment:
        return environment == grant.environment
    # Catalogues are the workspace's; whatever else names no environment is about dataops.
    return route.verb is Verb.READ or grant.environment == TRAINING


def test_the_page_tells_of_every_verb_and_every_role() -> None:
    table = published()
    assert list(table) == list(Verb)
    assert {role for row in table.values() for role in row.roles} == set(Role)


def test_every_verb_is_asked_for_by_a_route(plane: ControlPlane) -> None:
    """Else a cell of the table would be asked of nobody. `predict` is the data plane's."""
    found = {verb_asked(one, name) for one in routes_of(plane) for name in ENVIRONMENTS}
    assert found == set(Verb) - {Verb.PREDICT}


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_what_the_page_says(asked: ControlPlane, role: Role) -> None:
    """Granted everywhere, and in each environment alone: asked there, and about the next one."""
    stores, table, routes, wrong = asked.platform.stores, published(), routes_of(asked), []
    for number, environment in enumerate([None, *ENVIRONMENTS]):
        grant = Grant(role, None, environment)
        with stores.db.transaction() as tx:
            token = add_principal(
                tx, stores.facts, stores.clock, f"ada{number}", frozenset(), by="root",
                grants=[grant],
            )  # fmt: skip
        near = {environment, ENVIRONMENTS[number % len(ENVIRONMENTS)]}
        names = (
            ENVIRONMENTS if environment is None else [one for one in ENVIRONMENTS if one in near]
        )
        wanted = [
            (route, name)
            for route in routes
            for name in (names if route.names_environment else [TRAINING])
        ]
        for (route, name), status in ask_all(asked, token, wanted).items():
            row = table[verb_asked(route, name)]
            if (status != 403) is not is_expected(row, route, grant, name):
                wrong.append(f"{grant}: {route.method} {route.path} about {name}: {status}")
    assert not wrong, "\n".join(wrong)


def test_a_role_for_one_team_leaves_what_concerns_all(asked: ControlPlane) -> None:
    stores, table = asked.platform.stores, published()
    for role in Role:
        grant = Grant(role, "arrivals")
        for verb in Verb:
            row = table[verb]
            assert grant.holds(verb) is (role in row.roles and row.for_one_team)
    assert stores.db


def test_nobody_may_anything(asked: ControlPlane) -> None:
    stores = asked.platform.stores
    with stores.db.transaction() as tx:
        token = add_principal(tx, stores.facts, stores.clock, "ada", frozenset(), by="root")
    wanted = [(route, TRAINING) for route in routes_of(asked)]
    assert set(ask_all(asked, token, wanted).values()) == {403}
