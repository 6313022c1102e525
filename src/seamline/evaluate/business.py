"""Business metrics: the mean over rows of an SQL expression over predictions and truth. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from seamline.domain.errors import InvalidInput
from seamline.evaluate.expressions import as_numbers, compute_rows

LABEL, PREDICTION, DECISION = "label", "prediction", "decision"


@dataclass(frozen=True)
class BusinessMetric:
    """What a row costs or brings, in the team's own words: its mean per row is a metric."""

    #: SQL expression over the columns of predictions and truth; `label`, `prediction` and
    #: `decision` (1 where the prediction reaches the threshold) name those of the contender.
    sql: str
    #: Whether more of it is better; without it neither direction is.
    higher_is_better: bool | None = None


def business_values(
    frame: pl.DataFrame,
    labels: pl.Series,
    predictions: pl.Series,
    metrics: Mapping[str, BusinessMetric],
    threshold: float | None = None,
) -> dict[str, pl.Series]:
    """Name → one finite number per row. Raises InvalidInput where a row has none.

    >>> rows = pl.DataFrame({"seats": [100, 50]})
    >>> empty = {"empty_seats": BusinessMetric("seats * (1 - prediction)")}
    >>> label, prediction = pl.Series([1.0, 0.0]), pl.Series([0.5, 1.0])
    >>> business_values(rows, label, prediction, empty)["empty_seats"].to_list()
    [50.0, 0.0]
    """
    known = frame.select(pl.exclude("^\0.*$")) if frame.width else frame
    used = known.with_columns(labels.alias(LABEL), predictions.alias(PREDICTION))
    if threshold is not None:
        decided = (pl.col(PREDICTION) >= threshold).cast(pl.Int64).alias(DECISION)
        used = used.with_columns(decided)
    found = {}
    for name, metric in metrics.items():
        what = f"Business metric {name}"
        hint = "Write one SQL expression over the columns of a row: label * amount."
        values = as_numbers(compute_rows(used, metric.sql, what, hint), what.lower())
        odd = int((~values.is_finite().fill_null(value=False)).sum())
        if odd:
            raise InvalidInput(
                f"{what} ({metric.sql!r}) has no finite value in {odd:,} of {len(values):,} rows.",
                next_step="Say what a missing value counts: COALESCE(amount, 0).",
            )
        found[name] = values
    return found
