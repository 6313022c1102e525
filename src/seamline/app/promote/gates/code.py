"""Gate: what goes live was trained in the environment, by the pipelines of the release.

Asked where an environment takes over code. Its evidence names what was made, so approvals bind it.
"""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.domain.promote_facts import CodeRetrained
from seamline.domain.states import Verdict
from seamline.promote.gate_results import GateResult
from seamline.promote.policy import CODE
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease
from seamline.store.facts import read_facts


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    with platform.stores.db.read() as connection:
        told = read_facts(connection, kinds=[CodeRetrained.kind], subject=promotion.id)
    runs = told[0].body["runs"] if told else []
    evidence = {"code": promotion.release, "release": release.digest, "runs": runs}
    if promotion.retrained is None or not told or told[0].body["retrained"] != release.digest:
        sentence = f"nothing was trained in {promotion.environment} for this promotion"
        return GateResult(CODE, Verdict.INCONCLUSIVE, sentence, evidence)
    made = ", ".join(f"{pin.name} {pin.version}" for pin in release.release.packages)
    sentence = f"{made}: trained in {promotion.environment} by run {', '.join(runs)}"
    return GateResult(CODE, Verdict.PASS, sentence, evidence)
