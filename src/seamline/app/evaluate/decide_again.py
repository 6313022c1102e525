"""Other checks on an evaluation that is on record: decided from what it keeps, no row is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seamline.app.platform import Platform
from seamline.domain.errors import InvalidInput
from seamline.evaluate.evaluate import decide_verdict
from seamline.evaluate.evaluations import find_evaluation, load_scorecard
from seamline.evaluate.spec import EvaluationSpec
from seamline.measure.evaluation.checks import parse_check
from seamline.measure.evaluation.deciding import decide_check


def decide_again(platform: Platform, evaluation_id: str, checks: Sequence[str]) -> dict[str, Any]:
    """Nothing is recorded: what opens a gate is declared, and decided when it is evaluated."""
    if not checks:
        raise InvalidInput("There is no check to decide.", next_step="Write one: 'auc >= 0.7'.")
    evaluation = find_evaluation(platform.stores, evaluation_id)
    own = EvaluationSpec.from_json(evaluation.evidence["spec"]).own
    parsed = [parse_check(text, own) for text in checks]
    card = load_scorecard(platform.stores, evaluation)
    results = [decide_check(check, card) for check in parsed]
    return {
        "evaluation": evaluation.id,
        "model": evaluation.model,
        "model_version": evaluation.model_version,
        "data": evaluation.data,
        "verdict": str(decide_verdict(one.verdict for one in results)),
        "checks": [one.to_json() for one in results],
    }
