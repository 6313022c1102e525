"""The page that holds two versions of a model, two runs or two releases side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from seamline.app.evaluate.compare import compare
from seamline.app.platform import Platform
from seamline.console.page import Pages
from seamline.domain.clock import iso
from seamline.evaluate.page import choose_bars


def add_comparison_views(router: APIRouter, pages: Pages) -> None:
    @router.get("/compare")
    def compare_(request: Request, before: str, after: str) -> Response:
        """As `seamline compare` takes them."""
        _, who = pages.sessions.reader(request)
        platform: Platform = request.app.state.platform
        return pages.page(request, "compare.html", read_comparison(platform, before, after), who)


def read_comparison(platform: Platform, before: str, after: str) -> dict[str, Any]:
    found = compare(platform, before, after)
    pairs = [
        {**pair, "evaluation": pair["evaluation"] and with_bars(pair["evaluation"])}
        for pair in found["pairs"]
    ]
    return {**found, "pairs": pairs, "now": iso(platform.stores.clock.now())}


def with_bars(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """As many bars as a page can carry, the worst of each slice where there are more."""
    return {**evaluation, "slices": choose_bars(evaluation["slices"])}
