from __future__ import annotations

from typing import Any

from seamline.evaluate.scale import Scale, scale_of


def _estimate(value: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high}


def test_the_scale_holds_everything_with_room() -> None:
    scale = scale_of([_estimate(5.0, 4.0, 6.0), _estimate(None, None, None)], 10.0)
    assert scale is not None
    assert scale.at(4.0) == "8.00%"
    assert scale.at(10.0) == "92.00%"


def test_one_value_stands_in_the_middle() -> None:
    for value in (0.7, 0.0, -3.0):
        scale = scale_of([_estimate(value, None, None)])
        assert scale is not None
        assert scale.at(value) == "50.00%"


def test_nothing_to_show() -> None:
    assert scale_of([]) is None
    assert scale_of([_estimate(None, None, None)]) is None


def test_what_lies_outside_stays_on_the_bar() -> None:
    assert (Scale(0.0, 1.0).at(-9.0), Scale(0.0, 1.0).at(9.0)) == ("0.00%", "100.00%")
