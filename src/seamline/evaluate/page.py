"""Evaluations as one HTML file: style and pictures inside, no script, nothing fetched. Pure.

It holds estimates and sentences, and no row of data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined

from seamline.evaluate.pictures import draw_interval, draw_reliability, draw_windows, windows_of
from seamline.evaluate.scale import scale_of
from seamline.evaluate.wording import say_value
from seamline.measure.evaluation.estimates import Estimate
from seamline.measure.evaluation.vocabulary import HIGHER_IS_BETTER, base_of

#: Of a page.
MOST_BYTES = 300_000
#: Of the slices' rows together.
SLICE_BYTES = 180_000
#: Of each evaluation; a binary task has 16, and thresholds make more.
MOST_METRICS = 48
MOST_ARTICLES = 40
_LEVELS = 6
#: Of back-tests' pictures together; one takes about 500 bytes.
MOST_WINDOWS = 100
#: About what one bar takes.
_BAR_BYTES = 900
MOST_BARS = 40


def evaluation_page(shown: Sequence[Mapping[str, Any]]) -> str:
    """`shown`: as `show_evaluation` gives them. At most 300 KB, whatever was judged."""
    template = make_pages(PackageLoader("seamline.evaluate")).get_template("evaluation.html")

    def render(level: int) -> str:
        kept = shown[: max(MOST_ARTICLES >> level, 1)]
        drawn = as_drawn(kept, level)
        return template.render(evaluations=drawn, n_left_out=len(shown) - len(kept))

    return fit_page(render)


def fit_page(render: Callable[[int], str]) -> str:
    """The fullest page that is not too large: each level shows half of what the one before did."""
    return next(
        (page for level in range(_LEVELS) if len((page := render(level)).encode()) <= MOST_BYTES),
        render(_LEVELS),
    )


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


def as_drawn(shown: Sequence[Mapping[str, Any]], level: int = 0) -> list[dict[str, Any]]:
    """With the metrics, the slices, and the windows of back-tests, that there is room for in all of
    them together; `backtest` of an evaluation is as `Backtest.to_json` gives it, or None."""
    room = (SLICE_BYTES >> level) // max(len(shown), 1)
    tested = [one["backtest"] for one in shown if one.get("backtest")]
    drawn = iter(draw_backtests(tested, level))
    most = max(MOST_METRICS >> level, 3)
    return [
        {
            **one,
            "listed": sorted(one["metrics"], key=lambda metric: not metric["is_headline"])[:most],
            "n_unlisted": max(len(one["metrics"]) - most, 0),
            "drawn": choose_bars(one["slices"], room),
            "backtest": next(drawn) if one.get("backtest") else None,
        }
        for one in shown
    ]


def draw_backtests(tested: Sequence[Mapping[str, Any]], level: int = 0) -> list[dict[str, Any]]:
    """Their sentences, and the windows by the metric that they are won and lost by, then by others,
    as many as there is room for."""
    drawn, room = [], MOST_WINDOWS >> level
    for one in tested:
        evidence = one["evidence"]
        n = max(len(evidence["windows"]), 1)
        names = [*dict.fromkeys([evidence["metric"], *evidence["trends"]])]
        fitting = names[: room // n] if evidence["trends"] else []
        room -= n * len(fitting)
        metrics = [{"metric": name, "windows": windows_of(one, name)} for name in fitting]
        drawn.append({**one, "sentences": evidence["sentences"], "metrics": metrics})
    return drawn


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
