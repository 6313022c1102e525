"""Pictures of profiles: small, self-contained, and they show what the profile says."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import polars as pl
import pytest

from seamline.data.pictures import BARS, HEIGHT, RED, picture_column
from seamline.measure.basis import make_basis
from seamline.measure.profiles import profile_frame

SVG = "{http://www.w3.org/2000/svg}"


def _draw(before: pl.Series, after: pl.Series | None = None) -> ET.Element:
    frames = [pl.DataFrame({"x": one}) for one in (before, after) if one is not None]
    basis = make_basis(frames[0])
    columns = [profile_frame(frame, basis).columns["x"] for frame in frames]
    # The new one is filled, the one before it an outline.
    svg = picture_column(basis.columns["x"], *reversed(columns))
    assert len(svg) < 2500 and "style=" not in svg and "<script" not in svg
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def _tops(path: ET.Element) -> list[float]:
    """How high each bar is, as a share of the picture."""
    return [1 - float(top) / HEIGHT for top in re.findall(r"V([\d.]+)H", path.attrib["d"])]


def test_many_numbers_are_drawn_as_a_histogram_of_equally_wide_bars() -> None:
    values = np.random.default_rng(1).normal(size=20_000)
    (path,) = _draw(pl.Series(values)).findall(f"{SVG}path")
    tops = _tops(path)
    assert len(tops) == BARS
    true = np.histogram(values, BARS)[0]
    drawn, counted = np.cumsum(tops) / np.sum(tops), np.cumsum(true) / np.sum(true)
    assert np.allclose(drawn, counted, atol=0.02)


def test_equal_numbers_are_a_plain_without_towers_at_its_ends() -> None:
    (path,) = _draw(pl.Series(range(20_000))).findall(f"{SVG}path")
    assert min(_tops(path)) > 0.9 * max(_tops(path))


def test_what_lies_far_out_is_in_the_outermost_bar() -> None:
    values = [*np.random.default_rng(1).uniform(size=20_000), *[1e6] * 200]
    (path,) = _draw(pl.Series(values)).findall(f"{SVG}path")
    assert min(_tops(path)) > 0.3 * max(_tops(path)) and np.argmax(_tops(path)) == BARS - 1


def test_few_values_are_drawn_one_by_one() -> None:
    (path,) = _draw(pl.Series([0, 0, 0, 1])).findall(f"{SVG}path")
    assert len(_tops(path)) == 2
    assert _tops(path)[1] == pytest.approx(_tops(path)[0] / 3, abs=0.03)


def test_a_shift_shows_as_a_filled_picture_beside_an_outline() -> None:
    rng = np.random.default_rng(2)
    paths = _draw(pl.Series(rng.normal(0, 1, 5000)), pl.Series(rng.normal(3, 1, 5000)))
    now, was = paths.findall(f"{SVG}path")
    assert (now.attrib["class"], was.attrib["class"]) == ("is", "was")
    assert np.argmax(_tops(now)) > np.argmax(_tops(was)) + BARS // 5


def test_words_are_drawn_by_frequency_with_those_that_are_new() -> None:
    drawn = _draw(pl.Series(["a"] * 5 + ["b"]), pl.Series(["a"] * 2 + ["<new> & long " * 3] * 6))
    assert [text.text for text in drawn.iter(f"{SVG}text")] == ["a", "<new> & long <ne…", "b"]
    wide = {
        kind: [float(one.attrib["width"]) for one in drawn.iter(f"{SVG}rect") if _is(one, kind)]
        for kind in ("is", "was")
    }
    assert wide["is"][1] > wide["is"][0] > wide["is"][2] == 0
    assert wide["was"][0] > wide["was"][2] > wide["was"][1] == 0


def _is(one: ET.Element, kind: str) -> bool:
    return one.attrib.get("class") == kind


def test_what_is_missing_or_does_not_read_is_seen_below() -> None:
    drawn = _draw(pl.Series([1.0, 2.0]), pl.Series(["1", "2", None, None, "n/a"]))
    (missing,) = [one for one in drawn.iter(f"{SVG}rect") if _is(one, "missing")]
    (mistyped,) = [one for one in drawn.iter(f"{SVG}rect") if _is(one, "mistyped")]
    assert float(missing.attrib["width"]) == pytest.approx(2 * float(mistyped.attrib["width"]))
    assert mistyped.attrib["fill"] == RED
    assert "2 of 5 missing; 1 of 5 do not read" in drawn.attrib["aria-label"]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([], dtype=pl.Float64),
        pl.Series([None, None]),
        pl.Series([7.0] * 9),
        pl.Series([math.inf, -math.inf] * 9),
        pl.Series([1e300, -1e300, 0.0] * 40),
        pl.Series([*(np.linspace(-1, 1, 500) * 1.7e308), math.inf]),
        pl.Series([[1], [2]]),
        pl.Series([True, None]),
        pl.Series([f"id-{i}" for i in range(500)]),
    ],
    ids=lambda values: f"{values.dtype}-{len(values)}",
)
def test_whatever_a_column_holds_can_be_drawn(values: pl.Series) -> None:
    for path in _draw(values, values).iter(f"{SVG}path"):
        assert "nan" not in path.attrib["d"] and "inf" not in path.attrib["d"]
