"""Gate: what goes live was trained in the environment, by the pipelines of the release.

Asked by itself where an environment takes over code. It proves that the release which would go live
holds models that runs of the promoted training pipelines made there, for this promotion; its
evidence names the runs and what was made, so that approvals bind those. Whether the models are any
good is for `evaluation`.

Needs: `promotes = "code"` in the environment's policy, and a release that names training pipelines.

Opens: the training runs succeed in the environment; look at them (`seamline run show RUN`).
"""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.domain.promote_facts import CodeRetrained
from seamline.domain.states import Verdict
from seamline.promote.gate_pictures import PICTURE, Tick, ticks
from seamline.promote.gate_results import GateResult
from seamline.promote.policy import CODE
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease
from seamline.store.facts import read_facts


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    with platform.stores.db.read() as connection:
        told = read_facts(connection, kinds=[CodeRetrained.kind], subject=promotion.id)
    runs = told[0].body["runs"] if told else []
    made = [f"{pin.name} {pin.version}" for pin in release.release.packages]
    is_made = promotion.retrained is not None
    evidence = {
        "code": promotion.release,
        "release": release.digest,
        "runs": runs,
        PICTURE: ticks([Tick(one, is_made or None) for one in made]),
    }
    if promotion.retrained is None or not told or told[0].body["retrained"] != release.digest:
        sentence = f"nothing was trained in {promotion.environment} for this promotion"
        return GateResult(CODE, Verdict.INCONCLUSIVE, sentence, evidence)
    sentence = f"{', '.join(made)}: trained in {promotion.environment} by run {', '.join(runs)}"
    return GateResult(CODE, Verdict.PASS, sentence, evidence)
