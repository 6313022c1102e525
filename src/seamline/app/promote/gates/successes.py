"""Gate: pipelines of the release have run through in the environment before the target.

As often, and as near to production (`fidelity`), as the policy asks: a run counts when it is of
these very pipelines, by digest, and has succeeded as a whole. What is counted is that they run;
whether what they made is any good is for `evaluation`.

Needs: `after` in the environment's policy, and runs there.

Opens: `seamline run submit NAME@TAG -e ENVIRONMENT`; `min_successes` and `fidelity` are the limits.
"""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.domain.states import Fidelity, RunState, Verdict, weaker
from seamline.promote.environments import find_environment
from seamline.promote.gate_pictures import PICTURE, Bar, bars
from seamline.promote.gate_results import GateResult
from seamline.promote.policy import EnvironmentPolicy
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease
from seamline.train.runs import runs_of_pipelines

_NAMED = 20


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    upstream = policy.after or ""
    ours = {pin.digest for pin in release.release.pipelines}
    done = runs_of_pipelines(platform.stores, upstream, ours, RunState.SUCCEEDED)
    near = [run["id"] for run in done if is_near_enough(policy, Fidelity(run["fidelity"]))]
    evidence = {
        "environment": upstream,
        "runs": near[:_NAMED],
        "count": len(near),
        "min_successes": policy.min_successes,
        "fidelity": policy.fidelity,
        "further_from_production": len(done) - len(near),
        PICTURE: bars([_bar(upstream, len(near), policy.min_successes)], "runs"),
    }
    return GateResult("successes", *_verdict(policy, upstream, len(near), len(done)), evidence)


def _bar(upstream: str, near: int, wanted: int) -> Bar:
    verdict = Verdict.PASS if near >= wanted else Verdict.INCONCLUSIVE
    return Bar(f"succeeded in {upstream}", near, wanted, "least", verdict)


def is_near_enough(policy: EnvironmentPolicy, fidelity: Fidelity) -> bool:
    return policy.fidelity is None or weaker(fidelity, policy.fidelity) is policy.fidelity


def _verdict(policy: EnvironmentPolicy, upstream: str, near: int, done: int) -> tuple[Verdict, str]:
    wanted = policy.min_successes
    times = f"{near} of {wanted} run{'s' if wanted > 1 else ''}"
    if near >= wanted:
        return Verdict.PASS, f"{times} of the release's pipelines succeeded in {upstream}"
    far = f" ({done - near} more, not as {policy.fidelity} or nearer)" if done > near else ""
    return (
        Verdict.INCONCLUSIVE,
        f"{times} of the release's pipelines succeeded in {upstream}{far}: "
        f"seamline run submit NAME@TAG -e {upstream}",
    )
