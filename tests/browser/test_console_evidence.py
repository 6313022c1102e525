"""The evidence of a model: metrics with rivals, slices as bars, reliability, back-tests, and two
versions side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

Visit = Callable[..., Page]
SIDE_BY_SIDE = "/compare?before=late-arrival==1.0.0&after=1.0.1"


def test_a_version_s_page_holds_its_whole_evidence(visit: Visit, town: Any) -> None:
    page = visit("/models/late-arrival?version=1.0.1")
    card = page.locator("article.evaluation").first
    expect(card.locator("h3").first).to_contain_text("against 1.0.0")
    expect(card.locator("tr.rival").first).to_contain_text("incumbent")
    # Candidate and incumbent: points with intervals on the diagonal's square.
    reliability = card.locator("[id^=reliability-] svg.plot")
    expect(reliability).to_be_visible()
    assert reliability.locator("g.candidate circle.point").count() >= 5
    assert reliability.locator("g.incumbent circle.point").count() >= 5
    assert "rows" in (reliability.locator("circle title").first.text_content() or "")
    bars = card.locator("details.slice", has_text="auc by origin").locator("tbody tr")
    assert bars.locator("th").all_inner_texts() == ["EWR", "JFK", "LGA"]
    expect(bars.first).to_contain_text("in 31 blocks")
    card.get_by_role("link", name="Side by side with 1.0.0").click()
    expect(page.locator("h1")).to_contain_text("against")


def test_a_back_test_is_drawn_over_time(visit: Visit, town: Any) -> None:
    page = visit("/models/late-arrival?version=1.0.1")
    section = page.locator("section.evaluation", has_text="Back-test on flights@")
    expect(section.locator("h3")).to_contain_text("inconclusive")
    plot = section.locator(".windows svg.plot")
    expect(plot).to_contain_text("2013-07-01")
    expect(plot).to_contain_text("errored")
    assert plot.locator("g.candidate circle.point").count() == 2
    section.locator("summary", has_text="3 windows").click()
    expect(section).to_contain_text("the training run ended as failed")


def test_two_versions_side_by_side(visit: Visit, town: Any) -> None:
    page = visit(SIDE_BY_SIDE)
    expect(page.locator("article.evaluation h3").first).to_contain_text("the same 6,200 rows")
    expect(page.locator("article.evaluation .gates li").first).to_contain_text("auc >= 0.65")
    page.goto(f"{town.url}/compare?before=late-arrival==1.0.1&after=1.0.0")
    expect(page.locator("main")).to_contain_text("Nobody has compared the two yet")
    expect(page.locator("main")).to_contain_text("seamline compare late-arrival==1.0.1 1.0.0")
    page.goto(f"{town.url}/compare?before=late-arival==1.0.1&after=1.0.0")
    expect(page.locator("main")).to_contain_text("Did you mean late-arrival?")


def test_a_promotion_shows_the_evidence_of_its_gates(visit: Visit, town: Any, asked: str) -> None:
    page = visit(f"/promotions/{asked}")
    evidence = page.locator("section.evaluation").first
    evidence.locator("summary", has_text="Checks, slices, reliability").click()
    expect(evidence.locator("[id^=reliability-] svg.plot")).to_be_visible()
