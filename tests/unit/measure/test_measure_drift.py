"""Drift: planted changes are found, days that merely differ are not."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon

from seamline.domain.errors import InvalidInput
from seamline.domain.states import Verdict
from seamline.measure.basis import Basis, make_basis
from seamline.measure.drift import (
    ColumnDrift,
    ValueChange,
    compare_profiles,
    jensen_shannon,
    population_stability,
)
from seamline.measure.drift_rules import DriftVerdict, benjamini_hochberg, decide_drift
from seamline.measure.profiles import Profile, profile_frame, profile_partitions, sum_profiles

N_DAYS = 40


def _day(rng: np.random.Generator, rows: int, *, wander: float, shift: float = 0.0) -> pl.DataFrame:
    """One day: `x` has a level of its own each day, `y` and `carrier` do not."""
    level = rng.normal(0, wander) + shift
    return pl.DataFrame(
        {
            "x": rng.normal(level, 1, rows),
            "y": rng.normal(0, 1, rows),
            "carrier": rng.choice(["UA", "DL", "B6"], rows, p=[0.5, 0.3, 0.2]),
        }
    )


@pytest.fixture(scope="module")
def history() -> tuple[Basis, list[Profile], Profile]:
    rng = np.random.default_rng(7)
    frame = pl.concat(
        _day(rng, 300, wander=0.5).with_columns(day=pl.lit(f"d{i:02d}")) for i in range(N_DAYS)
    )
    basis = make_basis(frame.drop("day"))
    days = list(profile_partitions(frame, basis, "day").values())
    return basis, days, sum_profiles(days)


def test_new_and_gone_values_are_named_with_their_counts() -> None:
    before = pl.DataFrame(
        {"x": [1.0, 2.0, 3.0] * 4, "c": ["a", "b", "c"] * 4, "id": [f"{i}" for i in range(12)]}
    )
    basis = make_basis(before)
    after = before.with_columns(
        x=pl.Series([-9999.0] * 3 + [77.0] + [1.0] * 8), c=pl.Series(["z"] * 5 + ["y"] + ["a"] * 6)
    )
    reference = profile_frame(before, basis)
    drifts = compare_profiles(reference, profile_frame(after, basis))
    x, c, ids = drifts
    assert x.new == (ValueChange("-9999", 0, 3),)  # 77 does not repeat
    assert c.new == (ValueChange("z", 0, 5), ValueChange("y", 0, 1))
    assert c.gone == (ValueChange("b", 4, 0), ValueChange("c", 4, 0))
    assert (ids.new, ids.gone) == ((), ())
    assert "new: 'z' ×5, 'y' ×1" in c.sentence()
    again = [ColumnDrift.from_json(json.loads(json.dumps(one.to_json()))) for one in drifts]
    assert again == drifts
    assert all(one.new == one.gone == () for one in compare_profiles(reference, reference))


def test_a_value_is_new_only_if_it_was_surely_not_there() -> None:
    """The sketch of a column with very many values knows some of them only."""
    frame = pl.DataFrame({"c": [f"w{i}" for i in range(5000)] * 3})
    basis = make_basis(pl.DataFrame({"c": ["other"]}))
    reference = profile_frame(frame, basis)
    half = profile_frame(frame.sample(fraction=0.5, seed=1), basis)
    (found,) = compare_profiles(reference, half)
    assert found.new == ()
    kept = set(frame.sample(fraction=0.5, seed=1)["c"])
    assert all(change.value not in kept for change in found.gone)


def test_drift_recorded_by_an_earlier_version_reads() -> None:
    basis = make_basis(pl.DataFrame({"c": ["a"]}))
    profile = profile_frame(pl.DataFrame({"c": ["a"]}), basis)
    (drift,) = compare_profiles(profile, profile)
    stored = {name: one for name, one in drift.to_json().items() if name not in ("new", "gone")}
    assert ColumnDrift.from_json(stored) == drift


def test_a_day_that_differs_as_days_do_is_no_drift(history) -> None:
    basis, days, reference = history
    rng = np.random.default_rng(11)
    found = 0
    for _ in range(20):
        window = profile_frame(_day(rng, 300, wander=0.5), basis)
        verdict = decide_drift(reference, window, day_profiles=days)
        found += verdict.verdict is Verdict.FAIL
    assert found <= 1


def test_the_same_psi_without_wandering_days_is_drift(history) -> None:
    basis, days, reference = history
    window = profile_frame(_day(np.random.default_rng(1), 300, wander=0.0, shift=3.0), basis)
    verdict = decide_drift(reference, window, day_profiles=days)
    assert verdict.verdict is Verdict.FAIL and verdict.drifted == ["x"]
    assert "1 of 3 columns drifted: x" in verdict.sentence()
    again = DriftVerdict.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False)))
    assert again == verdict
    assert decide_drift(reference, window, day_profiles=days) == verdict


def test_small_windows_are_compared_with_small_windows(history) -> None:
    """30 rows have a PSI beyond the threshold by chance alone."""
    basis, days, reference = history
    rng = np.random.default_rng(3)
    windows = [profile_frame(_day(rng, 30, wander=0.0), basis) for _ in range(10)]
    psi = [compare_profiles(reference, window)[1].psi for window in windows]
    assert max(psi) > 0.2
    verdicts = [decide_drift(reference, window, day_profiles=days) for window in windows]
    assert sum("y" in verdict.drifted for verdict in verdicts) <= 1


def test_fewer_than_ten_days_are_inconclusive(history) -> None:
    basis, days, reference = history
    window = profile_frame(_day(np.random.default_rng(1), 300, wander=0, shift=9), basis)
    for given in (days[:9], None):
        verdict = decide_drift(reference, window, day_profiles=given)
        assert verdict.verdict is Verdict.INCONCLUSIVE and not verdict.drifted
        assert "10 are needed" in verdict.sentence()
    empty = profile_frame(pl.DataFrame({"x": [], "y": [], "carrier": []}), basis)
    assert decide_drift(reference, empty, day_profiles=days).verdict is Verdict.INCONCLUSIVE
    assert compare_profiles(reference, empty)[0].psi is None


def test_missing_new_and_collapsed_values_are_named(history) -> None:
    basis, days, reference = history
    rng = np.random.default_rng(5)
    window = _day(rng, 400, wander=0.0).with_columns(
        x=pl.when(pl.int_range(400) < 200).then(pl.col("x")),
        y=pl.lit(0.0),
        carrier=pl.lit("ZZ"),
    )
    x, y, carrier = compare_profiles(reference, profile_frame(window, basis))
    assert (x.missing_before, x.missing_after) == (0.0, 0.5)
    assert y.collapsed_to == "0" and "all values are now 0" in y.sentence()
    assert carrier.new_values == 1.0 and carrier.js == 1.0
    verdict = decide_drift(reference, profile_frame(window, basis), day_profiles=days)
    assert verdict.drifted == ["x", "y", "carrier"]


def test_times_are_compared_only_when_asked_for() -> None:
    frame = pl.DataFrame({"t": pl.Series([1, 2, 3]).cast(pl.Datetime("us")), "x": [1, 2, 3]})
    profile = profile_frame(frame, make_basis(frame))
    assert [d.column for d in compare_profiles(profile, profile)] == ["x"]
    assert [d.column for d in compare_profiles(profile, profile, ["t"])] == ["t"]


def test_other_bases_are_refused(history) -> None:
    _, days, reference = history
    frame = pl.DataFrame({"x": [1.0, 2.0]})
    other = profile_frame(frame, make_basis(frame))
    with pytest.raises(InvalidInput, match="different bases"):
        compare_profiles(reference, other)
    with pytest.raises(InvalidInput, match="another basis"):
        decide_drift(reference, reference, day_profiles=[*days, other])
    part = profile_frame(frame, days[0].basis)
    with pytest.raises(InvalidInput, match="lacks carrier, y"):
        decide_drift(reference, reference, day_profiles=[*days, part])


def test_psi_grows_with_the_change_and_jensen_shannon_agrees_with_scipy() -> None:
    rng = np.random.default_rng(1)
    p, q = rng.integers(1, 100, 12).astype(float), rng.integers(0, 100, 12).astype(float)
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-12)
    shares, other = p / p.sum(), (q + 1) / (q + 1).sum()
    exact = ((other - shares) * np.log(other / shares)).sum()
    big = population_stability(p * 1e9, (q + 1) / (q + 1).sum() * p.sum() * 1e9)
    assert big == pytest.approx(exact, rel=1e-6)
    assert np.isnan(population_stability(p, np.zeros(12)))


def test_benjamini_hochberg_rejects_none_of_none() -> None:
    assert benjamini_hochberg([], 0.05).tolist() == []
    assert benjamini_hochberg([0.9, 0.8], 0.05).tolist() == [False, False]
