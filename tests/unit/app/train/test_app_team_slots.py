"""A team's share of the slots: declared, applied over HTTP, and known at once."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx
import pytest

from seamline.app.declarations import Declarations, TeamDeclaration
from seamline.app.train.team_slots import TeamSlots
from seamline.domain.clock import SystemClock
from seamline.domain.errors import Refused
from seamline.domain.settings import Settings
from seamline.project.plan import apply_project
from seamline.server import ControlPlane, build_control_plane

SHOP = 'project = "shop"\nteam = "shop"\n'


def post(plane: ControlPlane, path: str, **body: str) -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(plane.app, client=("127.0.0.1", 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(f"/api/v1/project/{path}", json={"file": "f", **body})

    return asyncio.run(one())


def changes(answer: httpx.Response) -> list[tuple[str, ...]]:
    assert answer.status_code == 200, answer.text
    return [(one["sign"], one["section"], one["name"]) for one in answer.json()["changes"]]


def test_a_limit_holds_from_the_moment_it_is_applied(plane: ControlPlane) -> None:
    slots = plane.platform.team_slots
    assert slots("shop") is None
    text = SHOP + "[teams.shop]\nslots = 2\n[teams.market]\nslots = 5\n"
    assert changes(post(plane, "plan", text=text)) == [
        ("+", "teams", "shop"),
        ("+", "teams", "market"),
    ]
    assert slots("shop") is None
    assert len(changes(post(plane, "apply", text=text))) == 2
    assert (slots("shop"), slots("market"), slots("other")) == (2, 5, None)
    assert changes(post(plane, "apply", text=SHOP + "[teams.shop]\nslots = 3\n")) == [
        ("~", "teams", "shop"),
        ("-", "teams", "market"),
    ]
    assert slots.all() == {"shop": 3}


def test_a_limit_that_another_project_owns_is_refused(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    apply_project(stores, SHOP + "[teams.shop]\nslots = 2\n", "f", by="ada")
    other = 'project = "rivals"\nteam = "rivals"\n[teams.shop]\nslots = 1\n'
    with pytest.raises(Refused, match=r"teams\.shop belongs to the project 'shop'"):
        apply_project(stores, other, "f", by="eve")


def test_a_restarted_server_knows_the_limits(plane: ControlPlane, tmp_path: Path) -> None:
    text = SHOP + "[teams.shop]\nslots = 2\n"
    apply_project(plane.platform.stores, text, "f", by="ada")
    again = build_control_plane(Settings(workspace=tmp_path / "workspace"), SystemClock())
    try:
        assert again.platform.team_slots("shop") == 2
    finally:
        again.platform.engine.close()
        again.platform.runner.close()
        again.platform.stores.db.close()


def test_of_two_that_apply_at_once_the_later_limit_holds() -> None:
    """The first one has read, and is overtaken before it remembers what it has read."""
    applied, read = [Declarations()], list[Declarations]()

    def declarations() -> Declarations:
        found = applied[-1]
        read.append(found)
        if len(read) == 2:
            applied.append(Declarations(teams={"shop": TeamDeclaration("shop", 2)}))
            other.start()
            other.join(0.3)
        return found

    slots = TeamSlots(declarations)
    other = threading.Thread(target=slots.reload)
    slots.reload()
    other.join()
    assert slots("shop") == 2
