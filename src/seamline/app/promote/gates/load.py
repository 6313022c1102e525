"""Gate: the release answers as fast as it has to, and not much slower than what is live.

While the promotion is checked, the data plane has the release loaded as a standby. Each of its
endpoints is asked with the package's sample rows, one row a request, over four connections and at a
bounded rate (100 requests/s), in blocks of 0.3 s; the incumbent is asked the same way in the same
blocks, in turn. No request may fail; 95 of 100 have to be answered within `p95_ms`, and within
`slower` times what the incumbent takes. What decides is the interval for the median over 12 blocks
or more: 36 blocks that do not tell are inconclusive. It proves that the model, in its own process
behind the real data plane, keeps up with that rate on this machine at this hour; it does not prove
what many times the rate would do. Callers of what is live share the plane, not the standby's
process: while the incumbent is asked, they see at most that rate more.

Needs: a data plane, room among the standbys that the policy keeps `warm`, and sample rows in the
package. A release that no deployment serves passes, and says so; without an incumbent only
`p95_ms`, `rps` and failed requests count.

Opens: make the model faster (an ONNX twin, fewer trees), or set other limits in
`[environments.NAME.gate.load]`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seamline.app.platform import Platform
from seamline.app.promote.environment_snapshot import make_standby
from seamline.app.promote.load_limits import (
    BLOCKS_PER_LOOK,
    LOOKS,
    LoadFinding,
    decide_load,
    offered_rate,
)
from seamline.app.promote.press_endpoints import (
    BLOCK_S,
    CANDIDATE,
    CONNECTIONS,
    INCUMBENT,
    Contender,
    NotWarm,
    await_standby,
    make_contender,
    press,
)
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import DigestMismatch, InvalidInput, Refused
from seamline.domain.states import Verdict
from seamline.promote.environments import find_environment, live_release
from seamline.promote.gate_pictures import PICTURE, Interval, intervals
from seamline.promote.gate_results import GateResult
from seamline.promote.gate_rules import MOST_PER_S, LoadRule
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease
from seamline.promote.standbys import wanted_standbys

LOAD = "load"
_WORST = (Verdict.FAIL, Verdict.INCONCLUSIVE)


@dataclass(frozen=True)
class Plan:
    """What is to be pressed; endpoint → (the release's pin, the incumbent's)."""

    url: str
    environment: str
    rule: LoadRule
    release: StoredRelease
    live: StoredRelease | None
    endpoints: Mapping[str, tuple[Pin, Pin | None]]


@dataclass
class Pressed:
    """One endpoint: blocks of each contender, and what they tell."""

    endpoint: str
    rate: float
    contenders: Mapping[str, Contender]
    blocks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    findings: list[LoadFinding] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        verdicts = {one.verdict for one in self.findings}
        return next((one for one in _WORST if one in verdicts), Verdict.PASS)


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult | None:
    with platform.stores.db.read() as connection:
        environment = find_environment(connection, promotion.environment)
        live = live_release(connection, promotion.environment)
        wanted = wanted_standbys(connection, environment)
    endpoints = _endpoints(platform, release, live)
    if not endpoints:
        sentence = "no deployment serves a model of it: there is nothing to ask"
        return GateResult(LOAD, Verdict.PASS, sentence, {"endpoints": []})
    url = platform.data_plane_url()
    if url is None:
        return GateResult(LOAD, Verdict.INCONCLUSIVE, "no data plane runs here", {"endpoints": []})
    if release.digest not in wanted and release.digest != environment.release:
        warm = environment.policy.warm
        sentence = (
            f"the policy keeps {warm} releases warm, and it is not among them: "
            f"[environments.{promotion.environment}] warm = {warm + 1}"
        )
        return GateResult(LOAD, Verdict.INCONCLUSIVE, sentence, {"warm": wanted})
    plan = Plan(url, promotion.environment, environment.policy.gate.load, release, live, endpoints)
    key = (promotion.id, LOAD, environment.policy.digest)
    return platform.gate_work.ask(key, lambda: measure(platform, plan))


def _endpoints(
    platform: Platform, release: StoredRelease, live: StoredRelease | None
) -> dict[str, tuple[Pin, Pin | None]]:
    mine = {pin.name: pin for pin in release.release.packages}
    is_other = live is not None and live.digest != release.digest
    theirs = {pin.name: pin for pin in live.release.packages} if live and is_other else {}
    declared = platform.declarations().deployments.values()
    return {
        one.name: (mine[one.model], theirs.get(one.model)) for one in declared if one.model in mine
    }


def measure(platform: Platform, plan: Plan) -> GateResult:
    """Takes its time: the standby is waited for, and asked."""
    until = time.monotonic() + parse_duration_s(plan.rule.timeout)
    try:
        make_standby(platform, plan.release.digest)
    except (InvalidInput, Refused, DigestMismatch) as error:
        sentence = f"it cannot be served: {error}"
        return GateResult(LOAD, Verdict.FAIL, sentence, {"error": str(error)})
    try:
        await_standby(platform, plan.url, plan.environment, plan.release.digest, until)
    except NotWarm as error:
        sentence = f"the data plane cannot load it: {error}"
        return GateResult(LOAD, Verdict.FAIL, sentence, {"error": str(error)})
    found = [_press(platform, plan, name, *pins, until) for name, pins in plan.endpoints.items()]
    evidence = {
        "incumbent": None if plan.live is None else plan.live.digest,
        "connections": CONNECTIONS,
        "block_s": BLOCK_S,
        "endpoints": [_to_json(one) for one in found],
        PICTURE: intervals([row for one in found for row in _rows(one)], "ms"),
    }
    verdict = next((bad for bad in _WORST if any(one.verdict is bad for one in found)), None)
    told = "; ".join(_say(one, verdict) for one in found if verdict in (None, one.verdict))
    return GateResult(LOAD, verdict or Verdict.PASS, told, evidence)


def _press(
    platform: Platform, plan: Plan, endpoint: str, mine: Pin, theirs: Pin | None, until: float
) -> Pressed:
    contenders = {CANDIDATE: make_contender(platform, plan.release, mine)}
    if theirs is not None and plan.live is not None:
        contenders[INCUMBENT] = make_contender(platform, plan.live, theirs)
    pressed = Pressed(endpoint, offered_rate(plan.rule, MOST_PER_S), contenders)
    if not contenders[CANDIDATE].bodies:
        sentence = "the package holds no sample rows to ask with"
        pressed.findings = [LoadFinding("samples", Verdict.INCONCLUSIVE, sentence)]
        return pressed
    rivals = {name: one for name, one in contenders.items() if one.bodies}
    for _ in range(LOOKS):
        told = press(
            platform, plan.url, plan.environment, endpoint, rivals,
            rate=pressed.rate, blocks=BLOCKS_PER_LOOK, until=until,
        )  # fmt: skip
        for name, blocks in told.items():
            pressed.blocks.setdefault(name, []).extend(blocks)
        pressed.findings = decide_load(
            plan.rule, pressed.blocks[CANDIDATE], pressed.blocks.get(INCUMBENT)
        )
        if pressed.verdict is not Verdict.INCONCLUSIVE:
            break
    return pressed


def _to_json(one: Pressed) -> dict[str, Any]:
    return {
        "endpoint": one.endpoint,
        "offered_rps": one.rate,
        "contenders": {
            name: {
                "release": who.release,
                "version": who.version,
                "requests": sum(block["answered"] for block in one.blocks.get(name, ())),
                "failed": sum(block["failed"] for block in one.blocks.get(name, ())),
                "p95_ms": [block["p95_ms"] for block in one.blocks.get(name, ())],
                "rps": [block["rps"] for block in one.blocks.get(name, ())],
            }
            for name, who in one.contenders.items()
        },
        "findings": [found.to_json() for found in one.findings],
    }


def _rows(one: Pressed) -> list[Interval]:
    return [
        Interval(
            f"{one.endpoint}: {found.what}",
            round(found.found.median, 3),
            round(found.found.low, 3),
            round(found.found.high, 3),
            found.limit,
            found.verdict,
        )
        for found in one.findings
        if found.found is not None and found.what != "rps"
    ]


def _say(one: Pressed, verdict: Verdict | None) -> str:
    told = [found.sentence for found in one.findings if verdict in (None, found.verdict)]
    return f"{one.endpoint} at {one.rate:g} requests/s: {', '.join(told)}"
