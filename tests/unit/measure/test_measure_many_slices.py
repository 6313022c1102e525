"""p-values, other levels and control over many slices: against SciPy, and among themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seamline.measure.evaluation.checks import Compare, parse_check
from seamline.measure.evaluation.deciding import decide_check
from seamline.measure.evaluation.estimates import Estimate
from seamline.measure.evaluation.evaluate import evaluate_binary
from seamline.measure.evaluation.intervals import at_tail, benjamini_hochberg, p_breaks
from seamline.measure.evaluation.student import t_quantile, t_tail


@given(st.floats(-60, 60), st.integers(1, 5000))
def test_tails_of_student_are_scipys(t: float, freedom: int) -> None:
    assert t_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-8, abs=1e-290)


@given(st.floats(1e-9, 0.5), st.integers(9, 5000))
def test_quantiles_of_student_are_scipys(tail: float, freedom: int) -> None:
    assert t_quantile(tail, freedom) == pytest.approx(
        stats.t.isf(tail, freedom), rel=1e-7, abs=1e-7
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.001, 0.5))
def test_discoveries_are_scipys(p_values: list[float], rate: float) -> None:
    found = benjamini_hochberg(np.array(p_values), rate)
    assert (found == (stats.false_discovery_control(p_values, method="bh") <= rate + 1e-15)).all()


@given(
    st.floats(-1, 1), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(-2, 2), st.floats(1e-6, 0.4)
)
def test_a_p_value_is_the_tail_whose_interval_just_breaks_the_limit(
    value: float, left: float, right: float, limit: float, tail: float
) -> None:
    estimate = Estimate(value, value - left, value + right, 900, 31)
    shown = at_tail(estimate, tail)
    for compare, breaks in ((">=", shown.high < limit), ("<=", shown.low > limit)):
        p = p_breaks(Compare(compare), limit, [estimate])[0]
        if abs(p - tail) > 1e-9:
            assert (p < tail) == breaks


def test_without_any_spread_the_limit_is_kept_or_broken_for_sure() -> None:
    still = Estimate(0.0, 0.0, 0.0, 900, 31)
    limits = {("<=", 0.0): 1, ("<", 0.0): 0, (">=", 0.1): 0, ("<=", 0.1): 1}
    for (compare, limit), p in limits.items():
        assert p_breaks(Compare(compare), limit, [still])[0] == p
    assert at_tail(still, 1e-4) == still


def test_what_only_rounding_tells_apart_breaks_no_limit() -> None:
    """The same scores in all hours but one: the sums differ in their last digit there, too."""
    rng = np.random.default_rng(3)
    hour, day = rng.integers(0, 12, 24_000), rng.integers(0, 30, 24_000)
    old = rng.uniform(0.1, 0.9, 24_000)
    late = rng.uniform(size=24_000) < old
    new = np.where(hour == 5, 1 - old, old)
    card = evaluate_binary(late, new, day, {"hour": hour}, incumbent_scores=old)
    same = card.slice_differences["incumbent"]["hour"]["7"]["brier"]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    text = "brier.drop_vs(incumbent).worst_slice(hour) <= 0"
    result = decide_check(parse_check(text), card)
    assert (result.verdict, result.failing) == ("fail", ("5",))
