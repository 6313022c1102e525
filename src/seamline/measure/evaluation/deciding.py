"""Decide a check, of whichever form, on a scorecard. No row is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from seamline.domain.states import Verdict
from seamline.measure.evaluation.check_rules import (
    CheckResult,
    decide_interval,
    find_estimates,
    fold,
    make_error,
    make_result,
    no_metric,
    no_slice,
    say_why,
    transform,
    turn,
)
from seamline.measure.evaluation.checks import Check, Compare, Over
from seamline.measure.evaluation.estimates import MIN_BLOCKS, Estimate
from seamline.measure.evaluation.intervals import at_tail, benjamini_hochberg, p_breaks
from seamline.measure.evaluation.scorecard import Scorecard, Sliced
from seamline.measure.exact import Floats

#: How many failing slices are named.
NAMED = 5


def decide_check(check: Check, card: Scorecard) -> CheckResult:
    """Pass, fail and inconclusive on the bound; error where the scorecard has no such thing."""
    if check.over is Over.WORST:
        return _decide_slices(check, card)
    if check.over is Over.GAP:
        return _decide_gap(check, card)
    source = find_estimates(check, card)
    if isinstance(source, str):
        return make_error(check, source)
    if check.metric not in source:
        return make_error(check, no_metric(check, card))
    estimate = transform(check, source[check.metric])
    return make_result(check, decide_interval(check, estimate), estimate, say_why(check, estimate))


def _decide_gap(check: Check, card: Scorecard) -> CheckResult:
    column = str(check.slice)
    if column not in card.slices:
        return make_error(check, no_slice(column, card.slices))
    if check.metric not in card.overall:
        return make_error(check, no_metric(check, card))
    gap = card.gaps.get(column, {}).get(check.metric)
    if gap is None:
        few = f"fewer than two slices of {column} have {card.min_rows} rows in {MIN_BLOCKS} blocks"
        nothing = Estimate(None, None, None, card.n_rows, card.n_blocks, card.confidence)
        return make_result(check, Verdict.INCONCLUSIVE, nothing, few)
    return make_result(check, decide_interval(check, gap), gap, say_why(check, gap))


def _decide_slices(check: Check, card: Scorecard) -> CheckResult:
    """Fail: the slices that break the limit, at a false share of alpha among them at most. Pass:
    the bound of every slice keeps it."""
    column = str(check.slice)
    if check.rival is not None and check.rival not in card.differences:
        return make_error(check, f"the evaluation had no {check.rival} to compare with")
    sliced: Sliced = (
        card.slices if check.rival is None else card.slice_differences.get(check.rival, {})
    )
    if column not in sliced:
        return make_error(check, no_slice(column, sliced))
    if check.metric not in card.overall:
        return make_error(check, no_metric(check, card))
    found = {value: turn(check, metrics[check.metric]) for value, metrics in sliced[column].items()}
    clear = {value: estimate for value, estimate in found.items() if estimate.is_conclusive}
    if not clear:
        few = f"no slice of {column} has {card.min_rows} rows in {MIN_BLOCKS} blocks"
        most = max(found.values(), key=lambda estimate: estimate.n_rows)
        unclear = replace(most, value=None, low=None, high=None)
        return make_result(check, Verdict.INCONCLUSIVE, unclear, few)
    unheard = len(found) - len(clear)
    rest = f"; {unheard} of {len(found)} slices have too few rows to judge" if unheard else ""
    return _fail_slices(check, clear, rest) or _pass_slices(check, clear, rest)


def _fail_slices(check: Check, clear: dict[str, Estimate], rest: str) -> CheckResult | None:
    """The interval shown is that of a slice picked for being bad: as many as were found of all
    that were looked at (Benjamini and Yekutieli 2005), so it breaks the limit exactly where the
    slice was found."""
    shown = _find_failing(check, clear)
    if not shown:
        return None
    failing, worst = list(shown), _worst(check, shown)
    why = _say_worst(check, worst, shown[worst], clear)
    if len(failing) > 1:
        more = ", …" if len(failing) > NAMED else ""
        why += f"; {len(failing)} of {len(clear)} break it: {', '.join(failing[:NAMED])}{more}"
    more_said = {"n_slices": len(clear), "failing": tuple(failing)}
    return make_result(check, Verdict.FAIL, shown[worst], why + rest, **more_said)


def _is_open(check: Check, estimate: Estimate) -> bool:
    """Whether chance could decide it: a slice where two models say the same keeps its limit."""
    is_still = estimate.low == estimate.high
    return not is_still or decide_interval(check, _folded(check, estimate)) is Verdict.FAIL


def _pass_slices(check: Check, clear: dict[str, Estimate], rest: str) -> CheckResult:
    """By each slice's own interval, uncorrected: to let by one that breaks the limit, that slice's
    own bound has to err, however many others there are (intersection-union, Berger 1982). What
    stays open is shown as widely as it was asked."""
    own = {name: _folded(check, one) for name, one in clear.items()}
    still_open = [n for n, one in own.items() if decide_interval(check, one) is not Verdict.PASS]
    if not still_open:
        worst = _worst(check, own)
        why = f"worst slice {check.slice}={worst}: {say_why(check, own[worst])}"
        return make_result(check, Verdict.PASS, own[worst], why + rest, n_slices=len(clear))
    n_asked = sum(_is_open(check, one) for one in clear.values())
    shown = {
        name: _folded(check, at_tail(clear[name], (1 - clear[name].confidence) / 2 / n_asked))
        for name in still_open
    }
    worst = _worst(check, shown)
    why = _say_worst(check, worst, shown[worst], clear)
    return make_result(check, Verdict.INCONCLUSIVE, shown[worst], why + rest, n_slices=len(clear))


def _find_failing(check: Check, clear: Mapping[str, Estimate]) -> dict[str, Estimate]:
    moving = {name: one for name, one in clear.items() if _is_open(check, one)}
    if not moving:
        return {}
    names, estimates = list(moving), list(moving.values())
    tail = (1 - estimates[0].confidence) / 2
    p = _p_values(check, estimates)
    is_failing = benjamini_hochberg(p, tail)
    failing = [names[i] for i in np.argsort(p, kind="stable") if is_failing[i]]
    share = tail * len(failing) / len(moving)
    return {name: _folded(check, at_tail(clear[name], share)) for name in failing}


def find_failing(check: Check, card: Scorecard) -> tuple[dict[str, Estimate], list[str]]:
    """The slices that break the limit of a check over the worst of them, the surest first, each by
    its interval as that check corrects it; and the slices that have enough rows to be asked."""
    sliced = card.slices if check.rival is None else card.slice_differences.get(check.rival, {})
    clear = {
        name: turn(check, one[check.metric])
        for name, one in sliced.get(str(check.slice), {}).items()
        if check.metric in one and one[check.metric].is_conclusive
    }
    return _find_failing(check, clear), list(clear)


def _worst(check: Check, shown: dict[str, Estimate]) -> str:
    sign = 1.0 if check.compare.wants_more else -1.0
    return min(shown, key=lambda name: sign * (shown[name].value or 0.0))


def _say_worst(check: Check, worst: str, shown: Estimate, clear: dict[str, Estimate]) -> str:
    corrected = f", corrected for {len(clear)} slices," if len(clear) > 1 else ""
    return f"worst slice {check.slice}={worst}: {say_why(check, shown, corrected)}"


def _folded(check: Check, estimate: Estimate) -> Estimate:
    return fold(estimate) if check.absolute else estimate


def _p_values(check: Check, estimates: list[Estimate]) -> Floats:
    """For a distance from zero either side may break an upper limit, and both must a lower."""
    if not check.absolute:
        return p_breaks(check.compare, check.limit, estimates)
    is_strict = check.compare in (Compare.ABOVE, Compare.BELOW)
    if check.compare.wants_more:
        above = p_breaks(check.compare, check.limit, estimates)
        below = p_breaks(Compare.BELOW if is_strict else Compare.AT_MOST, -check.limit, estimates)
        return np.maximum(above, below)
    upper = p_breaks(check.compare, check.limit, estimates)
    lower = p_breaks(Compare.ABOVE if is_strict else Compare.AT_LEAST, -check.limit, estimates)
    return np.minimum(upper, lower)
