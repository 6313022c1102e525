"""The search for the worst slices: it finds what was planted, says it once, and little else."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.measure.evaluation.cells import encode
from seamline.measure.evaluation.estimates import WorstSlice
from seamline.measure.evaluation.evaluate import evaluate_regression
from seamline.measure.evaluation.score import Settings
from seamline.measure.evaluation.search import search_binary, search_regression
from seamline.measure.evaluation.search_columns import read_columns

N = 40_000
FREE = Settings(min_rows=1)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "day": rng.integers(0, 60, N),
            "hour": rng.integers(0, 12, N),
            "origin": np.asarray(["EWR", "JFK", "LGA"])[rng.integers(0, 3, N)],
            "wind": rng.normal(size=N),
            "noise": rng.integers(0, 8, N),
            "score": rng.uniform(0.1, 0.9, N),
            "luck": rng.uniform(size=N),
        }
    ).with_columns(late=pl.col("luck") < pl.col("score"))


def _find(rows: pl.DataFrame, bad: pl.Expr) -> list[tuple[str, str, str, str]]:
    spoilt = rows.select(pl.when(bad).then(1 - pl.col("score")).otherwise("score")).to_series()
    columns = {name: rows[name] for name in ("hour", "origin", "wind", "noise")}
    found = search_binary(
        rows["late"], spoilt, rows["day"], columns, incumbent_scores=rows["score"]
    )
    assert found.n_searched > 400
    return [(one.slice, one.value, one.metric, one.against) for one in found.worst]


def test_nothing_is_found_where_nothing_is_wrong(rows: pl.DataFrame) -> None:
    assert _find(rows, pl.lit(value=False)) == []


def test_a_bad_hour_is_said_once_without_its_parts(rows: pl.DataFrame) -> None:
    assert _find(rows, pl.col("hour") == 7) == [("hour", "7", "brier", "incumbent")]


def test_a_bad_pair_is_found_beside_the_columns_that_it_spoils(rows: pl.DataFrame) -> None:
    found = _find(rows, (pl.col("hour") == 7) & (pl.col("origin") == "JFK"))
    assert found[0] == ("hour*origin", "7*JFK", "brier", "incumbent")
    assert set(found[1:]) <= {
        ("hour", "7", "brier", "incumbent"),
        ("origin", "JFK", "brier", "incumbent"),
    }


def test_scores_that_are_too_high_in_a_range_are_told_by_their_bias(rows: pl.DataFrame) -> None:
    high = rows["wind"] > 1.3
    scores = (rows["score"] + 0.1 * high).clip(0, 1)
    columns = {"wind": rows["wind"], "noise": rows["noise"]}
    found = search_binary(rows["late"], scores, rows["day"], columns)
    worst = found.worst[0]
    assert (worst.slice, worst.metric, worst.against) == ("wind", "calibration_bias", "overall")
    assert worst.value.endswith("inf)") and worst.excess.low > 0.05
    assert WorstSlice.from_json(json.loads(json.dumps(worst.to_json()))) == worst


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 4))
def test_each_slice_and_pair_is_what_brute_force_says(
    seed: int, n_hours: int, n_kinds: int
) -> None:
    """A planted error makes slices appear; what is said of them is counted row by row."""
    rng = np.random.default_rng(seed)
    day, hour = rng.integers(0, 20, 3000), rng.integers(0, n_hours, 3000)
    kind = rng.integers(0, n_kinds, 3000)
    error = np.abs(rng.normal(size=3000)) + 3 * ((hour == 1) & (kind == 0)) + (hour == 0)
    columns = {"hour": hour, "kind": kind}
    found = search_regression(np.zeros(3000), error, day, columns, settings=FREE)
    assert found.n_searched == n_hours + n_kinds + n_hours * n_kinds and found.worst
    for one in found.worst:
        values = dict(zip(one.slice.split("*"), one.value.split("*"), strict=True))
        picked = np.all([columns[name] == int(value) for name, value in values.items()], axis=0)
        assert one.value_there == pytest.approx(error[picked].mean())
        assert one.excess.value == pytest.approx(error[picked].mean() - error.mean())
        assert (one.excess.n_rows, one.excess.n_blocks) == (picked.sum(), len(set(day[picked])))
        kept = [(day != d) for d in range(20)]
        out = [error[picked & k].mean() - error[k].mean() for k in kept]
        spread = 19 / 20 * sum((one - np.mean(out)) ** 2 for one in out)
        assert one.excess.low < one.excess.value - 2 * spread**0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_intervals_of_slices_are_those_of_their_rows_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, day, hour = rng.normal(size=900), rng.integers(0, 15, 900), rng.integers(0, 3, 900)
    ours, theirs = truth + rng.normal(size=900), truth + rng.normal(size=900)
    card = evaluate_regression(truth, ours, day, {"hour": hour}, incumbent=theirs, settings=FREE)
    for value in range(3):
        part = hour == value
        alone = evaluate_regression(truth[part], ours[part], day[part], incumbent=theirs[part])
        for metric in ("mae", "rmse", "bias", "r2"):
            ours_here = card.slices["hour"][str(value)][metric]
            assert ours_here.low == pytest.approx(alone.overall[metric].low)
            apart = card.slice_differences["incumbent"]["hour"][str(value)][metric]
            assert apart.high == pytest.approx(alone.differences["incumbent"][metric].high)


def test_columns_of_a_search_have_few_values() -> None:
    wind = pl.Series([*np.linspace(0, 1, 5000).tolist(), None, float("nan")])
    words = [f"tail {i % 300}" for i in range(5002)]
    found = read_columns({"wind": wind, "tail": words, "hour": np.arange(5002) % 24}, 5002)
    assert len(found["wind"].names) == 11 and found["wind"].names[-1] == "(missing)"
    counts = np.bincount(found["wind"].codes)
    assert counts[-1] == 2 and abs(counts[:-1] - 500).max() <= 1
    assert len(found["tail"].names) == 40 and found["tail"].names[-1] == "(rest)"
    assert len(found["hour"].names) == 24


@pytest.mark.parametrize("values", [[1, None, 300], ["b", None, "a"], [0.5, float("nan"), 2.0]])
def test_labels_of_any_type_are_read_as_their_texts(values: list[object]) -> None:
    coded = encode(pl.Series(values), "slice")
    texts = ["(missing)" if v is None or v != v else str(v) for v in values]
    assert [coded.names[code] for code in coded.codes] == texts
    assert list(coded.names) == sorted(coded.names)


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=50))
def test_whole_numbers_are_read_as_their_texts(values: list[int]) -> None:
    coded = encode(np.asarray(values), "slice")
    assert [coded.names[code] for code in coded.codes] == [str(value) for value in values]
    assert list(coded.names) == sorted(coded.names)
