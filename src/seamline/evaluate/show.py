"""An evaluation as plain JSON: its record with every estimate, for the API and for pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from seamline.evaluate.backtests import list_backtests
from seamline.evaluate.derive import WEEKDAYS
from seamline.evaluate.evaluations import Evaluation, find_evaluation, load_scorecard
from seamline.measure.evaluation.estimates import Estimate
from seamline.measure.evaluation.scorecard import Estimates, Scorecard
from seamline.measure.evaluation.vocabulary import Rival
from seamline.store.stores import Stores

_LEADING_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def show_evaluation(stores: Stores, evaluation_id: str) -> dict[str, Any]:
    """The record with its estimates: `metrics` overall, `slices` as bars per column and metric,
    `reliability` per contender, `worst` as a search found them."""
    evaluation = find_evaluation(stores, evaluation_id)
    return show_scorecard(evaluation, load_scorecard(stores, evaluation))


def show_with_backtest(stores: Stores, evaluation_id: str) -> dict[str, Any]:
    """With the newest back-test of the same version, where there is one, as a page shows it."""
    shown = show_evaluation(stores, evaluation_id)
    tested = list_backtests(stores, shown["model"], shown["model_version"])
    return {**shown, "backtest": tested[0].to_json() if tested else None}


def show_scorecard(evaluation: Evaluation, card: Scorecard) -> dict[str, Any]:
    headlines = evaluation.evidence["headlines"]
    return evaluation.to_json() | {
        "task": str(card.task),
        "confidence": card.confidence,
        "blocks": {"n": card.n_blocks, "first": card.first_block, "last": card.last_block},
        "metrics": [
            {
                "metric": metric,
                "is_headline": metric in headlines,
                "estimate": estimate.to_json(),
                "rivals": {
                    str(rival): {
                        "estimate": card.rivals[rival][metric].to_json(),
                        "difference": card.differences[rival][metric].to_json(),
                    }
                    for rival in Rival
                    if metric in card.rivals.get(rival, {})
                },
            }
            for metric, estimate in card.overall.items()
        ],
        "slices": [
            {"column": column, "metric": metric, "bars": _bars(card, column, metric)}
            for column in card.slices
            for metric in headlines
            if any(metric in found for found in card.slices[column].values())
        ],
        "reliability": {
            contender: [one.to_json() for one in bins]
            for contender, bins in card.reliability.items()
        },
        "worst": [one.to_json() for one in card.worst],
        "n_searched": card.n_searched,
    }


def _bars(card: Scorecard, column: str, metric: str) -> list[dict[str, Any]]:
    """In the order of the values: numbers by size, days of the week as they come."""
    found: Mapping[str, Estimates] = card.slices[column]
    return [
        {
            "name": value,
            "estimate": found[value][metric].to_json(),
            "differences": {
                rival: difference.to_json()
                for rival, slices in card.slice_differences.items()
                if (difference := _difference(slices, column, value, metric)) is not None
            },
        }
        for value in sorted(found, key=order_of)
        if metric in found[value]
    ]


def _difference(
    slices: Mapping[str, Mapping[str, Estimates]], column: str, value: str, metric: str
) -> Estimate | None:
    return slices.get(column, {}).get(value, {}).get(metric)


def order_of(value: str) -> tuple[int, float, str]:
    """
    >>> sorted(["9", "10..25", "Tue", "Mon", "JFK"], key=order_of)
    ['9', '10..25', 'Mon', 'Tue', 'JFK']
    """
    number = _LEADING_NUMBER.match(value)
    if number:
        return (0, float(number[0]), value)
    if value in WEEKDAYS:
        return (1, float(WEEKDAYS.index(value)), value)
    return (2, 0.0, value)
