"""The links that kfp.Client prints open the right pages; pipelines, schedules, experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from seamline.app.train.run_schedule import add_schedule
from seamline.app.train.submit_run import submit_ir
from seamline.domain.states import is_terminal
from seamline.protocols.kfp_api.catalogue import pipeline_id
from seamline.register.pipelines.catalogue import find_pipeline
from seamline.train.experiments import default_experiment
from seamline.train.options import RunLabel
from seamline.train.runs import run_state
from seamline.train.schedule.schedules import (
    NewSchedule,
    PipelineChoice,
    Schedule,
    delete_schedule,
    find_schedule,
    set_paused,
)

Visit = Callable[..., Page]
PIPELINE = "late-arrival-training"


@pytest.fixture
def schedule(town: Any) -> Iterator[Schedule]:
    new = NewSchedule(
        "every night",
        "dataops",
        PipelineChoice(PIPELINE, "1.0.0"),
        cron="0 30 2 * * *",
        time_zone="Europe/Berlin",
        arguments={"threshold": 0.5},
    )
    made = add_schedule(town.platform, new, by="nora")
    yield made
    delete_schedule(town.platform.stores, made.id, by="nora")


@pytest.fixture
def links(town: Any, schedule: Schedule) -> dict[str, tuple[str, str]]:
    """What the client prints → where it leads, and the page's heading."""
    run, package = town.runs["training"], pipeline_id(PIPELINE)
    experiment = default_experiment(town.platform.stores, "dataops", by="nora").id
    return {
        f"/#/runs/details/{run}": (f"/runs/{run}", PIPELINE),
        f"/#/experiments/details/{experiment}": (f"/experiments/{experiment}", "Default"),
        f"/#/pipelines/details/{package}": (f"/pipelines/{package}", PIPELINE),
        f"/#/pipelines/details/{package}/version/x": (f"/pipelines/{package}", PIPELINE),
        f"/#/recurringrun/details/{schedule.id}": (f"/schedules/{schedule.id}", "every night"),
    }


def test_each_link_opens_its_page(
    visit: Visit, town: Any, links: dict[str, tuple[str, str]]
) -> None:
    page = visit("/approvals")
    for link, (path, heading) in links.items():
        page.goto(town.url + link)
        page.wait_for_url(town.url + path)
        expect(page.locator("h1")).to_have_text(heading)
        page.goto("about:blank")


def test_pasted_into_the_open_start_page(
    visit: Visit, town: Any, links: dict[str, tuple[str, str]]
) -> None:
    """Only what follows the # changes: no page is loaded by that."""
    page = visit("/")
    link, (path, _) = next(iter(links.items()))
    page.goto(town.url + link)
    page.wait_for_url(town.url + path)


def test_whoever_has_to_sign_in_first_comes_there_after_it(
    visit: Visit, town: Any, links: dict[str, tuple[str, str]]
) -> None:
    link, (path, _) = next(iter(links.items()))
    page = visit("/sign-in" + link.removeprefix("/"))
    page.get_by_label("Your token").fill(town.tokens["vic"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(town.url + path)


def test_nothing_else_behind_the_mark_leads_away(visit: Visit, town: Any) -> None:
    page = visit("/")
    for link in ("/#/runs/details/", "/#//evil.example/", "/#/runs/details/..%2f..%2fx", "/#main"):
        page.goto(town.url + link)
        expect(page.locator(".environment").first).to_be_visible()
        assert page.url.startswith(town.url + "/#")
    page.goto(town.url + "/runs#/runs/details/abc")
    expect(page.locator("h1")).to_have_text("Runs")


def test_a_schedule_shows_its_times_and_what_went_wrong(
    visit: Visit, town: Any, schedule: Schedule
) -> None:
    page = visit("/schedules")
    page.get_by_role("link", name="every night").click()
    expect(page.locator("main")).to_contain_text("0 30 2 * * * (Europe/Berlin)")
    assert page.locator(".facts time").count() == 4
    page.get_by_role("link", name=PIPELINE).click()
    expect(page.locator("h1")).to_have_text(PIPELINE)
    expect(page.locator("main")).to_contain_text("every night")
    set_paused(town.platform.stores, schedule.id, True, by="nora")
    page.goto(f"{town.url}/schedules/{schedule.id}")
    expect(page.locator(".title-row .badge")).to_have_text("paused")
    expect(page.locator("main")).to_contain_text(f"seamline schedule resume {schedule.id}")


def test_a_schedule_is_paused_and_resumed_on_its_page(
    visit: Visit, town: Any, schedule: Schedule
) -> None:
    page = visit(f"/schedules/{schedule.id}", "nora")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".title-row .badge")).to_have_text("paused")
    assert find_schedule(town.platform.stores, schedule.id).is_paused
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.locator(".title-row .badge")).to_have_count(0)
    assert not find_schedule(town.platform.stores, schedule.id).is_paused


def test_a_viewer_cannot_pause_a_schedule(visit: Visit, town: Any, schedule: Schedule) -> None:
    page = visit(f"/schedules/{schedule.id}", "vic")
    expect(page.locator("h1")).to_have_text("every night")
    expect(page.locator(".actions form")).to_have_count(0)
    forged = httpx.post(f"{town.url}/schedules/{schedule.id}/pause", data={"form_token": "guess"})
    assert forged.status_code == 403
    assert not find_schedule(town.platform.stores, schedule.id).is_paused


def test_the_list_tells_how_the_last_runs_of_a_schedule_ended(
    visit: Visit, town: Any, schedule: Schedule
) -> None:
    stores = town.platform.stores
    ir = stores.blobs.get(find_pipeline(stores, PIPELINE, "1.0.0").digest)
    page = visit("/schedules")
    row = page.get_by_role("row", name="every night")
    expect(row).to_contain_text("none yet")
    due = "2026-01-02T01:30:00.000000Z"
    label = RunLabel(schedule_id=schedule.id, scheduled_for=due)
    run_id = submit_ir(town.platform, ir, arguments={}, by="nora", label=label)
    town.wait_for(lambda: is_terminal(run_state(stores, run_id)))
    page.reload()
    last = row.get_by_role("link", name="succeeded")
    expect(last).to_have_attribute("title", "succeeded, due 2026-01-02 01:30:00 UTC")
    last.click()
    expect(page.locator(".facts").first).to_contain_text("due 2026-01-02")


@pytest.mark.parametrize("width", [400, 1280])
def test_the_pages_fit_and_are_in_their_json(
    visit: Visit, town: Any, links: dict[str, tuple[str, str]], width: int
) -> None:
    page = visit("/", viewport={"width": width, "height": 800})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    for path in ("/pipelines", "/schedules", *{path for path, _ in links.values()}):
        page.goto(town.url + path)
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width, path
        known = httpx.get(town.url + path, headers={"Accept": "application/json"}).text
        for selector in ("[title^='sha256:']", ".id[title]"):
            for title in page.locator(selector).evaluate_all("all => all.map(one => one.title)"):
                assert title in known, path
        for at in page.locator("time").evaluate_all("all => all.map(one => one.dateTime)"):
            assert at in known, path
    assert said == []


def test_an_unknown_one_names_the_nearest(town: Any, schedule: Schedule) -> None:
    for path, says in (
        ("/pipelines/late-arrival-trainin", f"Did you mean {PIPELINE}?"),
        ("/schedules/every-night", "Did you mean every night?"),
        ("/experiments/none", "no experiment"),
    ):
        answer = httpx.get(town.url + path, headers={"Accept": "application/json"})
        assert answer.status_code == 404
        assert says in answer.text
