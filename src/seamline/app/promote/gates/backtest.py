"""Gate: each model of the release holds over one window of time after another.

One good month can be luck. A back-test judges window after window on rows that came after what the
model of that window was trained on, and counts in how many of them it is worse than the incumbent,
interval and all; its checks are decided on all windows together. It counts here when the runs that
predicted were of the release's own pipelines and it judged this very wheel. A window whose run
failed leaves the whole inconclusive.

Needs: `[models.NAME.evaluation.backtest]`, and data of several windows after the training.

Opens: seamline backtest MODEL==VERSION --data NAME@VERSION --against ENVIRONMENT.
"""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.domain.errors import NotFound
from seamline.domain.states import Verdict
from seamline.evaluate.backtests import Backtest, latest_backtest
from seamline.evaluate.evaluate import decide_verdict
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease

GATE = "backtest"


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    evidence: list[dict[str, Any]] = []
    verdicts, sentences = [], []
    pipelines = {one.digest for one in release.release.pipelines}
    for pin in release.release.packages:
        found = latest_backtest(platform.stores, pin.name, pin.version, pipelines)
        lacking = _lacks(platform, pin, found)
        if found is None or lacking is not None:
            verdicts.append(Verdict.INCONCLUSIVE)
            sentences.append(str(lacking))
            continue
        verdicts.append(found.verdict)
        said = found.evidence["sentences"][0]
        sentences.append(f"{pin.name} {pin.version} on {found.data}: {found.verdict}; {said}")
        evidence.append({"backtest": found.id, "digest": found.digest, "sentence": said})
    verdict = decide_verdict(verdicts) if verdicts else Verdict.INCONCLUSIVE
    text = "; ".join(sentences) or "the release holds no model"
    return GateResult(GATE, verdict, text, {"backtests": evidence})


def _lacks(platform: Platform, pin: Pin, found: Backtest | None) -> str | None:
    command = f"seamline backtest {pin.name}=={pin.version} --data NAME@VERSION"
    if found is None or found.wheel_digest != pin.digest:
        return f"{pin.name} {pin.version} was not back-tested by the release's pipelines: {command}"
    try:
        declared = platform.declarations().model(pin.name).evaluation
    except NotFound:
        return None
    tested = None if declared is None else declared.backtest
    decided = found.evidence["spec"]["checks"]
    missing = [one for one in (tested.checks if tested else ()) if one not in decided]
    if missing:
        return (
            f"{pin.name} {pin.version} was back-tested before {', '.join(missing)} "
            f"{'were' if len(missing) > 1 else 'was'} declared: {command}"
        )
    return None
