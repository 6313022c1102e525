"""Gate: says how long the release has to be live upstream.

Time goes on while people think, so the wait itself is decided again at each step and is no part of
the frozen evidence (DESIGN.md §5): this gate records the rule, `decide.why_not_yet` holds it. A
release that is not live upstream any more waits as well. That nothing went wrong there in that time
is not looked at here: holds and rollbacks do that.

Needs: `after` and `soak` in the environment's policy.

Opens: time; the promotion goes on by itself when it has passed.
"""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.domain.durations import say_duration
from seamline.domain.states import Verdict
from seamline.promote.environments import find_environment
from seamline.promote.gate_pictures import PICTURE, Tick, ticks
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    rule = f"live in {policy.after} for {say_duration(policy.soak_s)}"
    evidence = {
        "after": policy.after,
        "soak_s": policy.soak_s,
        PICTURE: ticks([Tick(rule, None, "looked at again when applying")]),
    }
    sentence = f"{say_duration(policy.soak_s)} in {policy.after}, looked at again when applying"
    return GateResult("soak", Verdict.PASS, sentence, evidence)
