"""Gate: a pipeline of the release has run through in the environment before the target."""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.domain.states import RunState, Verdict
from seamline.promote.environments import find_environment
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease
from seamline.train.runs import list_runs


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    with platform.stores.db.read() as connection:
        upstream = find_environment(connection, promotion.environment).policy.after or ""
    ours = {pin.digest for pin in release.release.pipelines}
    done = [
        run["id"]
        for run in list_runs(platform.stores, environment=upstream)
        if run["pipeline_digest"] in ours and run["state"] == RunState.SUCCEEDED
    ]
    evidence = {"environment": upstream, "runs": done[:20], "count": len(done)}
    if done:
        sentence = f"{len(done)} run(s) of the release's pipelines succeeded in {upstream}"
        return GateResult("successes", Verdict.PASS, sentence, evidence)
    sentence = (
        f"no pipeline of the release has succeeded in {upstream} yet: "
        f"seamline run submit NAME@TAG -e {upstream}"
    )
    return GateResult("successes", Verdict.INCONCLUSIVE, sentence, evidence)
