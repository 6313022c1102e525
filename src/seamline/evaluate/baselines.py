"""Baselines: what one would predict without a model, learnt from the training rows only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from seamline.domain.errors import InvalidInput
from seamline.evaluate.expressions import (
    as_numbers,
    check_column,
    check_names,
    compute_label,
    compute_rows,
    read_classes,
)
from seamline.evaluate.spec import DAY, PRIOR
from seamline.measure.evaluation.vocabulary import Task

_MEAN, _SCALE = "\0mean", "\0scale"


@dataclass(frozen=True)
class Baseline:
    """`overall`: the mean label of `n_rows` training rows (a base rate for a binary label).
    `means`: the mean per combination of `columns`; a combination not seen gets the overall one."""

    overall: float
    n_rows: int
    columns: tuple[str, ...] = ()
    means: pl.DataFrame | None = None
    #: Of each class, where the label is one of several.
    shares: Mapping[str, float] | None = None
    #: Per series the mean change from season to season, which forecasts are measured by.
    scales: pl.DataFrame | None = None

    def scale_of(self, frame: pl.DataFrame) -> pl.Series | None:
        """Each row's, by its series. InvalidInput where a series has no training rows."""
        if self.scales is None:
            return None
        series = [column for column in self.scales.columns if column != _SCALE]
        for column in series:
            check_column(column, frame.columns, "Series: the evaluated rows have")
        keys = frame.select(_as_text(series))
        found = keys.join(
            self.scales, on=series, how="left", nulls_equal=True, maintain_order="left"
        )[_SCALE]
        if found.null_count():
            raise InvalidInput(
                f"{found.null_count():,} of {frame.height:,} rows are of a series that has no "
                "whole season in the training rows.",
                next_step="Leave such series out, or declare no series.",
            )
        return found

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
        if self.shares is not None:
            n_classes = len(self.shares)
            return f"baseline: the shares of {n_classes} classes in {self.n_rows:,} training rows"
        if self.means is None:
            return f"baseline: the mean label of {self.n_rows:,} training rows, {self.overall:.3g}"
        text = f"baseline: the mean label by {', '.join(self.columns)} of {self.n_rows:,} training"
        unseen = f"{n_unseen:,} of {n_rows:,} rows get the overall {self.overall:.3g}"
        return f"{text} rows ({unseen})" if n_unseen else f"{text} rows"


@dataclass(frozen=True)
class Rule:
    """What decided before there was a model, as an SQL expression over a row; or a constant."""

    sql: str

    def predict(self, frame: pl.DataFrame) -> tuple[pl.Series, int]:
        """
        >>> Rule("hour >= 17").predict(pl.DataFrame({"hour": [5, 18]}))[0].to_list()
        [0.0, 1.0]
        """
        columns = frame.select(pl.exclude("^\0.*$"))
        hint = "Write one SQL expression over the columns of a row, or a number: hour >= 17."
        values = compute_rows(columns, self.sql, "Rule", hint, may_be_constant=True)
        found = as_numbers(values, "rule")
        odd = int((~found.is_finite().fill_null(value=False)).sum())
        if odd:
            raise InvalidInput(
                f"The rule {self.sql!r} has no finite value in {odd:,} of {frame.height:,} rows.",
                next_step="Say what stands for a missing value: COALESCE(hour, 12) >= 17.",
            )
        return found, 0

    def describe(self, n_rows: int, n_unseen: int) -> str:
        return f"baseline: the rule {self.sql}"


def make_baseline(
    training: pl.DataFrame,
    label: str,
    columns: Sequence[str] = (PRIOR,),
    *,
    task: Task | None = None,
    series: Sequence[str] = (),
    season: int = 1,
) -> Baseline:
    """The prior, or the mean label by columns; `label` is the evaluation's expression. Of several
    classes their shares. `series`: what tells time series apart, for the scale of their changes.

    >>> rows = pl.DataFrame({"dest": ["LAX", "LAX", "BOS"], "air_time": [320, 330, 40]})
    >>> baseline = make_baseline(rows, "air_time", ["dest"])
    >>> baseline.predict(pl.DataFrame({"dest": ["LAX", "ORD"]}))[0].to_list()
    [325.0, 230.0]
    """
    labels = compute_label(training, label)
    if task is Task.MULTICLASS:
        return _shares(read_classes(labels, "label"), label)
    if not (labels.dtype == pl.Boolean or labels.dtype.is_numeric()):
        raise InvalidInput(
            f"The label {label!r} is {labels.dtype}, which has no mean.",
            next_step="Give a numeric or boolean label.",
        )
    values = labels.cast(pl.Float64).fill_nan(None)
    known = values.drop_nulls()
    if not len(known):
        raise _no_label(training.height, label)
    overall = float(known.sum()) / len(known)
    by = tuple(column for column in columns if column != PRIOR)
    scales = _scales(training, values, series, season) if series else None
    if not by:
        return Baseline(overall, len(known), scales=scales)
    for column in by:
        check_column(column, training.columns, "Baseline: the training rows have")
        check_names(training, column, "Baseline")
    keyed = training.select(_as_text(by)).with_columns(values.alias(_MEAN)).drop_nulls(_MEAN)
    means = keyed.group_by(by).agg(pl.col(_MEAN).mean()).sort(by)
    return Baseline(overall, len(known), by, means, scales=scales)


def _shares(labels: pl.Series, label: str) -> Baseline:
    known = labels.drop_nulls()
    if not len(known):
        raise _no_label(len(labels), label)
    counts = known.value_counts().rows()
    return Baseline(0.0, len(known), shares={name: n / len(known) for name, n in counts})


def _scales(
    training: pl.DataFrame, values: pl.Series, series: Sequence[str], season: int
) -> pl.DataFrame:
    """Per series, in order of days: the mean change over a season (of the seasonal-naive
    forecast, Hyndman and Koehler 2006)."""
    for column in (*series, DAY):
        check_column(column, training.columns, "Series: the training rows have")
        check_names(training, column, "Series")
    rows = training.select(*_as_text(series), pl.col(DAY)).with_columns(values.alias(_MEAN))
    change = (pl.col(_MEAN) - pl.col(_MEAN).shift(season)).abs().mean().alias(_SCALE)
    found = rows.drop_nulls(_MEAN).sort(DAY).group_by(list(series)).agg(change)
    return found.drop_nulls(_SCALE)


def _no_label(n_rows: int, label: str) -> InvalidInput:
    return InvalidInput(
        f"None of {n_rows:,} training rows has a label {label!r}.",
        next_step="Give the rows that the model was trained on.",
    )


def _as_text(columns: Sequence[str]) -> list[pl.Expr]:
    return [pl.col(column).cast(pl.String) for column in columns]
