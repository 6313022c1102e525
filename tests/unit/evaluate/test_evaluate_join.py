"""Joining predictions and truth: what meets, what is counted, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.evaluate.expressions import compute_label
from seamline.evaluate.join import join_predictions
from seamline.evaluate.spec import EvaluationSpec

Scores = Callable[..., pl.DataFrame]
SPEC = EvaluationSpec(("ds", "flight"), "arr_delay > 15", "score", slices=("hour",))


def test_counts_what_has_no_label_no_truth_and_no_prediction(
    truth: pl.DataFrame, scores: Scores
) -> None:
    predictions = scores(truth)
    stray = predictions.head(2).with_columns(flight=pl.lit(9999, pl.Int64) + pl.int_range(2))
    joined = join_predictions(pl.concat([predictions, stray]), truth.slice(10), SPEC)
    unlabelled = truth.slice(10)["arr_delay"].null_count()
    assert joined.counts.no_truth == 12
    assert joined.counts.no_label == unlabelled
    assert joined.counts.used == truth.height - 10 - unlabelled == len(joined.labels)
    assert joined.counts.not_predicted == 0
    assert set(joined.labels.unique()) == {0.0, 1.0}
    assert joined.blocks.n_unique() == 31
    assert joined.column("hour", "there is").dtype == pl.Int64


def test_labelled_rows_that_were_left_out_are_counted(truth: pl.DataFrame, scores: Scores) -> None:
    kept = scores(truth).filter(pl.col("flight") > 3)
    left_out = truth.filter(pl.col("flight") <= 3, pl.col("arr_delay").is_not_null()).height
    assert join_predictions(kept, truth, SPEC).counts.not_predicted == left_out


@pytest.mark.parametrize("side", ["predictions", "truth"])
def test_repeated_keys_are_refused_with_examples(
    truth: pl.DataFrame, scores: Scores, side: str
) -> None:
    predictions = scores(truth)
    if side == "truth":
        truth = pl.concat([truth, truth.head(2)])
    else:
        predictions = pl.concat([predictions, predictions.head(2)])
    with pytest.raises(InvalidInput, match=rf"2 keys .* {side}.*\(ds=2013-07-01, flight=0\)"):
        join_predictions(predictions, truth, SPEC)


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_a_labelled_row_without_a_finite_prediction_is_refused(
    truth: pl.DataFrame, scores: Scores, bad: float | None
) -> None:
    hole = pl.when(pl.col("flight") == 7).then(pl.lit(bad)).otherwise("score").alias("score")
    with pytest.raises(InvalidInput, match=r"31 of .* have no finite prediction"):
        join_predictions(scores(truth).with_columns(hole), truth, SPEC)


def test_keys_meet_across_widths_and_text(truth: pl.DataFrame, scores: Scores) -> None:
    predictions = scores(truth).with_columns(
        pl.col("ds").cast(pl.String), pl.col("flight").cast(pl.Int16)
    )
    assert join_predictions(predictions, truth, SPEC).counts.no_truth == 0
    floats = predictions.with_columns(pl.col("flight").cast(pl.Float64))
    with pytest.raises(InvalidInput, match="Key 'flight' is Float64 in the predictions"):
        join_predictions(floats, truth, SPEC)


def test_nothing_in_common_is_refused(truth: pl.DataFrame, scores: Scores) -> None:
    other = scores(truth).with_columns(pl.col("flight") + 100_000)
    with pytest.raises(InvalidInput, match="None of 3,720 predictions meets"):
        join_predictions(other, truth, SPEC)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (EvaluationSpec(("ds", "fligth"), "arr_delay > 15", "score"), "Did you mean flight"),
        (EvaluationSpec(("ds", "flight"), "arr_delay > 15", "skore"), "Did you mean score"),
        (
            EvaluationSpec(("ds", "flight"), "arr_delay > 15", "score", block="day"),
            "no column 'day'",
        ),
    ],
)
def test_unknown_columns_name_the_nearest(
    truth: pl.DataFrame, scores: Scores, spec: EvaluationSpec, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        join_predictions(scores(truth), truth, spec)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("arr_delay >", "unable to parse"),
        ("arr_delay > 15; DROP TABLE x", "unexpected token"),
        ("avg(arr_delay)", "gives 1 values"),
        ("1", "names no column"),
        ("COLUMNS('.*')", "names no column"),
        ("(SELECT count(*) FROM read_csv('/etc/passwd'))", "a query is not an expression"),
        ("arr_dely > 15", "Did you mean arr_delay"),
        ("dest > 15", "Label 'dest > 15'"),
        ("nosuch(arr_delay)", "unsupported function"),
        # Tens of thousands of terms would end the process.
        (f"arr_delay {'+1' * 1000}", "has 2,010 characters; 2,000 are the most"),
    ],
)
def test_labels_that_are_no_row_expression(
    truth: pl.DataFrame, expression: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        compute_label(truth, expression)


def test_label_may_be_any_sql_expression(truth: pl.DataFrame) -> None:
    text = "CASE WHEN dest = 'select' THEN NULL WHEN arr_delay > 15 THEN 1 ELSE 0 END"
    assert compute_label(truth, text).sum() == (truth["arr_delay"] > 15).sum()


def test_text_labels_are_refused(truth: pl.DataFrame, scores: Scores) -> None:
    spec = EvaluationSpec(("ds", "flight"), "dest", "score")
    with pytest.raises(InvalidInput, match="label is String"):
        join_predictions(scores(truth), truth, spec)


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)))
def test_join_does_not_depend_on_order_and_counts_add_up(
    order: list[int], predicted: set[int], known: set[int]
) -> None:
    predictions = pl.DataFrame(
        {"id": [i for i in order if i in predicted]}, schema={"id": pl.Int64}
    ).with_columns(score=pl.col("id") / 16)
    truth = pl.DataFrame({"id": sorted(known)}, schema={"id": pl.Int64}).with_columns(
        y=pl.when(pl.col("id") % 3 > 0).then(pl.col("id") % 2), ds=pl.lit("2013-07-01")
    )
    spec = EvaluationSpec(("id",), "y", "score")
    expected = sorted(i for i in predicted & known if i % 3)
    if not expected:
        with pytest.raises(InvalidInput):
            join_predictions(predictions, truth, spec)
        return
    joined = join_predictions(predictions, truth, spec)
    assert joined.frame["id"].to_list() == expected
    assert joined.predictions.to_list() == [i / 16 for i in expected]
    counts = joined.counts
    assert counts.predictions == counts.no_truth + counts.no_label + counts.used
    assert counts.not_predicted == sum(1 for i in known - predicted if i % 3)
