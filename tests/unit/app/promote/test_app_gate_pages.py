"""The promotion's page: what each gate found as a picture, and what it proves in its own words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from seamline.console import make_router
from seamline.domain.clock import ManualClock
from seamline.domain.settings import Settings
from seamline.domain.states import Verdict
from seamline.promote.gate_pictures import PICTURE, Interval, Moment, intervals, timeline
from seamline.promote.gate_results import GateResult, record_gate
from seamline.promote.policy import ApprovalRule
from seamline.register.models.catalogue import ModelVersion
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import build_control_plane

from .conftest import House, pipeline_of
from .good_release import GoodRelease, good_release, rows


def _nothing() -> ModelVersion:
    raise AssertionError("the good release registers its own")


@pytest.fixture
def good(tmp_path: Path, clock: ManualClock) -> Iterator[GoodRelease]:
    settings = Settings(workspace=tmp_path / "workspace")
    plane = build_control_plane(settings, clock, [make_router()])
    house = House(plane, pipeline_of("old"), pipeline_of("new"), _nothing)
    publish_pipeline(house.stores, house.old, ["1.0.0"], by="ann")
    yield good_release(house, tmp_path)
    plane.platform.engine.close()
    plane.platform.runner.close()
    plane.platform.stores.db.close()


def page(good: GoodRelease, path: str) -> str:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(good.house.plane.app, client=("127.0.0.1", 5000))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8765"
        ) as client:
            return await client.get(path, headers={"Accept": "text/html"})

    answer = asyncio.run(one())
    assert answer.status_code == 200, answer.text
    return answer.text


def test_each_gate_has_its_picture_and_its_words(good: GoodRelease) -> None:
    good.apply(replace(good.policy, approvals=ApprovalRule(1)))
    text = page(good, f"/promotions/{good.ask()}")
    drawn = [gate for gate in good.policy.gates if f'aria-label="What {gate} found"' in text]
    # What was judged has a card of its own below.
    assert set(drawn) == set(good.policy.gates) - {"evaluation"}
    assert text.count('<details class="guide"') == len(good.policy.gates) + 1  # and `policy`
    assert (
        "Needs</b>" in text and "<code>[environments.NAME.gate.security] advisories</code>" in text
    )


def test_what_shuts_it_is_drawn_as_such(good: GoodRelease) -> None:
    good.deliver("calls-development", rows(scale=3.0))
    text = page(good, f"/promotions/{good.ask()}")
    figure = text.partition('aria-label="What likeness found"')[2].partition("</figure>")[0]
    assert '<tr class="bad">' in figure and '<tr class="good">' in figure
    assert "PSI, at most 0.2" in figure


def test_a_picture_that_cannot_be_drawn_breaks_no_page(good: GoodRelease) -> None:
    """Evidence of another version of Seamline, say."""
    good.apply(replace(good.policy, approvals=ApprovalRule(1)))
    asked = good.ask()
    odd = json.loads('{"picture": {"kind": "bars", "unit": null, "bars": [{"name": 7}]}}')
    record_gate(
        good.house.stores, asked, GateResult("soon", Verdict.PASS, "so", odd), by="seamline"
    )
    text = page(good, f"/promotions/{asked}")
    assert "<b>soon</b>" in text
    assert 'aria-label="What soon found"' not in text


def test_every_kind_of_picture_is_drawn(good: GoodRelease) -> None:
    good.apply(replace(good.policy, approvals=ApprovalRule(1)))
    asked = good.ask()
    begin, end = "2026-01-01T00:00:00.000000Z", "2026-01-11T00:00:00.000000Z"
    pictures = {
        "points": intervals([Interval("auc", 0.8, 0.7, 0.9, limit=0.65)]),
        "times": timeline([Moment("a <window>", begin, end)], begin, end),
    }
    for gate, picture in pictures.items():
        result = GateResult(gate, Verdict.PASS, "so", {PICTURE: picture})
        record_gate(good.house.stores, asked, result, by="seamline")
    text = page(good, f"/promotions/{asked}")
    points, times = (
        text.partition(f'aria-label="What {gate} found"')[2].partition("</figure>")[0]
        for gate in pictures
    )
    assert 'class="reference"' in points and "0.8 [0.7, 0.9], limit 0.65" in points
    assert 'class="value lasted" x1="0.00%" x2="100.00%"' in times
    assert "a &lt;window&gt;" in times
