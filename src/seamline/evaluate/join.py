"""Predictions meet the truth: one row per prediction whose label is known. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from seamline.domain.errors import InvalidInput
from seamline.evaluate.expressions import (
    as_numbers,
    check_column,
    check_names,
    compute_label,
    read_classes,
)
from seamline.evaluate.spec import ROWS, EvaluationSpec, decide_kind
from seamline.measure.evaluation.vocabulary import Task

EXAMPLES = 3
# Columns of ours within a join; no column of a user can have these names by accident.
_LABEL, _PREDICTION, _BLOCK = "\0label", "\0prediction", "\0block"


@dataclass(frozen=True)
class JoinCounts:
    """`no_truth`: predictions without a row of truth (feedback may come late); `no_label`: rows
    whose label is null; `not_predicted`: labelled rows of the same blocks without a prediction."""

    predictions: int
    truth: int
    used: int
    no_truth: int
    no_label: int
    not_predicted: int

    def to_json(self) -> dict[str, int]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Joined:
    """Rows with a label, ordered by key; `frame` holds the columns of both sides."""

    frame: pl.DataFrame
    task: Task
    #: Numbers; of a multiclass task texts, as the predictions are.
    labels: pl.Series
    predictions: pl.Series
    #: None where rows are independent.
    blocks: pl.Series | None
    counts: JoinCounts
    #: Columns of the predictions table besides keys and predictions: known when it was made.
    known: tuple[str, ...] = ()

    def column(self, name: str, what: str) -> pl.Series:
        known = [column for column in self.frame.columns if not column.startswith("\0")]
        check_column(name, known, what)
        return self.frame[name]


def join_predictions(
    predictions: pl.DataFrame, truth: pl.DataFrame, spec: EvaluationSpec
) -> Joined:
    """Raises InvalidInput on unknown columns, repeated keys, and labelled rows without a value.

    Where both sides hold a column, the truth's is taken.
    """
    keys = list(spec.keys)
    for key in keys:
        check_column(key, predictions.columns, "The predictions have")
        check_column(key, truth.columns, "The truth has")
    check_column(spec.prediction, predictions.columns, "The predictions have")
    labels = compute_label(truth, spec.label)
    task = decide_kind(spec, labels.dtype == pl.Boolean)
    truth = truth.with_columns(_read(labels, "label", task).alias(_LABEL))
    predictions, truth = align_keys(predictions, truth, keys)
    _refuse_repeats(predictions, keys, "predictions")
    _refuse_repeats(truth, keys, "truth")
    values = _read(predictions[spec.prediction], "prediction", task).alias(_PREDICTION)
    ours = predictions.with_columns(values)
    ours = ours.select(*keys, *(c for c in ours.columns if c not in truth.columns))
    met = ours.join(truth, on=keys, how="inner").sort(keys)
    used = met.filter(pl.col(_LABEL).is_not_null())
    _check_used(used, keys, predictions.height, truth.height)
    if task is Task.MULTICLASS:
        _check_classes(used)
    blocks = _blocks_of(used, spec.block)
    counts = JoinCounts(
        predictions=predictions.height,
        truth=truth.height,
        used=used.height,
        no_truth=predictions.height - met.height,
        no_label=met.height - used.height,
        not_predicted=_not_predicted(truth, met, spec, blocks),
    )
    said = {*keys, spec.prediction, *spec.scores.values(), *spec.quantiles.values()}
    known = tuple(column for column in predictions.columns if column not in said)
    return Joined(used, task, used[_LABEL], used[_PREDICTION], blocks, counts, known)


def _read(values: pl.Series, what: str, task: Task) -> pl.Series:
    return read_classes(values, what) if task is Task.MULTICLASS else as_numbers(values, what)


def _blocks_of(used: pl.DataFrame, block: str) -> pl.Series | None:
    if block == ROWS:
        return None
    check_column(block, [c for c in used.columns if "\0" not in c], "The joined rows have")
    check_names(used, block, "Blocks")
    return used[block].cast(pl.String).alias(_BLOCK)


def align_keys(
    left: pl.DataFrame, right: pl.DataFrame, keys: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Key columns of one dtype on both sides: whole numbers of any width, dates and numbers that
    one side holds as text. Raises InvalidInput for what cannot be equal."""
    for key in keys:
        a, b = left.schema[key], right.schema[key]
        if a == b:
            continue
        if a.is_integer() and b.is_integer():
            # What no signed 64 bits hold still meets, written out.
            is_wide = {pl.UInt64, pl.Int128} & {a, b}
            common: pl.DataType | type[pl.DataType] = pl.String if is_wide else pl.Int64
        elif a.base_type() == b.base_type() == pl.Datetime:
            common = pl.Datetime("us", getattr(a, "time_zone", None))
        elif pl.String in (a, b) and all(_reads_as_text(dtype) for dtype in (a, b)):
            common = pl.String
        else:
            raise InvalidInput(
                f"Key {key!r} is {a} in the predictions and {b} in the truth.",
                next_step="Write it in one type on both sides.",
            )
        left = left.with_columns(pl.col(key).cast(common))
        right = right.with_columns(pl.col(key).cast(common))
    return left, right


def _reads_as_text(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype in (pl.String, pl.Date, pl.Categorical, pl.Enum)


def _refuse_repeats(frame: pl.DataFrame, keys: list[str], what: str) -> None:
    known = frame.drop_nulls(keys)
    repeated = known.group_by(keys, maintain_order=True).len().filter(pl.col("len") > 1)
    if repeated.height:
        raise InvalidInput(
            f"{repeated.height:,} keys stand more than once in the {what}, e.g. "
            f"{show_keys(repeated, keys)}.",
            next_step="Add a key column that tells the rows apart, or remove the copies.",
        )


def show_keys(frame: pl.DataFrame, keys: Sequence[str]) -> str:
    """
    >>> show_keys(pl.DataFrame({"carrier": ["UA"], "flight": [7]}), ["carrier", "flight"])
    '(carrier=UA, flight=7)'
    """
    rows = frame.select(keys).head(EXAMPLES).rows()
    texts = (", ".join(f"{k}={v}" for k, v in zip(keys, row, strict=True)) for row in rows)
    return ", ".join(f"({text})" for text in texts)


def _check_used(used: pl.DataFrame, keys: list[str], n_predictions: int, n_truth: int) -> None:
    if not used.height:
        raise InvalidInput(
            f"None of {n_predictions:,} predictions meets a labelled row of {n_truth:,} rows of "
            f"truth by {', '.join(keys)}.",
            next_step="Compare the key columns' values on both sides, and the label's.",
        )
    values = used[_PREDICTION]
    is_there = values.is_not_null() if values.dtype == pl.String else values.is_finite()
    empty = used.filter(~is_there.fill_null(value=False))
    if empty.height:
        raise InvalidInput(
            f"{empty.height:,} of {used.height:,} labelled rows have no finite prediction, e.g. "
            f"{show_keys(empty, keys)}.",
            next_step="Let the prediction pipeline answer for each row: "
            "leaving out rows would flatter the model.",
        )


def _check_classes(used: pl.DataFrame) -> None:
    """Of several classes on either side not one in common is a matter of spelling."""
    said, came = (sorted(set(used[name])) for name in (_PREDICTION, _LABEL))
    if len(said) > 1 and len(came) > 1 and not set(said) & set(came):
        raise InvalidInput(
            f"No predicted class is one of the labels: {_name_some(said)}; {_name_some(came)}.",
            next_step="Write classes the same on both sides.",
        )


def _name_some(names: Sequence[str]) -> str:
    more = ", …" if len(names) > EXAMPLES else ""
    return ", ".join(map(repr, names[:EXAMPLES])) + more


def _not_predicted(
    truth: pl.DataFrame, met: pl.DataFrame, spec: EvaluationSpec, blocks: pl.Series | None
) -> int:
    if blocks is None or spec.block not in truth.columns:
        return 0
    labelled = truth.filter(
        pl.col(_LABEL).is_not_null()
        & pl.col(spec.block).cast(pl.String).is_in(blocks.unique().to_list())
    )
    return labelled.join(met, on=list(spec.keys), how="anti").height


def compare_rows(
    candidate: pl.DataFrame, incumbent: pl.DataFrame, keys: Sequence[str]
) -> dict[str, Any]:
    """How many keys only one of the two holds, with examples; empty when they hold the same."""
    ours, theirs = align_keys(candidate, incumbent, keys)
    only_ours = ours.join(theirs, on=list(keys), how="anti", nulls_equal=True)
    only_theirs = theirs.join(ours, on=list(keys), how="anti", nulls_equal=True)
    if not only_ours.height and not only_theirs.height:
        return {}
    return {
        "only_candidate": only_ours.height,
        "only_incumbent": only_theirs.height,
        "examples": show_keys(only_ours if only_ours.height else only_theirs, keys),
    }
