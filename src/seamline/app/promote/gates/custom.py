"""Gate: a check of the team's own, which a pipeline of the release makes and answers.

`[environments.NAME.check.CHECK]` names a pipeline that has to be in the release, so that its bytes
are approved with it. It is run in the target environment, in task processes as any run, and its
outputs `verdict` (pass, fail or inconclusive), `sentence` and `evidence` are what the gate says.
It is handed what it has parameters for: `environment`, `release` (the contents, as JSON),
`evaluations` (a list: model, version, verdict, checks, data) and `predictions` (a URI that a
`dsl.importer` opens as the Parquet file which the newest evaluation judged). What it proves, only
the team knows; the gate proves that these bytes said so there. A run that fails, crashes or takes
too long is an error, and so is a verdict that is none: nothing opens but `pass`.

Needs: the pipeline in the release, with outputs called `verdict` and `sentence`, and an evaluation
where it takes `predictions` (without, it is inconclusive). Where the check names `models` and the
release holds none of them, it does not concern the release, and passes.

Opens: whatever the check says; look at its run (`seamline run show RUN`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from seamline.app.platform import Platform
from seamline.app.promote.run_for_gate import GateRun, ask_run
from seamline.app.train.resolve_uri import EVALUATIONS
from seamline.domain.errors import InvalidInput, MachineryError, NotFound, Refused
from seamline.domain.states import RunState, Verdict
from seamline.evaluate.evaluations import Evaluation, latest_evaluation
from seamline.promote.gate_pictures import PICTURE, Tick, ticks
from seamline.promote.gate_results import GateResult, one_line
from seamline.promote.gate_runs import gate_run
from seamline.promote.policy import CustomCheck, check_name
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease
from seamline.register.names import normalised_package
from seamline.store.canonical import canonical_json, digest_of_json
from seamline.train.ir.types import ParameterType
from seamline.train.plan.load import load_plan
from seamline.train.runs import run_output, show_run

_SAID = (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)
_OUTPUTS = ("verdict", "sentence", "evidence")
#: More than that is no evidence that anybody reads: it belongs into an artifact of the run.
_MOST_BYTES = 1 << 18


def check(
    platform: Platform, promotion: Promotion, release: StoredRelease, check: CustomCheck
) -> GateResult | None:
    """None while its run goes on. Raises Unavailable and MachineryError where it gives no verdict:
    the gate is then an error."""
    gate, held = check_name(check), {pin.name for pin in release.release.packages}
    if check.models and held.isdisjoint(check.models):
        sentence = f"the release holds no {' and no '.join(check.models)}: it is not asked"
        return GateResult(gate, Verdict.PASS, sentence, {"models": list(check.models)})
    pin = _pin(release, check)
    if pin is None:
        sentence = (
            f"the release holds no pipeline {check.pipeline}: "
            f"seamline release create ALIAS --pipeline {check.pipeline}@TAG …"
        )
        return GateResult(gate, Verdict.INCONCLUSIVE, sentence, {"pipeline": check.pipeline})
    try:
        run = _run(platform, promotion, release, check, pin)
    except InvalidInput as error:  # a parameter that nothing has a value for
        evidence = {"pipeline": pin.name, "error": error.message}
        return GateResult(gate, Verdict.INCONCLUSIVE, f"it cannot be run: {error}", evidence)
    return None if run is None else _answer(platform, check, pin, run)


def _pin(release: StoredRelease, check: CustomCheck) -> Pin | None:
    wanted = normalised_package(check.pipeline)
    pins = release.release.pipelines
    return next((one for one in pins if normalised_package(one.name) == wanted), None)


def _run(
    platform: Platform,
    promotion: Promotion,
    release: StoredRelease,
    check: CustomCheck,
    pin: Pin,
) -> Mapping[str, Any] | None:
    """The ended run; None while it goes on. One for each promotion and what the check is handed:
    asked again after a restart it is the same, and after another evaluation it is another one."""
    gate, given = check_name(check), _arguments(platform, promotion, release, pin)
    run_id = gate_run(promotion.id, gate, f"{pin.digest}/{digest_of_json(given)}")
    wanted = GateRun(run_id, pin, release.digest, given, gate, check.timeout_s)
    return ask_run(platform, promotion, wanted)


def _arguments(
    platform: Platform, promotion: Promotion, release: StoredRelease, pin: Pin
) -> dict[str, Any]:
    """Of what there is, that for which the pipeline has a parameter; as text where it takes one."""
    judged = [
        found
        for one in release.release.packages
        if (found := latest_evaluation(platform.stores, one.name, one.version)) is not None
        and found.wheel_digest == one.digest
    ]
    newest = max(judged, key=lambda one: one.at, default=None)
    there: dict[str, Any] = {
        "environment": promotion.environment,
        "release": release.release.to_json(),
        "evaluations": [_told(one) for one in judged],
    }
    if newest is not None:
        there["predictions"] = f"{EVALUATIONS}{newest.id}"
    takes = load_plan(platform.stores, pin.digest).parameters
    return {
        name: _as_text(value) if takes[name].type is ParameterType.STRING else value
        for name, value in there.items()
        if name in takes
    }


def _told(one: Evaluation) -> dict[str, Any]:
    return {
        "id": one.id,
        "digest": one.digest,
        "model": one.model,
        "version": one.model_version,
        "data": one.data,
        "verdict": one.verdict.value,
        "sentences": list(one.sentences),
        "predictions": f"{EVALUATIONS}{one.id}",
    }


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()


def _answer(platform: Platform, check: CustomCheck, pin: Pin, run: Mapping[str, Any]) -> GateResult:
    gate, run_id = check_name(check), str(run["id"])
    if run["state"] != RunState.SUCCEEDED:
        why = show_run(platform.stores, run_id)["sentence"]
        raise MachineryError(
            f"Run {run_id} of {pin.name} ended as {run['state'].replace('_', ' ')}"
            f"{f': {why}' if why else '.'}",
            next_step=f"Look at it: seamline run show {run_id}",
        )
    said = {name: _output(platform, run_id, name) for name in _OUTPUTS}
    verdict, sentence = said["verdict"], said["sentence"]
    if verdict not in list(_SAID) or not isinstance(sentence, str):
        raise MachineryError(
            f"Run {run_id} of {pin.name} gave no verdict: {str(verdict)[:200]!r}.",
            next_step=f"Its output `verdict` has to be one of {', '.join(_SAID)}, and `sentence` "
            "a text.",
        )
    if len(json.dumps(said, default=str)) > _MOST_BYTES:
        raise MachineryError(
            f"Run {run_id} of {pin.name} gave more than {_MOST_BYTES:,} bytes of evidence.",
            next_step="Write what is large as an artifact of the run.",
        )
    found, text = Verdict(verdict), one_line(sentence) or f"{pin.name} says {verdict}"
    evidence = {
        "pipeline": {"name": pin.name, "version": pin.version, "digest": pin.digest},
        "run": run_id,
        "arguments": run["arguments"],
        "said": said["evidence"],
        PICTURE: ticks([Tick(check.name, _holds(found), text)]),
    }
    return GateResult(gate, found, text, evidence)


def _output(platform: Platform, run_id: str, name: str) -> Any:
    """None where the pipeline has no such output, or nothing in it."""
    try:
        return run_output(platform.stores, run_id, name)
    except (NotFound, Refused):
        return None


def _holds(verdict: Verdict) -> bool | None:
    return None if verdict is Verdict.INCONCLUSIVE else verdict is Verdict.PASS
