"""Checks: grammar, errors that point, verdicts on bounds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from seamline.domain.errors import InvalidInput
from seamline.domain.states import Verdict
from seamline.measure.evaluation.check_rules import CheckResult
from seamline.measure.evaluation.checks import Check, parse_check
from seamline.measure.evaluation.deciding import decide_check
from seamline.measure.evaluation.estimates import Estimate
from seamline.measure.evaluation.evaluate import evaluate_binary, evaluate_regression
from seamline.measure.evaluation.scorecard import Scorecard


@pytest.fixture(scope="module")
def card() -> Scorecard:
    """A regression with known intervals, in place of measured ones."""
    days = np.repeat(np.arange(12), 25)
    hours = np.tile(np.arange(25), 12)
    made = evaluate_regression(
        np.zeros(300), np.ones(300), days, {"hour": hours % 5, "thin": hours}, baseline=3.0
    )
    mae = Estimate(10.0, 9.0, 11.0, 300, 12)
    bias = Estimate(-1.0, -3.0, 2.0, 300, 12)
    slices = {
        str(hour): {"mae": replace(mae, value=8.0 + hour, low=7.5 + hour, high=8.5 + hour)}
        for hour in range(5)
    }
    slices["9"] = {"mae": replace(mae, value=99.0, low=None, high=None, n_rows=7)}
    thin = {"0": {"mae": Estimate(1.0, None, None, 12, 12)}}
    return replace(
        made,
        overall={"mae": mae, "bias": bias},
        slices={"hour": slices, "thin": thin},
        differences={"baseline": {"mae": Estimate(-2.0, -3.0, -1.0, 300, 12)}},
    )


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("mae <= 11", "pass"),
        ("mae < 11", "inconclusive"),
        ("mae <= 10.5", "inconclusive"),
        ("mae <= 8.9", "fail"),
        ("mae >= 9", "pass"),
        ("mae.vs(baseline) <= -0.5", "pass"),
        ("mae.drop_vs(baseline) <= 0", "pass"),
        ("mae.vs(baseline) <= -1.5", "inconclusive"),
        ("bias.abs <= 3", "pass"),
        ("bias.abs<=2.9", "inconclusive"),
        ("bias.abs > -1e-3", "pass"),
        ("mae.worst_slice(hour) <= 12.6", "pass"),
        ("mae.worst_slice(hour) <= 12.4", "inconclusive"),
        ("mae.worst_slice(hour) <= 10", "fail"),
        ("mae.worst_slice(thin) <= 10", "inconclusive"),
        ("mae.vs(incumbent) <= 0", "error"),
        ("auc >= 0.7", "error"),
        ("mae.worst_slice(huor) <= 1", "error"),
        ("auc.worst_slice(hour) >= 0.5", "error"),
    ],
)
def test_verdicts_are_decided_on_the_bound(card: Scorecard, text: str, verdict: str) -> None:
    result = decide_check(parse_check(text), card)
    assert result.verdict == verdict, result.sentence
    again = CheckResult.from_json(json.loads(json.dumps(result.to_json(), allow_nan=False)))
    assert again == result


def test_sentences_say_what_was_measured_and_why(card: Scorecard) -> None:
    def say(text: str) -> str:
        return decide_check(parse_check(text), card).sentence

    assert say("mae <= 10.5") == (
        "mae <= 10.5: inconclusive; 10 [9, 11] (n 300 in 12 blocks): the 95% interval has inside "
        "it the limit 10.5."
    )
    assert "worst slice hour=4: 12 [" in say("mae.worst_slice(hour) <= 10")
    assert "1 of 6 slices have too few rows to judge" in say("mae.worst_slice(hour) <= 10")
    assert "no slice of thin has 200 rows in 10 blocks" in say("mae.worst_slice(thin) <= 10")
    assert "had no incumbent to compare with" in say("mae.vs(incumbent) <= 0")
    assert "a regression evaluation has no auc. Known: bias, mae" in say("auc >= 0.7")
    assert "no slice column 'huor'. Did you mean hour?" in say("mae.worst_slice(huor) <= 1")


def test_a_slice_of_many_that_is_not_found_is_neither_kept_nor_broken(card: Scorecard) -> None:
    """Its own interval breaks the limit, the one corrected for five slices does not."""
    result = decide_check(parse_check("mae.worst_slice(hour) <= 11.45"), card)
    assert (result.verdict, result.low < 11.45 < result.high) == (Verdict.INCONCLUSIVE, True)
    assert "corrected for 5 slices, has inside it the limit 11.45" in result.sentence


def test_drop_is_how_much_worse_for_metrics_of_either_direction() -> None:
    rng = np.random.default_rng(1)
    days = np.repeat(np.arange(20), 100)
    scores = rng.uniform(size=2000)
    labels = rng.uniform(size=2000) < scores
    worse = np.clip(scores + rng.normal(0, 0.5, 2000), 0, 1)
    card = evaluate_binary(labels, worse, days, incumbent_scores=scores)
    for metric in ("auc", "brier"):
        drop = decide_check(parse_check(f"{metric}.drop_vs(incumbent) <= 0"), card)
        assert drop.verdict is Verdict.FAIL and 0 < drop.low < drop.value < drop.high
    assert decide_check(parse_check("auc.vs(incumbent) < 0"), card).verdict is Verdict.PASS
    same = evaluate_binary(labels, scores, days, incumbent_scores=scores)
    for text in ("auc.drop_vs(incumbent) <= 0", "brier.drop_vs(incumbent) <= 0"):
        assert decide_check(parse_check(text), same).verdict is Verdict.PASS


def test_few_blocks_are_inconclusive_and_say_so() -> None:
    card = evaluate_regression(np.zeros(900), np.ones(900), np.repeat(np.arange(9), 100))
    result = decide_check(parse_check("mae <= 5"), card)
    assert result.verdict is Verdict.INCONCLUSIVE and result.value == 1.0
    assert "too few blocks; 10 blocks are needed" in result.sentence
    one_class = evaluate_binary(np.zeros(400), np.full(400, 0.2), np.repeat(np.arange(20), 20))
    undefined = decide_check(parse_check("auc >= 0.5"), one_class)
    assert undefined.verdict is Verdict.INCONCLUSIVE and "not defined" in undefined.sentence


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("", 1, "expected a metric, found the end"),
        ("maee <= 1", 1, "no metric 'maee'. Did you mean mae?"),
        ("auc ≥ 0.7", 5, "'≥' is not understood"),
        ("auc >= high", 8, "expected a number, found 'high'"),
        ("auc 0.7", 5, "expected a comparison, found '0.7'"),
        ("auc >= 0.7 0.8", 12, "expected the end of the check, found '0.8'"),
        ("auc.drop(incumbent) <= 0", 5, "no step 'drop'. Did you mean drop_vs?"),
        ("auc.vs(incumbnt) <= 0", 8, "no rival 'incumbnt'. Did you mean incumbent?"),
        ("auc.vs incumbent <= 0", 8, "expected '(', found 'incumbent'"),
        ("auc.vs(incumbent <= 0", 18, "expected ')', found '<='"),
        ("auc.abs.abs <= 0", 9, "abs is there twice"),
        ("bias.drop_vs(incumbent) <= 0", 6, "bias has no better direction. Write bias.vs(…)"),
        ("mae.gap(hour).vs(baseline) <= 0", 15, "a gap stands alone"),
        ("mae.gap(hour).worst_slice(hour) <= 0", 15, "worst_slice is there twice"),
        ("mae.in(hour) <= 0", 12, "expected ',', found ')'"),
        ("mae.worst_slice(<) <= 0", 17, "expected a slice column, found '<'"),
        ("auc@0.5 >= 0.7", 4, "auc takes no '@'. It takes nothing"),
        ("recall@high >= 0.7", 8, "expected a number, found 'high'"),
        ("ndcg[5] >= 0.7", 5, "ndcg takes no '['. It takes a depth: @10"),
        ("f1[ >= 0.7", 5, "expected a class or a quantile, found '>='"),
        ("auc => 0.7", 5, "'=' is not understood. Write one of >=, <=, >, <"),
        ("auc >= 1e999", 8, "1e999 is more than a float holds"),
        ("f1@10 >= 0.7", 4, "10 is no threshold from 0 to 1"),
        ("ndcg >= 0.7", 1, "ndcg stands with a depth. Write it as ndcg@10"),
        ("ndcg@2.5 >= 0.7", 6, "2.5 is no depth (1, 2, …)"),
        ("recall@1.5 >= 0.7", 8, "1.5 is no threshold from 0 to 1 and no depth"),
        ("pinball[1.5] <= 2", 9, "1.5 is no quantile"),
    ],
)
def test_errors_point_at_the_character(text: str, at: int, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_check(text)
    assert f"character {at}: " in str(caught.value) and words in str(caught.value)
    assert str(caught.value).endswith(f"\n    {text}\n    {' ' * (at - 1)}^")


@pytest.mark.parametrize(
    ("text", "metric", "column", "value"),
    [
        ("ndcg@10.worst_slice(country*device) >= 0.3", "ndcg@10", "country*device", None),
        ("recall@.350.in(hour, 5) >= 0.5", "recall@0.35", "hour", "5"),
        ("f1[UA].in(origin*hour, JFK*5) >= 0.5", "f1[UA]", "origin*hour", "JFK*5"),
        ("f1['not late'].gap(\"the day\") <= 1.", "f1[not late]", "the day", None),
        ("pinball[0.9] . in ( 'ds' , '2013-07-01' ) <= 1e1", "pinball[0.9]", "ds", "2013-07-01"),
        ("cost.worst_slice(hour) <= 10", "cost", "hour", None),
        ("pinball[.90].worst_slice(hour) <= 10", "pinball[0.9]", "hour", None),
    ],
)
def test_metrics_take_parameters_and_slices_values(
    text: str, metric: str, column: str, value: str | None
) -> None:
    check = parse_check(text, {"cost": False})
    assert (check.metric, check.slice, check.slice_value) == (metric, column, value)
    assert Check.from_json(json.loads(json.dumps(check.to_json()))) == check


def test_blanks_do_not_matter_and_checks_survive_json() -> None:
    check = parse_check("  mae . vs( baseline )<=-5e-1 ")
    assert (check.metric, check.rival, check.limit) == ("mae", "baseline", -0.5)
    assert Check.from_json(check.to_json()) == check
