"""Baselines: what one would predict without a model, learnt from the training rows only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from seamline.domain.errors import InvalidInput
from seamline.evaluate.join import check_column, compute_label
from seamline.evaluate.spec import PRIOR

_MEAN = "\0mean"


@dataclass(frozen=True)
class Baseline:
    """`overall`: the mean label of `n_rows` training rows (a base rate for a binary label).
    `means`: the mean per combination of `columns`; a combination not seen gets the overall one."""

    overall: float
    n_rows: int
    columns: tuple[str, ...] = ()
    means: pl.DataFrame | None = None

    def predict(self, frame: pl.DataFrame) -> tuple[pl.Series, int]:
        """One value per row, and how many rows fell back to the overall mean."""
        if self.means is None:
            return pl.repeat(self.overall, frame.height, eager=True, dtype=pl.Float64), 0
        for column in self.columns:
            check_column(column, frame.columns, "Baseline: the evaluated rows have")
        # As text, so that the same value in another integer width still meets.
        keys = frame.select(_as_text(self.columns))
        found = keys.join(
            self.means, on=self.columns, how="left", nulls_equal=True, maintain_order="left"
        )[_MEAN]
        return found.fill_null(self.overall), found.null_count()

    def describe(self, n_rows: int, n_unseen: int) -> str:
        """
        >>> Baseline(0.2, 1000).describe(50, 0)
        'baseline: the mean label of 1,000 training rows, 0.2'
        """
        if self.means is None:
            return f"baseline: the mean label of {self.n_rows:,} training rows, {self.overall:.3g}"
        text = f"baseline: the mean label by {', '.join(self.columns)} of {self.n_rows:,} training"
        unseen = f"{n_unseen:,} of {n_rows:,} rows get the overall {self.overall:.3g}"
        return f"{text} rows ({unseen})" if n_unseen else f"{text} rows"


def make_baseline(
    training: pl.DataFrame, label: str, columns: Sequence[str] = (PRIOR,)
) -> Baseline:
    """The prior, or the mean label by columns; `label` is the evaluation's expression.

    >>> rows = pl.DataFrame({"dest": ["LAX", "LAX", "BOS"], "air_time": [320, 330, 40]})
    >>> baseline = make_baseline(rows, "air_time", ["dest"])
    >>> baseline.predict(pl.DataFrame({"dest": ["LAX", "ORD"]}))[0].to_list()
    [325.0, 230.0]
    """
    labels = compute_label(training, label)
    if not (labels.dtype == pl.Boolean or labels.dtype.is_numeric()):
        raise InvalidInput(
            f"The label {label!r} is {labels.dtype}, which has no mean.",
            next_step="Give a numeric or boolean label.",
        )
    values = labels.cast(pl.Float64).fill_nan(None)
    known = values.drop_nulls()
    if not len(known):
        raise InvalidInput(
            f"None of {training.height:,} training rows has a label {label!r}.",
            next_step="Give the rows that the model was trained on.",
        )
    overall = float(known.sum()) / len(known)
    by = tuple(column for column in columns if column != PRIOR)
    if not by:
        return Baseline(overall, len(known))
    for column in by:
        check_column(column, training.columns, "Baseline: the training rows have")
    keyed = training.select(_as_text(by)).with_columns(values.alias(_MEAN)).drop_nulls(_MEAN)
    means = keyed.group_by(by).agg(pl.col(_MEAN).mean()).sort(by)
    return Baseline(overall, len(known), by, means)


def _as_text(columns: Sequence[str]) -> list[pl.Expr]:
    return [pl.col(column).cast(pl.String) for column in columns]
