"""Gate: the release's prediction pipelines run through in the environment, and are not worse runs.

Each pipeline of the release that trains no declared model is run once in the target environment,
with its parameters and its data, without results from the cache; so is the incumbent's pipeline of
that name, unless a run of it on the same data is on record. It has to succeed, in no more than
`slower` times the incumbent's time and `larger` times its memory, answer the keys that the
incumbent answers, none twice, and leave no more of a column null. It proves that what was trained
elsewhere works here, end to end; what it makes is kept as evidence and becomes no dataset. It is
one run of each: the factors are wide because a single time has no interval. Whether the
predictions are good is for `evaluation`.

Needs: a prediction pipeline in the release (without one there is nothing to run, and the gate
passes and says so) whose parameters all have values: their defaults, the environment's
`parameters`, or the `arguments` of the model's evaluation. Without an incumbent, only what the
policy names (`longest`, `memory_mb`, `coverage`) and empty tables or columns can fail.

Opens: look at the run that the evidence names (`seamline run show RUN`), or set other limits in
`[environments.NAME.gate.pipeline]`. Such a run counts for the gate `successes`, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from seamline.app.evaluate.declaration import EvaluationDeclaration
from seamline.app.platform import Platform
from seamline.app.promote.run_for_gate import GateRun, ask_run
from seamline.app.promote.run_limits import Finding, decide_run
from seamline.app.promote.run_measures import RunMade, Wanted, measure_run, was_run_whole
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import InvalidInput, NotFound, Refused
from seamline.domain.states import RunState, Verdict
from seamline.promote.environments import find_environment, live_release
from seamline.promote.gate_pictures import PICTURE, Bar, bars
from seamline.promote.gate_results import GateResult
from seamline.promote.gate_rules import PipelineRule
from seamline.promote.gate_runs import CANDIDATE, INCUMBENT, gate_run
from seamline.promote.policy import EnvironmentPolicy
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease
from seamline.register.names import normalised_package
from seamline.train.runs import runs_of_pipelines, show_run

PIPELINE = "pipeline"
_WINDOW = "{window"
#: Of the incumbent's runs, the newest.
_LOOKED_AT = 20
_NO_TABLES = Wanted(frozenset([""]))
_ENDED_BADLY = (RunState.FAILED, RunState.PARTIALLY_FAILED)


@dataclass(frozen=True)
class Pair:
    """Two runs of a pipeline; `alone` says why there is none of the incumbent."""

    pin: Pin
    run_id: str
    incumbent_run: str | None
    alone: str = ""


@dataclass(frozen=True)
class Judged:
    pair: Pair
    made: RunMade
    before: RunMade | None
    findings: tuple[Finding, ...]


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult | None:
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
        live = live_release(connection, promotion.environment)
    checks = {normalised_package(one.pipeline) for one in policy.checks}
    pins = prediction_pins(platform, release)
    pins = [pin for pin in pins if normalised_package(pin.name) not in checks]
    if not pins:
        sentence = "the release holds no prediction pipeline: there is nothing to run"
        return GateResult(PIPELINE, Verdict.PASS, sentence, {"runs": []})
    pairs: list[Pair] = []
    for pin in pins:
        try:
            run = _run(platform, promotion, policy, release, pin, CANDIDATE)
        except InvalidInput as error:
            evidence = {"pipeline": pin.name, "error": error.message}
            return GateResult(PIPELINE, Verdict.INCONCLUSIVE, str(error), evidence)
        if run is None:
            return None
        if run["state"] != RunState.SUCCEEDED:
            return _broken(platform, pin, run)
        pair = _pair(platform, promotion, policy, live, pin, run)
        if pair is None:
            return None
        pairs.append(pair)
    key = (promotion.id, PIPELINE, policy.digest)
    return platform.gate_work.ask(
        key, lambda: _judge(platform, release, live, policy.gate.pipeline, pairs)
    )


def _pair(
    platform: Platform,
    promotion: Promotion,
    policy: EnvironmentPolicy,
    live: StoredRelease | None,
    pin: Pin,
    run: Mapping[str, Any],
) -> Pair | None:
    """None while the incumbent's run goes on."""
    old = None if live is None else _same_name(live, pin)
    if live is None or old is None:
        return Pair(pin, run["id"], None, "nothing of that name is live to compare it with")
    if live.digest == promotion.goes_live:
        return Pair(pin, run["id"], None, "it is what is live")
    try:
        before = _incumbent(platform, promotion, policy, live, old, run)
    except (InvalidInput, NotFound, Refused) as error:
        return Pair(pin, run["id"], None, f"the incumbent cannot be run: {error.message}")
    if before is None:
        return None
    if before["state"] != RunState.SUCCEEDED:
        said = f"the incumbent's run {before['id']} ended as {before['state']}"
        return Pair(pin, run["id"], None, said)
    return Pair(pin, run["id"], before["id"])


def prediction_pins(platform: Platform, release: StoredRelease) -> list[Pin]:
    """The release's pipelines but those that train a declared model."""
    declared = platform.declarations().models.values()
    train = {normalised_package(one.pipeline) for one in declared}
    return [pin for pin in release.release.pipelines if normalised_package(pin.name) not in train]


def _same_name(live: StoredRelease, pin: Pin) -> Pin | None:
    wanted = normalised_package(pin.name)
    pins = live.release.pipelines
    return next((one for one in pins if normalised_package(one.name) == wanted), None)


def _run(
    platform: Platform,
    promotion: Promotion,
    policy: EnvironmentPolicy,
    release: StoredRelease,
    pin: Pin,
    whose: str,
) -> dict[str, Any] | None:
    wanted = GateRun(
        gate_run(promotion.id, whose, pin.name),
        pin,
        release.digest,
        _arguments(platform, release, pin),
        f"{whose}: {pin.name}",
        parse_duration_s(policy.gate.pipeline.timeout),
    )
    return ask_run(platform, promotion, wanted)


def _incumbent(
    platform: Platform,
    promotion: Promotion,
    policy: EnvironmentPolicy,
    live: StoredRelease,
    pin: Pin,
    run: Mapping[str, Any],
) -> dict[str, Any] | None:
    """A run of it that is on record, of the same arguments and on the same data, else one that is
    made now: after the candidate's, so that neither takes the other's time."""
    wanted = _arguments(platform, live, pin)
    mine = measure_run(platform, str(run["id"]), _NO_TABLES)
    done = runs_of_pipelines(
        platform.stores, promotion.environment, [pin.digest], RunState.SUCCEEDED
    )
    for one in done[:_LOOKED_AT]:
        if one["release"] != live.digest or not _has(one["arguments"], wanted):
            continue
        whole = show_run(platform.stores, one["id"])
        same = measure_run(platform, one["id"], _NO_TABLES).read == mine.read
        if same and was_run_whole(whole):
            return one
    return _run(platform, promotion, policy, live, pin, INCUMBENT)


def _has(arguments: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    return all(arguments.get(name) == value for name, value in wanted.items())


def _arguments(platform: Platform, release: StoredRelease, pin: Pin) -> dict[str, str]:
    """As the evaluations of the release's models call it; what needs a window is left to the
    environment's parameters."""
    found: dict[str, str] = {}
    for package, declared in _evaluated(platform, release, pin):
        for name, value in declared.arguments.items():
            if _WINDOW not in value:
                found.setdefault(name, value.replace("{version}", package.version))
    return found


def _evaluated(
    platform: Platform, release: StoredRelease, pin: Pin
) -> Iterator[tuple[Pin, EvaluationDeclaration]]:
    """The release's models that are judged by what this pipeline makes."""
    for package in release.release.packages:
        try:
            declared = platform.declarations().model(package.name).evaluation
        except NotFound:
            continue
        if declared and normalised_package(declared.pipeline) == normalised_package(pin.name):
            yield package, declared


def _wanted(platform: Platform, release: StoredRelease, pin: Pin) -> Wanted:
    """Of tables that nobody declares, every one is looked at, and nobody knows their keys."""
    declared = [one for _, one in _evaluated(platform, release, pin)]
    if not declared:
        return Wanted()
    first = declared[0]
    return Wanted(frozenset(one.output for one in declared), first.keys, first.data)


def _broken(platform: Platform, pin: Pin, run: Mapping[str, Any]) -> GateResult:
    """A run that was ended from outside is nobody's failure."""
    state = RunState(run["state"])
    whole = show_run(platform.stores, str(run["id"]))
    said = f": {whole['sentence']}" if whole["sentence"] else ""
    sentence = f"run {run['id']} of {pin.name} ended as {state.replace('_', ' ')}{said}"
    verdict = Verdict.FAIL if state in _ENDED_BADLY else Verdict.ERROR
    evidence = {"runs": [{"run": run["id"], "pipeline": pin.digest, "state": state.value}]}
    return GateResult(PIPELINE, verdict, sentence, evidence)


def _judge(
    platform: Platform,
    release: StoredRelease,
    live: StoredRelease | None,
    rule: PipelineRule,
    pairs: list[Pair],
) -> GateResult:
    judged = []
    for pair in pairs:
        wanted, old = _wanted(platform, release, pair.pin), pair.incumbent_run
        made = measure_run(platform, pair.run_id, wanted)
        before = None if old is None else measure_run(platform, old, wanted)
        judged.append(Judged(pair, made, before, tuple(decide_run(rule, made, before))))
    bad = [(one, found) for one in judged for found in one.findings if found.verdict != "pass"]
    evidence = {
        "incumbent": None if live is None else live.digest,
        "runs": [_to_json(one) for one in judged],
        "n": 1,
        PICTURE: bars(_bars(judged), ""),
    }
    if bad:
        told = "; ".join(f"{one.pair.pin.name}: {found.sentence}" for one, found in bad)
        return GateResult(PIPELINE, Verdict.FAIL, told, evidence)
    told = "; ".join(_say(one) for one in judged)
    return GateResult(PIPELINE, Verdict.PASS, told, evidence)


def _to_json(one: Judged) -> dict[str, Any]:
    return {
        "name": one.pair.pin.name,
        "version": one.pair.pin.version,
        "candidate": one.made.to_json(),
        "incumbent": None if one.before is None else one.before.to_json(),
        "alone": one.pair.alone,
        "same_data": one.before is not None and one.before.read == one.made.read,
        "findings": [found.to_json() for found in one.findings],
    }


def _say(one: Judged) -> str:
    told = [found.sentence for found in one.findings if found.what in ("time", "memory")]
    told += [found.sentence for found in one.findings if found.unit == "rows" and found.value]
    if one.before is None:
        told.append(one.pair.alone)
    elif one.before.read != one.made.read:
        told.append("the incumbent read other versions of the data, so tables are not compared")
    return f"{one.pair.pin.name} ran through (run {one.made.run_id}): {', '.join(told)}"


def _bars(judged: list[Judged]) -> list[Bar]:
    return [
        Bar(
            f"{one.pair.pin.name}: {found.what}{f' ({found.unit})' if found.unit else ''}",
            found.value,
            found.limit,
            "most" if found.at_most else "least",
            found.verdict,
        )
        for one in judged
        for found in one.findings
        if found.what in ("time", "memory") or found.verdict is not Verdict.PASS
    ]
