"""Which of several models in a window break a check by themselves. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import Any

from seamline.domain.states import Verdict
from seamline.measure.evaluation.checks import Check, Over
from seamline.measure.evaluation.deciding import find_failing
from seamline.measure.evaluation.estimates import Estimate
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.vocabulary import HIGHER_IS_BETTER, base_of
from seamline.measure.wording import block_word
from seamline.monitor.measurement import Measurement, MeasurementKind, say_estimate

#: The slice column that holds which model answered.
MODEL = "model"
#: So many models have a line of their own in a window, and so many are named in a sentence.
LINES, NAMED = 5, 3
#: Of so many slices the figures are kept.
KEPT = 20


@dataclass(frozen=True)
class Breaking:
    """The models that break a check's limit, the surest first, of those with enough rows; found as
    the check of the worst model finds them: at a false share of 2.5 % among them at most."""

    check: Check
    models: Mapping[str, Estimate]
    n_judged: int
    n_models: int

    def say(self) -> str:
        """
        >>> from seamline.measure.evaluation.checks import parse_check
        >>> found = Estimate(14.2, 13.1, 15.5, 812, 28)
        >>> Breaking(parse_check("mae <= 12"), {"air-jfk 1.0.2": found}, 480, 500).say()
        'Of 480 models 1 breaks the limit: air-jfk 1.0.2; 20 more have too few rows to judge.'
        """
        few = self.n_models - self.n_judged
        has = "has" if few == 1 else "have"
        rest = f"; {few:,} more {has} too few rows to judge" if few else ""
        if not self.n_judged:
            return f"None of {self.n_models:,} models has enough rows to be judged by itself."
        if not self.models:
            return f"Of {self.n_judged:,} models none surely breaks the limit{rest}."
        verb = "breaks" if len(self.models) == 1 else "break"
        named = ", ".join([*self.models][:NAMED]) + (", …" if len(self.models) > NAMED else "")
        return f"Of {self.n_judged:,} models {len(self.models):,} {verb} the limit: {named}{rest}."

    def to_json(self) -> dict[str, Any]:
        shown = {model: self.models[model].to_json() for model in [*self.models][:KEPT]}
        counts = {"n_models": self.n_models, "n_judged": self.n_judged}
        return {**counts, "n_breaking": len(self.models), "breaking": shown}


def find_breaking(
    card: Scorecard, checks: Sequence[Check], models: Collection[str]
) -> dict[str, Breaking]:
    """By the text of each check that asks of all rows; nothing where one model answered them.

    `models`: all of them; on the scorecard, hundreds of small ones may be one slice.
    """
    if len(models) < 2:
        return {}
    found = {}
    for check in checks:
        if check.over is None and check.metric in card.overall:
            each = replace(check, over=Over.WORST, slice=MODEL)
            failing, asked = find_failing(each, card)
            broken = {model: one for model, one in failing.items() if model in models}
            judged = sum(model in models for model in asked)
            found[check.text] = Breaking(check, broken, judged, len(models))
    return found


def measure_breaking(found: Mapping[str, Breaking], card: Scorecard) -> list[Measurement]:
    """A line for each of the worst models, with all checks that it breaks."""
    ranked = chain.from_iterable(zip_longest(*(one.models for one in found.values())))
    worst = list(dict.fromkeys(model for model in ranked if model is not None))[:LINES]
    return [_line(model, [one for one in found.values() if model in one.models], card)
            for model in worst]  # fmt: skip


def _line(model: str, broken: Sequence[Breaking], card: Scorecard) -> Measurement:
    unit = block_word(card.first_block)
    said = [
        f"{one.check.metric} {say_estimate(one.models[model], unit)} breaks {one.check.text}"
        for one in broken
    ]
    first = broken[0].models[model]
    return Measurement(
        MeasurementKind.MODEL,
        model,
        Verdict.FAIL,
        "; ".join(said),
        first.value,
        first.low,
        first.high,
        first.n_rows,
        first.n_blocks,
        detail={"checks": [one.check.text for one in broken]},
    )


def worst_slices(found: Mapping[str, Estimate], metric: str) -> list[str]:
    """
    >>> few = {"a": Estimate(0.6, None, None, 9, 2), "b": Estimate(0.5, None, None, 9, 2)}
    >>> worst_slices(few, "auc")
    ['a', 'b']
    """
    if len(found) <= KEPT:
        return list(found)
    better = HIGHER_IS_BETTER.get(base_of(metric))

    def place(name: str) -> tuple[bool, float]:
        one = found[name]
        if better is None or one.value is None:
            return not one.is_conclusive, -one.n_rows
        return not one.is_conclusive, one.value if better else -one.value

    return sorted(sorted(found, key=place)[:KEPT])
