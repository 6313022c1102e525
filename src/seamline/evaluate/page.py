"""Evaluations as one HTML file: style and pictures inside, no script, nothing fetched. Pure.

It holds estimates and sentences, and no row of data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined

from seamline.evaluate.pictures import draw_interval, draw_reliability, draw_windows
from seamline.evaluate.scale import scale_of
from seamline.evaluate.wording import say_value
from seamline.measure.evaluation.estimates import Estimate
from seamline.measure.evaluation.vocabulary import HIGHER_IS_BETTER, base_of

#: Of the slices' rows together; what else there is of a page is small.
SLICE_BYTES = 200_000
#: About what one bar takes.
_BAR_BYTES = 900
MOST_BARS = 40


def evaluation_page(shown: Sequence[Mapping[str, Any]]) -> str:
    """`shown`: as `show_evaluation` gives them. At most 300 KB, whatever was judged."""
    pages = make_pages(PackageLoader("seamline.evaluate"))
    return pages.get_template("evaluation.html").render(evaluations=as_drawn(shown))


def make_pages(loader: BaseLoader) -> Environment:
    """With what the articles of evaluations are drawn by."""
    pages = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update({"estimate": _estimate, "difference": _difference, "words": _words})
    pages.globals.update(
        interval=draw_interval,
        reliability=draw_reliability,
        windows=draw_windows,
        scale_of=scale_of,
    )
    return pages


def as_drawn(shown: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """With the slices that there is room for, in all of them together."""
    room = SLICE_BYTES // max(len(shown), 1)
    return [{**one, "drawn": choose_bars(one["slices"], room)} for one in shown]


def choose_bars(
    slices: Sequence[Mapping[str, Any]], room_bytes: int = SLICE_BYTES
) -> list[dict[str, Any]]:
    """The slices with at most 40 bars each, the worst where there are more, as many as there is
    room for; `n_more` counts what is left out."""
    drawn: list[dict[str, Any]] = []
    room = room_bytes // _BAR_BYTES
    for one in slices:
        bars = list(one["bars"])
        most = min(MOST_BARS, max(room, 0))
        kept = bars
        if len(bars) > most:
            worst = {id(bar) for bar in sorted(bars, key=_badness(one["metric"]))[:most]}
            kept = [bar for bar in bars if id(bar) in worst]
        room -= len(kept)
        drawn.append({**one, "bars": kept, "n_more": len(bars) - len(kept)})
    return drawn


def _badness(metric: str) -> Any:
    """Worst first; where neither direction is better, the most rows first. What has no interval
    comes last."""
    better = HIGHER_IS_BETTER.get(base_of(metric))

    def key(bar: Mapping[str, Any]) -> tuple[bool, float]:
        estimate = bar["estimate"]
        value = estimate["value"] or 0.0
        by = -estimate["n_rows"] if better is None else value if better else -value
        return estimate["low"] is None, by

    return key


def _estimate(estimate: Mapping[str, Any]) -> str:
    return say_value(Estimate.from_json(estimate))


def _difference(estimate: Mapping[str, Any]) -> str:
    return say_value(Estimate.from_json(estimate), signed=True)


def _words(name: str) -> str:
    return name.replace("_", " ")
