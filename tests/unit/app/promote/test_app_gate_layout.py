"""Pictures of gates: each kind is laid out, and what cannot be drawn breaks no page."""

from __future__ import annotations

from typing import Any

import pytest

from seamline.app.promote.gate_layout import lay_out_picture
from seamline.domain.states import Verdict
from seamline.promote.gate_pictures import (
    PICTURE,
    Bar,
    Interval,
    Moment,
    Tick,
    bars,
    intervals,
    ticks,
    timeline,
)

DAY = "2026-01-{:02}T00:00:00.000000Z"


def drawn(picture: dict[str, Any]) -> list[dict[str, Any]]:
    found = lay_out_picture({PICTURE: picture})
    assert found is not None and found["kind"] == picture["kind"]
    rows: list[dict[str, Any]] = found["rows"]
    return rows


def test_bars_stand_beside_their_limits() -> None:
    over, under, free = drawn(
        bars(
            [
                Bar("slow", 30.0, 10.0, verdict=Verdict.FAIL),
                Bar("runs", 1, 3, "least", Verdict.INCONCLUSIVE),
                Bar("nothing", 0.0),
            ],
            "s",
        )
    )
    assert (over["width"], over["limit_at"], over["verdict"]) == ("92.00%", "30.67%", "fail")
    assert under["says"] == "1 s, at least 3"
    assert (free["width"], free["limit_at"], free["says"]) == ("0.00%", None, "0 s")


def test_intervals_share_a_scale_with_their_limit() -> None:
    one, unknown = drawn(
        intervals([Interval("auc", 0.8, 0.7, 0.9, limit=0.65), Interval("f1", None, None, None)])
    )
    assert one["says"] == "0.8 [0.7, 0.9], limit 0.65"
    assert one["scale"].low < 0.65 < 0.9 < one["scale"].high
    assert unknown["says"] == "nobody can tell"


def test_ticks_know_three_states() -> None:
    rows = drawn(ticks([Tick("a", True), Tick("b", False, "why"), Tick("c", None)]))
    assert [one["verdict"] for one in rows] == ["pass", "fail", "inconclusive"]
    assert rows[1]["says"] == "why"


def test_moments_stand_in_time() -> None:
    first, lasted = drawn(
        timeline(
            [
                Moment("began", DAY.format(6)),
                Moment("window", DAY.format(6), DAY.format(11), Verdict.FAIL),
            ],
            DAY.format(1),
            DAY.format(11),
        )
    )
    assert (first["at"], first["until"]) == ("50.00%", "50.00%")
    assert (lasted["at"], lasted["until"], lasted["verdict"]) == ("50.00%", "100.00%", "fail")


@pytest.mark.parametrize(
    "picture",
    [
        None,
        "a text",
        {},
        {"kind": "pie", "rows": []},
        {"kind": "bars", "unit": "", "bars": [{"name": "x"}]},
        {"kind": "bars", "unit": "", "bars": [{"name": "x", "value": "much", "limit": None}]},
        {"kind": "bars", "unit": "", "bars": []},
        {"kind": "ticks", "rows": [{"name": "x", "holds": "maybe", "detail": ""}]},
        {"kind": "timeline", "from": "once", "to": "later", "rows": []},
        {"kind": "intervals", "unit": "", "rows": 7},
    ],
)
def test_what_cannot_be_drawn_is_left_out(picture: object) -> None:
    assert lay_out_picture({PICTURE: picture}) is None
    assert lay_out_picture({}) is None
