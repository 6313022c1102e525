"""Tables as they come: columns of every type, keys of any width, numbers of any size."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from seamline.domain.errors import InvalidInput
from seamline.evaluate.evaluate import EvaluationResult, evaluate_predictions
from seamline.evaluate.spec import EvaluationSpec
from seamline.measure.evaluation.vocabulary import Task

N = 600
DAYS = [date(2026, 1, 1) + timedelta(days=n % 20) for n in range(N)]


def cycle(*values: Any, dtype: Any = None) -> pl.Series:
    return pl.Series([values[n % len(values)] for n in range(N)], dtype=dtype)


#: Column → its slices.
NAMED: dict[str, tuple[pl.Series, list[str]]] = {
    "words": (cycle("ä", "日本", "a*b", ""), ["", "a*b", "ä", "日本"]),
    "gaps": (cycle(None, "x"), ["(missing)", "x"]),
    "booleans": (cycle(True, False), ["false", "true"]),
    "exact": (cycle(Decimal("0.25"), Decimal("1.5")), ["0.25", "1.50"]),
    "kinds": (cycle("b", "a", dtype=pl.Categorical), ["a", "b"]),
    "odd floats": (cycle(None, float("nan"), 1.5, float("inf")), ["(missing)", "1.5", "inf"]),
    "small": (cycle(-128, 127, dtype=pl.Int8), ["-128", "127"]),
    "wide": (cycle(2**63 + 1, 2**63 + 2, dtype=pl.UInt64), [str(2**63 + n) for n in (1, 2)]),
    "widest": (cycle(2**70, 5, dtype=pl.Int128), [str(2**70), "5"]),
    "zones": (
        cycle(datetime(2026, 3, 29, 1, tzinfo=UTC)).dt.convert_time_zone("Europe/Berlin"),
        ["2026-03-29 03:00:00.000000+02:00"],
    ),
    "clock": (cycle(time(5), time(17, 30)), ["05:00:00", "17:30:00"]),
    "nothing": (pl.Series([None] * N), ["(missing)"]),
}
NAMELESS = {
    "lists": cycle([1, 2], [3]),
    "records": cycle({"a": 1}),
    "bytes": cycle(b"\xff"),
    "spans": cycle(timedelta(hours=1)),
}


def judge(
    spec: dict[str, Any], y: Any, p: Any, *, key: Any = range(N), keys: Any = None, **columns: Any
) -> EvaluationResult:
    predictions = pl.DataFrame({"k": key, "p": p})
    truth = pl.DataFrame({"k": key if keys is None else keys, "y": y, "ds": DAYS, **columns})
    given = EvaluationSpec(keys=("k",), label="y", prediction="p", **{"min_rows": 1, **spec})
    return evaluate_predictions(predictions, truth, given)


LATE, SCORES = cycle(0, 1, 1), cycle(0.1, 0.9, 0.4, 0.6)


@pytest.mark.parametrize("column", sorted(NAMED))
def test_each_value_of_a_column_names_a_slice(column: str) -> None:
    values, names = NAMED[column]
    checks = ("auc >= 0.1", f'auc.worst_slice("{column}") >= 0.1')
    spec = {"slices": (column,), "checks": checks, "search": True}
    card = judge(spec, LATE, SCORES, **{column: values}).scorecard
    assert list(card.slices[column]) == names
    assert sum(one["auc"].n_rows for one in card.slices[column].values()) == N


@pytest.mark.parametrize("column", sorted(NAMELESS))
def test_values_without_a_name_are_refused_as_slices_and_blocks(column: str) -> None:
    more = {column: NAMELESS[column]}
    for spec in ({"slices": (column,)}, {"block": column}):
        with pytest.raises(InvalidInput, match=f"'{column}' is .*, whose values name no groups"):
            judge({**spec, "kind": Task.BINARY}, LATE, SCORES, **more)


def test_a_search_passes_over_what_has_no_names() -> None:
    """An embedding beside the score is no reason to judge nothing."""
    predictions = pl.DataFrame({"k": range(N), "p": SCORES, "part": cycle(1, 2), **NAMELESS})
    truth = pl.DataFrame({"k": range(N), "y": LATE, "ds": DAYS})
    spec = EvaluationSpec(("k",), "y", "p", kind=Task.BINARY, search=True)
    assert evaluate_predictions(predictions, truth, spec).scorecard.n_searched > 0


def test_keys_beyond_63_bits_meet() -> None:
    wide = [2**63 + n for n in range(N)]
    found = judge(
        {"kind": Task.BINARY},
        LATE,
        SCORES,
        key=pl.Series(wide, dtype=pl.UInt64),
        keys=pl.Series(wide, dtype=pl.Int128),
    )
    assert found.counts.used == N
    with pytest.raises(InvalidInput, match="None of 600 predictions meets a labelled row"):
        judge(
            {"kind": Task.BINARY}, LATE, SCORES, key=range(N), keys=pl.Series(wide, dtype=pl.UInt64)
        )


@pytest.mark.parametrize("size", [1e-300, 1e150, 1e200, 1e300])
def test_what_no_float_holds_has_no_interval_and_decides_nothing(size: float) -> None:
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(0, 1, N), rng.normal(0, 0.1, N)
    spec = {"kind": Task.REGRESSION, "slices": ("part",), "checks": ("mae <= 1", "rmse <= 1")}
    found = judge(spec, truth * size, (truth + noise) * size, part=cycle("a", "b"))
    json.dumps(found.scorecard.to_json(), allow_nan=False)
    mae, rmse = found.checks
    assert mae.value == pytest.approx(np.abs(noise).mean() * size)
    if size > 1e190:
        assert (mae.low, mae.verdict, rmse.value, rmse.verdict) == (
            None,
            "inconclusive",
            None,
            "inconclusive",
        )


@pytest.mark.parametrize(
    ("labels", "said"),
    [((1, 2), (1.0, 2.0)), ((1.0, 2.0), (1, 2)), ((Decimal("1.00"), Decimal("2.00")), ("1", "2"))],
)
def test_classes_are_the_same_as_integers_and_as_floats(labels: Any, said: Any) -> None:
    spec = {"kind": Task.MULTICLASS, "checks": ("accuracy >= 0.9",)}
    assert judge(spec, cycle(*labels), cycle(*said)).verdict == "pass"


def test_classes_that_are_spelled_otherwise_are_refused() -> None:
    """Every row wrong would read as a very bad model."""
    with pytest.raises(InvalidInput, match="No predicted class is one of the labels: 'False'"):
        judge({"kind": Task.MULTICLASS}, cycle(False, True), cycle("False", "True"))
