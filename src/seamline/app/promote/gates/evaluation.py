"""Gate: each model of the release is proved, by results of the release's own pipelines.

The newest evaluation that counts decides. It counts when it judged this very wheel by a run of a
pipeline *of the release*, decided the checks that are declared now, of the label, at the threshold
and in the slices that are declared now, and, where checks against the incumbent are declared,
compared it with the version that is live in the target environment, on the same rows. The verdict
is that of its worst check, on the bound of its interval, slices included; checks of somebody's own
(`--spec`) never count. It says nothing about rows that no label has come for.

Needs: a recorded evaluation of each model, over at least ten blocks (days).

Opens: seamline evaluate MODEL==VERSION --data NAME@VERSION --against ENVIRONMENT; what failed is
told with its numbers, and needs a better model or other checks in seamline.toml.
"""

from __future__ import annotations

from typing import Any

from seamline.app.evaluate.declared_since import find_change, find_declared_now, parsed
from seamline.app.platform import Platform
from seamline.app.register.model_aliases import pin_of
from seamline.domain.states import Verdict
from seamline.evaluate.evaluations import (
    Evaluation,
    evaluations_of_pipelines,
    list_evaluations,
)
from seamline.promote.environments import live_release
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease
from seamline.register.models.catalogue import find_model_version

#: Worst first: a release is as good as its worst model.
_ORDER = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    evidence: list[dict[str, Any]] = []
    verdicts, sentences = [], []
    for pin in release.release.packages:
        pipelines = {one.digest for one in release.release.pipelines}
        judged = evaluations_of_pipelines(platform.stores, pin.name, pin.version, pipelines)
        newest = judged[0] if judged else None
        # A comparison with yet another version does not hide the one with what is live.
        fit = (one for one in judged if _lacks(platform, promotion, release, pin, one) is None)
        found = next(fit, newest)
        lacking = _lacks(platform, promotion, release, pin, found)
        if found is None or lacking is not None:
            verdicts.append(Verdict.INCONCLUSIVE)
            sentences.append(str(lacking))
            continue
        verdicts.append(found.verdict)
        sentences.append(f"{pin.name} {pin.version} on {found.data}: {found.verdict}")
        evidence.append(
            {"evaluation": found.id, "digest": found.digest, "sentences": list(found.sentences)}
        )
    worst = next((one for one in _ORDER if one in verdicts), Verdict.INCONCLUSIVE)
    text = "; ".join(sentences) or "the release holds no model"
    return GateResult("evaluation", worst, text, {"evaluations": evidence})


def _lacks(
    platform: Platform,
    promotion: Promotion,
    release: StoredRelease,
    pin: Pin,
    found: Evaluation | None,
) -> str | None:
    """Why what is on record does not prove this model of this release for this environment."""
    if found is None or found.wheel_digest != pin.digest:
        return _no_evaluation(platform, release, pin)
    missing = _checks_missing(platform, pin, found)
    if missing:
        return (
            f"{pin.name} {pin.version} was judged before {', '.join(missing)} "
            f"{'were' if len(missing) > 1 else 'was'} declared: {_command(pin)}"
        )
    changed = _changed_since(platform, pin, found)
    if changed is not None:
        return (
            f"{pin.name} {pin.version} was judged by another declaration: {changed}: "
            f"{_command(pin)}"
        )
    if not found.evidence["spec"]["against"]:
        return None
    with platform.stores.db.read() as connection:
        live = pin_of(live_release(connection, promotion.environment), pin.name)
    if live is None or live.digest == pin.digest or found.against == live.version:
        return None
    compared = f"was compared with {found.against}" if found.against else "was judged alone"
    return (
        f"{pin.name} {pin.version} {compared}, and {live.version} is live in "
        f"{promotion.environment}: {_command(pin)} --against {promotion.environment}"
    )


def _no_evaluation(platform: Platform, release: StoredRelease, pin: Pin) -> str:
    others = [
        one
        for one in list_evaluations(platform.stores, pin.name, pin.version)
        if one.wheel_digest == pin.digest
    ]
    if not others:
        return f"{pin.name} {pin.version} has no evaluation: {_command(pin)}"
    if not any(one.is_declared for one in others):
        return (
            f"{pin.name} {pin.version} was judged by checks of somebody's own only: {_command(pin)}"
        )
    if not release.release.pipelines:
        return (
            f"{pin.name} {pin.version} was judged by a run of a pipeline that the release does not "
            "hold: seamline release create ALIAS --model … --pipeline NAME@TAG"
        )
    ours = ", ".join(f"{one.name}@{one.version}" for one in release.release.pipelines)
    return (
        f"{pin.name} {pin.version} was not judged by a run of the release's pipelines ({ours}): "
        f"{_command(pin)}"
    )


def _command(pin: Pin) -> str:
    return f"seamline evaluate {pin.name} --version {pin.version} --run RUN"


def _checks_missing(platform: Platform, pin: Pin, found: Evaluation) -> list[str]:
    """Checks that are declared now and that the evaluation has not decided."""
    declared = find_declared_now(platform, pin.name)
    if declared is None:
        return []
    spec = found.evidence["spec"]
    pairs = ((declared.checks, spec["checks"]), (declared.against_incumbent, spec["against"]))
    return [check for now, then in pairs for check in now if check not in then]


def _changed_since(platform: Platform, pin: Pin, found: Evaluation) -> str | None:
    declared = find_declared_now(platform, pin.name)
    if declared is None:
        return None
    version = find_model_version(platform.stores, pin.name, pin.version)
    checks = parsed(declared, (*declared.checks, *declared.against_incumbent))
    return find_change(declared, version, found.evidence["spec"], checks)
