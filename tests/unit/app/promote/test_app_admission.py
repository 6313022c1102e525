"""Law 4: what runs in an environment runs with one release, from its request to its last task."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from seamline.app.register.resolve_images import image_to_start
from seamline.app.train.repeat_run import retry
from seamline.app.train.resolve_uri import find_model_for
from seamline.app.train.submit_run import submit_ir, submit_pipeline
from seamline.domain.errors import InvalidInput, Refused
from seamline.domain.states import PromotionPhase, RunState
from seamline.promote.steps import advance
from seamline.train.context import RunContext
from seamline.train.rows import RUNS
from seamline.train.runs import show_request


def run_it(house: Any, reference: str, release: str | None = None) -> str:
    """In development."""
    ir = house.old if reference.endswith("1.0.0") else house.new
    there = "development"
    if release is not None:
        return submit_ir(
            house.platform, ir, arguments={}, environment=there, by="ann", release=release
        )
    return submit_pipeline(house.platform, reference, arguments={}, environment=there, by="ann")


def post(house: Any, path: str) -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(house.plane.app, client=("127.0.0.1", 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(path)

    return asyncio.run(one())


def end(house: Any, run_id: str, state: RunState) -> None:
    with house.stores.db.transaction() as tx:
        tx.execute(update(RUNS).where(RUNS.c.id == run_id).values(state=state))


def test_a_refusal_names_the_release_that_would_be_needed(house: Any) -> None:
    with pytest.raises(Refused, match="no release is live there") as refused:
        run_it(house, "score@1.0.0")
    assert "Make a release that holds it" in refused.value.next_step
    house.ask("autumn", "score@1.1.0")
    house.go_live("spring", "score@1.0.0")  # takes the place of what was asked for
    with pytest.raises(Refused, match="the live release spring") as refused:
        run_it(house, "score@1.1.0")
    assert "would be needed: autumn" in refused.value.next_step
    assert "seamline promote autumn --to development" in refused.value.next_step
    with pytest.raises(Refused, match="the live release spring") as refused:
        submit_ir(
            house.platform, house.pipeline("x"), arguments={}, environment="development", by="ann"
        )
    assert "Make a release that holds it" in refused.value.next_step
    assert house.facts("run.requested") == []


def test_a_release_that_is_being_checked_runs_beside_the_live_one(house: Any) -> None:
    spring = house.go_live("spring", "score@1.0.0")
    asked = house.ask("summer", "score@1.1.0")
    with pytest.raises(Refused, match="does not hold it"):
        run_it(house, "score@1.1.0")  # requested is not yet being checked
    assert advance(house.stores, asked.id).phase is PromotionPhase.CHECKING
    run = run_it(house, "score@1.1.0")
    assert show_request(house.stores, run)["release"] == asked.release
    [told] = house.facts("run.requested")
    assert told.body["release"] == asked.release
    assert show_request(house.stores, run_it(house, "score@1.0.0"))["release"] == spring


def test_where_both_hold_it_the_live_one_runs_unless_asked(house: Any) -> None:
    old, new = house.register("1.0.0"), house.register("1.1.0")
    spring = house.go_live("spring", "score@1.0.0", models=("late@1.0.0",))
    asked = house.ask("summer", "score@1.0.0", models=("late@1.1.0",))
    advance(house.stores, asked.id)
    found = {}
    for named, release in ((None, spring), ("summer", asked.release)):
        run = run_it(house, "score@1.0.0", named)
        assert show_request(house.stores, run)["release"] == release
        found[named] = find_model_for(house.stores, "late", "development", release)
    assert found == {None: old, "summer": new}
    house.settle()
    with pytest.raises(Refused, match="neither live there nor being checked for it; summer"):
        run_it(house, "score@1.0.0", "spring")
    with pytest.raises(InvalidInput, match="with no release"):
        submit_ir(house.platform, house.old, arguments={}, by="ann", release="summer")


def test_a_run_goes_on_with_the_release_that_admitted_it(house: Any) -> None:
    old = house.register("1.0.0")
    spring = house.go_live("spring", "score@1.0.0", models=("late@1.0.0",))
    run = run_it(house, "score@1.0.0")
    house.register("1.1.0")
    house.go_live("summer", "score@1.1.0", models=("late@1.1.0",))
    admitted_by = show_request(house.stores, run)["release"]
    assert admitted_by == spring
    for reference in ("late", "late@1.0.0", "late@development"):
        assert find_model_for(house.stores, reference, "development", admitted_by) == old
    with pytest.raises(Refused, match=r"holds late 1\.0\.0"):
        find_model_for(house.stores, "late@1.1.0", "development", admitted_by)
    context = RunContext(run, "development", "score", "ann", "do", admitted_by)
    named = f"i@sha256:{'0' * 64}"
    assert image_to_start(house.stores, context, named) == named
    other = f"i@sha256:{'1' * 64}"
    with pytest.raises(Refused, match="release spring, which admitted the run, does not hold it"):
        image_to_start(house.stores, context, other)


def test_what_failed_is_not_done_again_when_its_release_has_gone(house: Any) -> None:
    house.go_live("spring", "score@1.0.0")
    run = run_it(house, "score@1.0.0")
    end(house, run, RunState.FAILED)
    house.go_live("summer", "score@1.1.0")
    with pytest.raises(Refused, match=r"with release spring .* summer .* is live") as refused:
        retry(house.platform, run, by="ann")
    assert f"seamline run rerun {run}" in refused.value.next_step
    for path in (f"/api/v1/runs/{run}/retry", f"/apis/v2beta1/runs/{run}:retry"):
        assert "with release spring" in post(house, path).text
    assert show_request(house.stores, run)["state"] == RunState.FAILED
    again = run_it(house, "score@1.1.0")
    end(house, again, RunState.FAILED)
    retry(house.platform, again, by="ann")
