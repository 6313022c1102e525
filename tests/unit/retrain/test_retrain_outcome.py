"""Released only when it is better on the bound; kept otherwise, and the sentence says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.states import Verdict
from seamline.measure.evaluation.check_rules import CheckResult, decide_interval, transform
from seamline.measure.evaluation.checks import parse_check
from seamline.measure.evaluation.estimates import Estimate
from seamline.retrain.outcome import Comparison, decide_outcome
from seamline.retrain.phases import RetrainingPhase

AIR_TIME = Comparison("air-time", "1.0.1", "1.0.0", "November", "min")


def result(text: str, difference: Estimate) -> CheckResult:
    """As measure decides it, from candidate minus incumbent."""
    check = parse_check(text)
    found = transform(check, difference)
    bounds = (found.value, found.low, found.high)
    return CheckResult(check, decide_interval(check, found), *bounds, found.n_rows, text)


MAE = "mae.drop_vs(incumbent) <= 0"
AUC = "auc.drop_vs(incumbent) <= 0"


def test_better_is_released() -> None:
    found = decide_outcome([result(MAE, Estimate(-1.24, -1.4, -1.0, 26971, 30))], AIR_TIME)
    assert found.phase is RetrainingPhase.RELEASED
    assert found.sentence == (
        "air-time 1.0.1 is better: mae -1.24 min [-1.40, -1.00] against 1.0.0 "
        "on 26,971 rows of November"
    )


def test_worse_is_kept_back() -> None:
    found = decide_outcome([result(MAE, Estimate(2.81, 2.2, 3.4, 26971, 30))], AIR_TIME)
    assert found.phase is RetrainingPhase.KEPT
    assert found.sentence.startswith("air-time 1.0.1 would hurt: mae +2.8 min [+2.2, +3.4]")
    assert found.sentence.endswith("; 1.0.0 stays")


def test_a_drop_of_auc_is_told_as_candidate_minus_incumbent() -> None:
    found = decide_outcome([result(AUC, Estimate(-0.031, -0.042, -0.02, 900, 30))], AIR_TIME)
    assert found.phase is RetrainingPhase.KEPT
    assert "would hurt: auc -0.031 [-0.042, -0.020] against" in found.sentence


@pytest.mark.parametrize(
    "difference",
    [Estimate(-0.5, -1.4, 0.3, 900, 30), Estimate(-0.5, None, None, 900, 4)],
)
def test_inconclusive_is_kept_back(difference: Estimate) -> None:
    found = decide_outcome([result(MAE, difference)], AIR_TIME)
    assert found.phase is RetrainingPhase.KEPT
    assert "is not clearly better: mae -0.5" in found.sentence


def test_too_little_of_a_gain_is_kept_back() -> None:
    check = "mae.vs(incumbent) <= -2"
    found = decide_outcome([result(check, Estimate(-1.2, -1.4, -1.0, 900, 30))], AIR_TIME)
    assert found.phase is RetrainingPhase.KEPT
    assert "is not better by enough: mae -1.20 min [-1.40, -1.00]" in found.sentence


def test_one_of_several_that_fails_is_the_one_that_is_told() -> None:
    good = result(AUC, Estimate(0.03, 0.02, 0.04, 900, 30))
    bad = result("brier.drop_vs(incumbent) <= 0", Estimate(0.02, 0.01, 0.03, 900, 30))
    found = decide_outcome([good, bad], AIR_TIME)
    assert found.phase is RetrainingPhase.KEPT
    assert "brier +0.02" in found.sentence and "auc" not in found.sentence


def test_no_checks_keep_and_errors_decide_nothing() -> None:
    assert decide_outcome([], AIR_TIME).phase is RetrainingPhase.KEPT
    broken = CheckResult(parse_check(MAE), Verdict.ERROR, None, None, None, 0, "no incumbent")
    found = decide_outcome([broken], AIR_TIME)
    assert found.phase is RetrainingPhase.ERRORED and "no incumbent" in found.sentence


@given(st.floats(-10, 10), st.floats(0.001, 10), st.sampled_from([MAE, AUC]))
def test_released_exactly_when_the_whole_interval_is_no_worse(
    value: float, half: float, check: str
) -> None:
    low, high = value - half, value + half
    found = decide_outcome([result(check, Estimate(value, low, high, 900, 30))], AIR_TIME)
    no_worse = high <= 0 if check == MAE else low >= 0
    assert (found.phase is RetrainingPhase.RELEASED) == no_worse


def test_one_hour_that_is_worse_keeps_it_back_and_is_named() -> None:
    check = parse_check("brier.drop_vs(incumbent).worst_slice(hour) <= 0.01")
    better = result("brier.vs(incumbent) < 0", Estimate(-0.013, -0.024, -0.001, 26971, 30))
    hour = CheckResult(check, Verdict.FAIL, 0.016, 0.011, 0.021, 1200, "", failing=("5", "6"))
    found = decide_outcome([better, hour], AIR_TIME)
    assert found.phase is RetrainingPhase.KEPT
    assert found.sentence == (
        "air-time 1.0.1 would hurt: brier by hour (5, 6) +0.016 [+0.011, +0.021] against "
        "1.0.0 on 1,200 rows of November; 1.0.0 stays"
    )
