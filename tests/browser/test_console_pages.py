"""The pages in a real browser: what they show, at two widths, and as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

Visit = Callable[..., Page]
PAGES = [
    "/",
    "/approvals",
    "/runs",
    "RUN",
    "/models",
    "/models/late-arrival",
    "/compare?before=late-arrival==1.0.0&after=late-arrival==1.0.1",
    "/pipelines",
    "/pipelines/late-arrival-training",
    "/packages",
    "/packages/late-arrival",
    "/releases",
    "/releases/flights-2013-06?verify=yes",
    "/environments/staging",
    "/environments/production/promote?release=flights-2013-06",
    "/environments/development/rollback",
    "/endpoints",
    "/audit?verify=yes",
    "/sign-in",
]


def address(town: Any, page: str) -> str:
    return f"/runs/{town.runs['everything']}?task=prepare-features" if page == "RUN" else page


def page_json(town: Any, path: str) -> httpx.Response:
    return httpx.get(town.url + path, headers={"Accept": "application/json"})


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_and_need_nothing_from_elsewhere(
    visit: Visit, town: Any, width: int, scheme: str
) -> None:
    page = visit("/", viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    for one in PAGES:
        page.goto(address(town, one))
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width, one
    assert [url for url in asked if not url.startswith(town.url)] == []
    assert [text for text in said if "Password forms" not in text] == []


@pytest.mark.parametrize("one", PAGES[:-1])
def test_what_is_on_a_page_is_in_its_json(visit: Visit, town: Any, one: str) -> None:
    path = address(town, one)
    # Told before and after the page: something may have moved on between them.
    before, page = page_json(town, path).text, visit(path)
    answer = page_json(town, path)
    assert answer.headers["content-type"] == "application/json"
    known = before + answer.text
    for selector in ("[title^='sha256:']", ".id[title]"):
        for title in page.locator(selector).evaluate_all("all => all.map(one => one.title)"):
            assert title in known
    for at in page.locator("time").evaluate_all("all => all.map(one => one.dateTime)"):
        assert at in known
    again = httpx.get(town.url + path + ("&" if "?" in path else "?") + "format=json").json()
    assert again.keys() == answer.json().keys()


def test_the_board_says_what_is_live_what_waits_and_why_not_yet(
    visit: Visit, town: Any, asked: str
) -> None:
    alias = town.approve(asked, "June looks right")
    town.ask(alias, "production")
    page = visit("/")
    expect(page.locator(".environment h2")).to_have_text(
        ["dataops", "development", "staging", "production"]
    )
    staging, production = page.locator(".environment").nth(2), page.locator(".environment").nth(3)
    expect(staging.locator(".live")).to_contain_text(alias)
    expect(staging.locator(".live")).to_contain_text("Approved by bea: “June looks right”.")
    expect(production).to_contain_text("Nothing is live here.")
    expect(production.locator(".waiting")).to_contain_text("1 more approval by approver or admin")
    expect(production.locator(".waiting")).to_contain_text("soak in staging")
    expect(page.get_by_text("Data plane is down")).to_be_visible()
    page.get_by_role("link", name="flights-all").click()
    expect(page.locator("h1")).to_have_text("flights-all")


def test_a_run_shows_which_branch_failed_and_its_log(visit: Visit, town: Any) -> None:
    page = visit(f"/runs/{town.runs['everything']}")
    expect(page.get_by_role("alert")).to_contain_text("operations/read-gate-plan failed")
    assert page.locator(".dag .node").count() == 6
    failed = page.locator(".dag .node.bad")
    expect(failed).to_contain_text("read-gate-plan")
    expect(failed.locator(".state")).to_have_text("failed")
    expect(page.locator(".dag .node.quiet .state")).to_have_text("upstream failed")
    page.get_by_role("row", name="punctuality/train").get_by_role("link", name="log").click()
    expect(page.locator("#log")).to_contain_text("epoch 5: loss 0.140")


def test_a_running_page_refreshes_itself(visit: Visit, town: Any, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    page = visit(f"/runs/{town.run_until(flag)}")
    state = page.locator(".title-row .badge").first
    expect(state).to_have_text("running")
    flag.touch()
    expect(state).to_have_text("succeeded")
    expect(page.locator("main")).to_have_attribute("data-refresh", "")


def test_a_model_shows_lineage_intervals_and_slices(visit: Visit) -> None:
    page = visit("/models/late-arrival?version=1.0.0")
    lineage = page.locator("#lineage-drawing")
    for text in (
        "4f1c9a70be22",
        "late-arrival-tra",
        "flights@2",
        "late-arrival 1.0.0",
        "flights-2013",
    ):
        expect(lineage).to_contain_text(text)
    auc = page.get_by_role("row", name=re.compile(r"^auc 0\.\d+ \["))
    expect(auc.first.locator("svg .span")).to_be_attached()
    expect(page.locator("details.slice").first).to_contain_text("EWR")
    expect(page.get_by_text("auc >= 0.65: pass")).to_be_visible()
    expect(page.get_by_text("reads data")).to_be_visible()


def test_an_unknown_name_is_a_page_that_names_the_nearest(visit: Visit, town: Any) -> None:
    page = visit("/models/late-arival")
    expect(page.locator("h1")).to_have_text("Not found")
    expect(page.locator("main")).to_contain_text("Did you mean late-arrival?")
    refused = page_json(town, "/models/late-arival")
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == "not_found"


def test_keyboard_and_no_script(visit: Visit) -> None:
    page = visit("/", java_script_enabled=False)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.get_by_role("link", name="Models").click()
    page.get_by_role("link", name="late-arrival").click()
    expect(page.locator(".dag .node").first).to_be_visible()


def test_headers_keep_a_page_to_itself(town: Any) -> None:
    headers = httpx.get(town.url + "/").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    css = re.search(r'href="(/console/console\.css\?v=\w+)"', httpx.get(town.url + "/").text)
    assert css
    assert "immutable" in httpx.get(town.url + css[1]).headers["cache-control"]
    assert httpx.get(town.url + "/console/routes.py").status_code == 404
