"""Whether what is on record was judged as the model is declared now.

A check reads the same whatever its label, its threshold or its slices are made of: evidence by the
words of the checks alone could be made with an easy label, and kept for a hard one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from seamline.app.evaluate.declaration import BacktestDeclaration, EvaluationDeclaration
from seamline.app.evaluate.evaluate_model import specification
from seamline.app.platform import Platform
from seamline.domain.errors import NotFound
from seamline.evaluate.business import BusinessMetric
from seamline.evaluate.derive import PAIR, Derived
from seamline.evaluate.score import threshold_of
from seamline.evaluate.spec import EvaluationSpec
from seamline.measure.evaluation.checks import Check
from seamline.measure.evaluation.vocabulary import Rival
from seamline.register.models.catalogue import ModelVersion

#: What each check is about, whichever it is.
_ALWAYS = ("keys", "label", "prediction", "kind", "threshold", "block", "min_rows")
_OF_TASKS = ("scores", "quantiles", "query", "series", "season")
_OF_BASELINES = ("baseline", "rule")


def find_declared_now(platform: Platform, model: str) -> EvaluationDeclaration | None:
    try:
        return platform.declarations().model(model).evaluation
    except NotFound:
        return None


def find_change(
    declared: EvaluationDeclaration,
    version: ModelVersion,
    then: Mapping[str, Any],
    checks: Sequence[Check],
) -> str | None:
    """What of the specification on record (`then`) is declared otherwise now, in words; only what
    these checks ask about is looked at."""
    now, before = specification(declared, version), EvaluationSpec.from_json(then)
    now, before = (replace(one, threshold=threshold_of(one)) for one in (now, before))
    by_baseline = any(one.rival is Rival.BASELINE for one in checks)
    for name in (*_ALWAYS, *_OF_TASKS, *(_OF_BASELINES if by_baseline else ())):
        old, new = (_plain(getattr(one, name)) for one in (before, now))
        if old != new:
            return f"{name} was {old!r} and is {new!r} now"
    sliced = {part for one in checks for part in (one.slice or "").split(PAIR)}
    for name, used in (("derived", sliced), ("business", {one.metric for one in checks})):
        for key in sorted(used):
            made, makes = (getattr(one, name).get(key) for one in (before, now))
            if made != makes:
                return f"{name}.{key} was {_say(made)} and is {_say(makes)} now"
    return None


def windows_of(tested: BacktestDeclaration) -> dict[str, Any]:
    """What a back-test is judged by beside its checks."""
    plain = asdict(tested)
    return {name: value for name, value in plain.items() if name != "checks"}


def find_change_of_windows(tested: BacktestDeclaration, then: Mapping[str, Any]) -> str | None:
    """As `find_change`; a record of an earlier version does not know what it does not hold."""
    for name, new in windows_of(tested).items():
        if name in then and then[name] != new:
            return f"{name} was {then[name]!r} and is {new!r} now"
    return None


def _plain(value: Any) -> Any:
    """As it is written."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, str) else value


def _say(one: Derived | BusinessMetric | None) -> str:
    if one is None:
        return "not there"
    written = {name: value for name, value in asdict(one).items() if value is not None}
    return ", ".join(f"{name} {value}" for name, value in written.items())


def parsed(declared: EvaluationDeclaration, texts: Sequence[str]) -> list[Check]:
    spec: EvaluationSpec = declared.specification()
    return list(spec.with_checks(tuple(texts), ()).parsed_checks)
