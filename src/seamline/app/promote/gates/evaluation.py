"""Gate: each model of the release has a recorded evaluation, and its declared checks hold."""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.domain.states import Verdict
from seamline.evaluate.evaluations import latest_evaluation
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease

#: Worst first: a release is as good as its worst model.
_ORDER = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    evidence, verdicts, sentences = [], [], []
    for pin in release.release.packages:
        found = latest_evaluation(platform.stores, pin.name, pin.version)
        if found is None or found.wheel_digest != pin.digest:
            verdicts.append(Verdict.INCONCLUSIVE)
            sentences.append(
                f"{pin.name} {pin.version} has no evaluation: "
                f"seamline evaluate {pin.name} --version {pin.version} --run RUN"
            )
            continue
        verdicts.append(found.verdict)
        sentences.append(f"{pin.name} {pin.version} on {found.data}: {found.verdict}")
        evidence.append(
            {"evaluation": found.id, "digest": found.digest, "sentences": list(found.sentences)}
        )
    worst = next((one for one in _ORDER if one in verdicts), Verdict.INCONCLUSIVE)
    text = "; ".join(sentences) or "the release holds no model"
    return GateResult("evaluation", worst, text, {"evaluations": evidence})
