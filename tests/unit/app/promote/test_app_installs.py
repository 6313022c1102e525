"""A package index follows its environment's pointer: what is not live there is not installed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from seamline.app.promote.apply_release import enter_packages
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES, ApprovalRule
from seamline.promote.release import find_release
from seamline.promote.requests import request_rollback
from seamline.promote.steps import advance
from seamline.register.rows import PACKAGE_FILES


def ask(house: Any, path: str, accept: str = "*/*") -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(house.plane.app, client=("127.0.0.1", 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path, headers={"accept": accept})

    return asyncio.run(one())


def listed(house: Any, environment: str = "development") -> dict[str, Any]:
    """Version → False, or why installers pass it over."""
    page = ask(
        house, f"/pypi/{environment}/simple/late/", "application/vnd.pypi.simple.v1+json"
    ).json()
    return {one["filename"].split("-")[1]: one["yanked"] for one in page["files"]}


def get(house: Any, model: Any, environment: str = "development") -> httpx.Response:
    digest = model.wheel_digest.removeprefix("sha256:")
    return ask(house, f"/pypi/{environment}/files/{digest}/{model.filename}")


def test_after_a_rollback_the_bad_model_is_neither_chosen_nor_given(house: Any) -> None:
    old, new = house.register("1.0.0"), house.register("1.1.0")
    house.go_live("spring", "score@1.0.0", models=("late@1.0.0",))
    assert listed(house) == {"1.0.0": False}
    house.go_live("summer", "score@1.0.0", models=("late@1.1.0",))
    assert listed(house) == {
        "1.0.0": "not live in development: release summer is",
        "1.1.0": False,
    }
    request_rollback(house.stores, "development", "worse", by="ann")
    house.settle()
    assert listed(house) == {
        "1.0.0": False,
        "1.1.0": "not live in development: release spring is",
    }
    assert get(house, old).status_code == 200
    refused = get(house, new)
    assert refused.status_code == 422
    said = refused.json()["error"]
    assert "late 1.1.0" in said["message"]
    assert "the live release spring does not hold it" in said["message"]
    assert "would be needed: summer" in said["next_step"]
    for model in (old, new):
        assert get(house, model, "dataops").status_code == 200


def test_what_is_being_checked_is_had_by_its_exact_version(house: Any) -> None:
    new = house.register("1.1.0")
    old = house.register("1.0.0")
    house.go_live("spring", "score@1.0.0", models=("late@1.0.0",))
    asked = house.ask("summer", "score@1.0.0", models=("late@1.1.0",))
    assert listed(house) == {"1.0.0": False}
    advance(house.stores, asked.id)
    with house.stores.db.read() as connection:
        summer = find_release(connection, asked.release)
    enter_packages(house.platform, "development", summer, by="ann")
    assert listed(house) == {
        "1.0.0": False,
        "1.1.0": "being checked for development in release summer, and not live there",
    }
    assert {get(house, one).status_code for one in (old, new)} == {200}
    house.settle()
    assert listed(house)["1.1.0"] is False
    assert get(house, old).status_code == 422


def test_packages_are_entered_while_they_are_checked(house: Any) -> None:
    """One that waits for a person was checked, is listed, and is given to nobody."""
    model = house.register("1.0.0")
    careful = replace(DEFAULT_POLICIES[1], gates=(), automatic=False, approvals=ApprovalRule(1))
    policies = (DEFAULT_POLICIES[0], careful, *DEFAULT_POLICIES[2:])
    with house.stores.db.transaction() as tx:
        apply_policies(tx, house.stores.facts, policies, by="root")
    house.go_live("spring", "score@1.0.0", models=("late@1.0.0",))
    assert listed(house) == {"1.0.0": "not live in development"}
    assert get(house, model).status_code == 422


def test_an_altered_row_of_the_index_is_refused_with_both_digests(house: Any) -> None:
    good, other = house.register("1.0.0"), house.register("1.1.0")
    house.go_live("spring", "score@1.0.0", models=("late@1.0.0",))
    assert get(house, good).status_code == 200
    with house.stores.db.transaction() as tx:
        mine = (
            PACKAGE_FILES.c.environment == "development",
            PACKAGE_FILES.c.filename == good.filename,
        )
        tx.execute(update(PACKAGE_FILES).where(*mine).values(digest=other.wheel_digest))
    digest = other.wheel_digest.removeprefix("sha256:")
    refused = ask(house, f"/pypi/development/files/{digest}/{good.filename}")
    assert refused.status_code >= 400
    assert good.wheel_digest in refused.text
    assert other.wheel_digest in refused.text


@pytest.mark.parametrize("environment", ["development", "dataops"])
def test_altered_bytes_are_not_handed_out(house: Any, environment: str) -> None:
    model = house.register("1.0.0")
    house.go_live("spring", "score@1.0.0", models=("late@1.0.0",))
    path = house.stores.blobs.path_of(model.wheel_digest)
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    refused = get(house, model, environment)
    assert refused.status_code >= 400
    assert f"expected {model.wheel_digest}, found sha256:" in refused.text
