"""Gate: says how long the release has been live upstream.

Time goes on while people think, so the wait itself is decided again at each step and is no part
of the frozen evidence (DESIGN.md §5): this gate records the rule, `decide.why_not_yet` holds it.
"""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.domain.durations import say_duration
from seamline.domain.states import Verdict
from seamline.promote.environments import find_environment
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    evidence = {"after": policy.after, "soak_s": policy.soak_s}
    sentence = f"{say_duration(policy.soak_s)} in {policy.after}, looked at again when applying"
    return GateResult("soak", Verdict.PASS, sentence, evidence)
