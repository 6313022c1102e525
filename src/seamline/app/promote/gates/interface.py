"""Gate: nobody who uses what is live has to change because of this release.

Each endpoint's request and response are compared with those of the release that is live in the
environment, and with what the prediction log shows that callers send there; so are the parameters
and outputs of its pipelines, and the tables that pipelines make are held to the contracts declared
for them. Inputs that are added and may be null pass, and so does one that all callers send already;
what is removed, renamed, retyped, put in another unit or newly demanded fails, each by name. It
proves that requests and tables keep their form. It does not prove that the answers are as good
(that is `evaluation`), nor does it know callers that asked nothing within `look_back`.

Needs: a release that is live there; without one nobody uses it, and the gate passes and says so.
For a table with a declared contract, a run of the release's pipeline: the gate `pipeline` makes
one, if it is asked, too.

Opens: give the new model the old names, or tell the callers, and accept the change by its name
(`[environments.NAME.gate.interface] accepted = ["ENDPOINT.input.COLUMN"]`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from seamline.app.platform import Platform
from seamline.app.promote.endpoint_changes import Sent, decide_changes, sent_in
from seamline.app.promote.tables_made import TableFound, look_at_tables
from seamline.app.serve.bulk_features import find_features
from seamline.domain.clock import iso
from seamline.domain.durations import parse_moment
from seamline.domain.errors import DigestMismatch
from seamline.domain.states import Verdict
from seamline.promote.environments import find_environment, live_release
from seamline.promote.gate_pictures import PICTURE, Tick, ticks
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease
from seamline.promote.rounds import decided_in, find_round
from seamline.register.models.catalogue import find_model_version
from seamline.register.names import normalised_package
from seamline.register.pipelines.interface_changes import decide_changes as decide_pipeline
from seamline.register.pipelines.interfaces import Interface, read_interface
from seamline.register.pipelines.ir_file import load_ir
from seamline.serve.log.tables import recent_features

INTERFACE = "interface"
#: The gate whose runs make the tables that this one looks at.
_PIPELINE = "pipeline"
_MOST_ROWS = 10_000


@dataclass(frozen=True)
class Difference:
    """`key` is what the policy accepts it by."""

    key: str
    sentence: str
    breaks: bool

    def to_json(self) -> dict[str, object]:
        return {"key": self.key, "sentence": self.sentence, "breaks": self.breaks}


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult | None:
    """None while the gate `pipeline` has a table made that nobody has seen yet."""
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
        live = live_release(connection, promotion.environment)
        decided = decided_in(connection, promotion, find_round(connection, promotion))
    rule = policy.gate.interface
    tables = look_at_tables(platform, promotion.environment, release)
    is_coming = _PIPELINE in policy.gates and _PIPELINE not in decided
    if is_coming and any(one.run_id is None for one in tables):
        return None
    found: list[Difference] = []
    asked: dict[str, dict[str, object]] = {}
    if live is not None:
        since = parse_moment(rule.look_back, platform.stores.clock.now())
        for endpoint, old, new in _endpoints(platform, live, release):
            sent = _sent(platform, promotion.environment, endpoint, since)
            asked[endpoint] = {"rows": sent.rows, "since": iso(since)}
            found += _of_endpoint(platform, endpoint, old, new, sent)
        found += _of_pipelines(platform, live, release)
    found += [_of_table(one) for one in tables if one.broken]
    unknown = [one for one in tables if one.run_id is None]
    shut = [one for one in found if one.breaks and one.key not in rule.accepted]
    evidence = {
        "incumbent": None if live is None else live.digest,
        "changes": [one.to_json() for one in found],
        "accepted": sorted({one.key for one in found if one.breaks} & set(rule.accepted)),
        "asked": asked,
        "tables": [one.to_json() for one in tables],
        PICTURE: ticks(_ticks(found, tables, rule.accepted, [*asked])),
    }
    return GateResult(INTERFACE, *_verdict(promotion, live, found, shut, unknown), evidence)


def _verdict(
    promotion: Promotion,
    live: StoredRelease | None,
    found: list[Difference],
    shut: list[Difference],
    unknown: list[TableFound],
) -> tuple[Verdict, str]:
    if shut:
        told = "; ".join(one.sentence for one in shut)
        return Verdict.FAIL, f"{told}. Accepted by name: {', '.join(one.key for one in shut)}"
    if unknown:
        told = ", ".join(f"{one.pipeline} (for {one.dataset})" for one in unknown)
        return Verdict.INCONCLUSIVE, f"no run yet of {told}: its table cannot be compared"
    if live is None:
        return Verdict.PASS, f"nothing is live in {promotion.environment}: nobody uses it yet"
    if not found:
        return Verdict.PASS, f"the same requests, answers and tables as {live.alias}"
    told = "; ".join(one.sentence for one in found)
    return Verdict.PASS, f"whoever uses {live.alias} can go on: {told}"


def _endpoints(
    platform: Platform, live: StoredRelease, release: StoredRelease
) -> Iterator[tuple[str, Pin, Pin | None]]:
    """Endpoint (of a model without one: its name), and what answered and is to answer there."""
    coming = {pin.name: pin for pin in release.release.packages}
    declared = platform.declarations().deployments.values()
    for pin in live.release.packages:
        names = [one.name for one in declared if one.model == pin.name]
        for name in names or [pin.name]:
            yield name, pin, coming.get(pin.name)


def _sent(platform: Platform, environment: str, endpoint: str, since: datetime) -> Sent:
    recent = recent_features(platform.stores, environment, endpoint, since, _MOST_ROWS)
    rows = find_features(platform.stores, recent).rows["features"].drop_nulls()
    declared = platform.declarations().deployments.get(endpoint)
    hidden = frozenset(declared.private) if declared else frozenset()
    unlogged = frozenset(declared.unlogged) if declared else frozenset()
    return sent_in([json.loads(row) for row in rows], hidden, unlogged)


def _of_endpoint(
    platform: Platform, endpoint: str, old: Pin, new: Pin | None, sent: Sent
) -> list[Difference]:
    if new is None:
        told = f" ({sent.rows} rows asked of it lately)" if sent.rows else ""
        return [Difference(endpoint, f"{endpoint} would not answer any more{told}", True)]
    before, after = (_signature(platform, pin) for pin in (old, new))
    declared = platform.declarations().deployments.get(endpoint)
    context = frozenset(declared.context) if declared else frozenset()
    return [
        Difference(f"{endpoint}.{one.side}.{one.name}", f"{endpoint}: {one}", one.breaks)
        for one in decide_changes(before, after, sent, context)
    ]


def _signature(platform: Platform, pin: Pin) -> dict[str, Any]:
    found = find_model_version(platform.stores, pin.name, pin.version)
    if found.wheel_digest != pin.digest:
        what = f"package {pin.name} {pin.version}"
        raise DigestMismatch(what, expected=pin.digest, actual=found.wheel_digest)
    signature: dict[str, Any] = found.document["signature"]
    return signature


def _of_pipelines(
    platform: Platform, live: StoredRelease, release: StoredRelease
) -> Iterator[Difference]:
    coming = {normalised_package(pin.name): pin for pin in release.release.pipelines}
    for old in live.release.pipelines:
        new = coming.get(normalised_package(old.name))
        if new is None:
            yield Difference(old.name, f"the pipeline {old.name} could not be run any more", True)
        elif new.digest != old.digest:
            changes = decide_pipeline(_interface(platform, old), _interface(platform, new))
            for one in changes:
                key = f"{old.name}.{one.side}.{one.name}"
                yield Difference(key, f"pipeline {old.name}: {one}", one.is_breaking)


def _interface(platform: Platform, pin: Pin) -> Interface:
    data = platform.stores.blobs.get(pin.digest, f"pipeline {pin.name}@{pin.version}")
    return read_interface(load_ir(data))


def _of_table(found: TableFound) -> Difference:
    told = "; ".join(found.broken)
    sentence = f"{found.dataset}, made by {found.pipeline} in run {found.run_id}: {told}"
    return Difference(f"{found.dataset}.table", sentence, True)


def _ticks(
    found: list[Difference], tables: list[TableFound], accepted: tuple[str, ...], same: list[str]
) -> list[Tick]:
    changed = {one.key.partition(".")[0] for one in found}
    return [
        *(Tick(name, True, "as it was") for name in same if name not in changed),
        *(Tick(one.key, not one.breaks or one.key in accepted, one.sentence) for one in found),
        *(
            Tick(one.dataset, None if one.run_id is None else True, one.contract_digest)
            for one in tables
            if not one.broken
        ),
    ]
