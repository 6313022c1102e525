"""Gate: each model of the release holds over one window of time after another.

One good month can be luck. A back-test judges window after window on rows that came after what the
model of that window was trained on, and counts in how many of them it is worse than the incumbent,
interval and all; its checks are decided on all windows together. It counts here when the runs that
predicted were of the release's own pipelines, it judged this very wheel over the windows and by the
checks that are declared now, and compared it with the version that is live in the target
environment, where one is. A window whose run failed leaves the whole inconclusive.

Needs: `[models.NAME.evaluation.backtest]`, and data of several windows after the training.

Opens: seamline backtest MODEL==VERSION --data NAME@VERSION --against ENVIRONMENT.
"""

from __future__ import annotations

from typing import Any

from seamline.app.evaluate.declaration import BacktestDeclaration, EvaluationDeclaration
from seamline.app.evaluate.declared_since import (
    find_change,
    find_change_of_windows,
    find_declared_now,
    parsed,
)
from seamline.app.platform import Platform
from seamline.app.register.model_aliases import pin_of
from seamline.domain.states import Verdict
from seamline.evaluate.backtests import Backtest, backtests_of_pipelines
from seamline.evaluate.evaluate import decide_verdict
from seamline.promote.environments import live_release
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease
from seamline.register.models.catalogue import find_model_version

GATE = "backtest"


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    evidence: list[dict[str, Any]] = []
    verdicts, sentences = [], []
    pipelines = {one.digest for one in release.release.pipelines}
    for pin in release.release.packages:
        tested = backtests_of_pipelines(platform.stores, pin.name, pin.version, pipelines)
        lacking = [_lacks(platform, promotion, pin, one) for one in tested]
        # One with other windows, or another incumbent, does not hide the one that counts.
        found = next((one for one, why in zip(tested, lacking, strict=True) if why is None), None)
        if found is None:
            verdicts.append(Verdict.INCONCLUSIVE)
            sentences.append(lacking[0] or "" if lacking else _not_tested(pin))
            continue
        verdicts.append(found.verdict)
        said = found.evidence["sentences"][0]
        sentences.append(f"{pin.name} {pin.version} on {found.data}: {found.verdict}; {said}")
        evidence.append({"backtest": found.id, "digest": found.digest, "sentence": said})
    verdict = decide_verdict(verdicts) if verdicts else Verdict.INCONCLUSIVE
    text = "; ".join(sentences) or "the release holds no model"
    return GateResult(GATE, verdict, text, {"backtests": evidence})


def _lacks(platform: Platform, promotion: Promotion, pin: Pin, found: Backtest) -> str | None:
    """Why a back-test does not prove this model for this environment."""
    if found.wheel_digest != pin.digest:
        return _not_tested(pin)
    what = f"{pin.name} {pin.version} was back-tested"
    declared = find_declared_now(platform, pin.name)
    tested = None if declared is None else declared.backtest
    if declared is not None and tested is not None:
        decided = found.evidence["spec"]["checks"]
        missing = [one for one in tested.checks if one not in decided]
        if missing:
            were = "were" if len(missing) > 1 else "was"
            return f"{what} before {', '.join(missing)} {were} declared: {_command(pin)}"
        changed = _changed_since(platform, pin, found, declared, tested)
        if changed is not None:
            return f"{what} by another declaration: {changed}: {_command(pin)}"
    with platform.stores.db.read() as connection:
        live = pin_of(live_release(connection, promotion.environment), pin.name)
    if live is None or live.digest == pin.digest or found.against == live.version:
        return None
    compared = f"was compared with {found.against}" if found.against else "was judged alone"
    return (
        f"{pin.name} {pin.version} {compared}, and {live.version} is live in "
        f"{promotion.environment}: {_command(pin)} --against {promotion.environment}"
    )


def _changed_since(
    platform: Platform,
    pin: Pin,
    found: Backtest,
    declared: EvaluationDeclaration,
    tested: BacktestDeclaration,
) -> str | None:
    version = find_model_version(platform.stores, pin.name, pin.version)
    checks = parsed(declared, tested.checks)
    changed = find_change(declared, version, found.evidence["spec"], checks)
    return changed or find_change_of_windows(tested, found.evidence.get("how", {}))


def _not_tested(pin: Pin) -> str:
    return (
        f"{pin.name} {pin.version} was not back-tested by the release's pipelines: {_command(pin)}"
    )


def _command(pin: Pin) -> str:
    return f"seamline backtest {pin.name}=={pin.version} --data NAME@VERSION"
