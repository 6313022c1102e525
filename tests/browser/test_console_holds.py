"""Whoever looks at the board sees what keeps releases back, and what lets one past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

Visit = Callable[..., Page]


@pytest.fixture
def held(town: Any) -> Iterator[None]:
    api = f"{town.url}/api/v1"
    hold = {"environment": "staging", "reason": "audit <week>"}
    glass = {"environment": "production", "reason": "the shop is on fire", "lasts_s": 600}
    httpx.post(f"{api}/holds", json=hold).raise_for_status()
    httpx.post(f"{api}/glass", json=glass).raise_for_status()
    yield
    httpx.post(f"{api}/holds/lift", json={**hold, "reason": "over"}).raise_for_status()
    httpx.post(f"{api}/glass/mend", json=glass).raise_for_status()


def test_holds_and_broken_glass_are_on_the_board(visit: Visit, held: None) -> None:
    page = visit("/")
    staging = page.locator(".environment").filter(has=page.locator("#env-staging"))
    expect(staging).to_contain_text("On hold by root")
    expect(staging).to_contain_text("“audit <week>”")
    production = page.locator(".environment").filter(has=page.locator("#env-production"))
    expect(production.get_by_role("status")).to_contain_text("The glass is broken by root until")
    expect(production).to_contain_text("the shop is on fire")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_nothing_is_said_where_nothing_is_held(visit: Visit) -> None:
    page = visit("/")
    expect(page.locator("main")).to_contain_text("production")
    expect(page.locator("main")).not_to_contain_text("On hold")
    expect(page.locator("main")).not_to_contain_text("glass")
