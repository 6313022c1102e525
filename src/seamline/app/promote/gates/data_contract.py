"""Gate: the data that was trained on, and the data that is there now, keep their contracts.

Each dataset version that the release was trained on is held to what its dataset is held to today,
and the newest version in the target environment (its own table, or the shared one) to what the
training version was held to when it came: the model has seen nothing else. It fails with the first
rule that is broken, how often, and examples, or where too many delivered rows had to be set aside.
Rules that only warn are told and stop nothing. Columns that a mirror masks are not held to the
original's contract. It says nothing about whether the contract is a good one, nor whether values
have moved within what it allows: that is the gate `likeness`.

Needs: a release whose models name the dataset versions that they were trained on, and versions
that were taken in under a contract.

Opens: deliver the table without what breaks the contract (`mode = "replace"`), train on such a
version, or change the contract and apply it; `[environments.NAME.gate.data_contract] quarantined`
is the share of rows that may have been set aside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from seamline.app.data.mirror_dataset import dataset_of
from seamline.app.platform import Platform
from seamline.data.contracts.declared import current_contract
from seamline.data.contracts.held import breaches_of
from seamline.data.contracts.kept import contract_of
from seamline.data.mirror.mirrored import find_mirrored
from seamline.data.versions import DatasetVersion, find_version, version_row, versions_of_rows
from seamline.data.versions.removed import find_removal
from seamline.domain.digests import short
from seamline.domain.errors import NotFound
from seamline.domain.states import Verdict
from seamline.measure.contracts import Contract, Policy, Violation
from seamline.promote.environments import find_environment
from seamline.promote.gate_pictures import PICTURE, Tick, ticks
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease
from seamline.promote.shipments import received_contract

DATA_CONTRACT = "data_contract"
_TRAINED, _NOW = "trained on", "there now"


@dataclass(frozen=True)
class Held:
    """One version held to one contract. `unknown`: why nobody can tell."""

    what: str
    version: str
    contract: str | None = None
    #: What the version's own deliveries were held to.
    taken_in_under: str | None = None
    broken: tuple[Violation, ...] = ()
    warned: tuple[Violation, ...] = ()
    rows: int = 0
    quarantined: int = 0
    unknown: str = ""

    @property
    def share(self) -> float:
        delivered = self.rows + self.quarantined
        return self.quarantined / delivered if delivered else 0.0

    def to_json(self) -> dict[str, Any]:
        told = {"broken": self.broken, "warned": self.warned}
        lists = {key: [one.to_json() for one in found] for key, found in told.items()}
        return {**self.__dict__, **lists}


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    found = list(_held(platform, promotion.environment, release.release.datasets))
    limit = policy.gate.data_contract.quarantined
    verdict, sentence = decide(found, limit)
    picture = ticks([_tick(one, limit) for one in found])
    evidence = {
        "environment": promotion.environment,
        "quarantined_at_most": limit,
        "held": [one.to_json() for one in found],
        PICTURE: picture,
    }
    return GateResult(DATA_CONTRACT, verdict, sentence, evidence)


def decide(found: Collection[Held], quarantined: float) -> tuple[Verdict, str]:
    """The first that is broken says it.

    >>> decide([Held("trained on", "flights@7")], 0.05)
    (<Verdict.PASS: 'pass'>, 'flights@7 keeps its contract')
    >>> decide([Held("trained on", "flights@7", rows=90, quarantined=10)], 0.05)
    (<Verdict.FAIL: 'fail'>, 'flights@7 (trained on): 10 of 100 rows were set aside, 10.0% > 5.0%')
    >>> decide([], 0.05)[0]
    <Verdict.INCONCLUSIVE: 'inconclusive'>
    """
    if not found:
        return Verdict.INCONCLUSIVE, "the release names no data that it was trained on"
    for one in found:
        if one.broken:
            more = f" (and {len(one.broken) - 1} more rules)" if len(one.broken) > 1 else ""
            return Verdict.FAIL, f"{one.version} ({one.what}): {one.broken[0].sentence()}{more}"
        if one.share > quarantined:
            return Verdict.FAIL, (
                f"{one.version} ({one.what}): {one.quarantined:,} of "
                f"{one.rows + one.quarantined:,} rows were set aside, "
                f"{one.share:.1%} > {quarantined:.1%}"
            )
    unknown = next((one for one in found if one.unknown), None)
    if unknown is not None:
        return Verdict.INCONCLUSIVE, f"{unknown.version} ({unknown.what}): {unknown.unknown}"
    names = list(dict.fromkeys(one.version for one in found))
    keep = "keeps its contract" if len(names) == 1 else "keep their contracts"
    warned = [broken for one in found for broken in one.warned]
    told = f"; only told: {warned[0].sentence()}" if warned else ""
    return Verdict.PASS, f"{', '.join(names)} {keep}{told}"


def _held(platform: Platform, environment: str, pins: Collection[Pin]) -> Iterator[Held]:
    asked: dict[str, Contract] = {}
    for pin in sorted(set(pins)):
        trained, contract = _at_training(platform, pin)
        if trained is not None:
            yield _judge(platform, _TRAINED, trained, _today(platform, trained) or contract)
        if contract is not None:
            asked[pin.name] = contract
    for name in sorted({pin.name for pin in pins}):
        now = _newest(platform, name, environment)
        if now is None:
            yield Held(_NOW, name, unknown=f"{environment} has no such dataset")
        else:
            yield _judge(platform, _NOW, now, asked.get(name))


def _at_training(platform: Platform, pin: Pin) -> tuple[DatasetVersion | None, Contract | None]:
    """The version, unless it is on another server, and what its deliveries were held to."""
    stores = platform.stores
    try:
        version = find_version(stores, f"{pin.name}@{pin.version}")
    except NotFound:
        version = None
    if version is not None and version.digest == pin.digest:
        return version, contract_of(stores, version)
    with stores.db.read() as connection:
        digest = received_contract(connection, pin.digest)
    if digest is None:
        return None, None
    data = stores.blobs.get(digest, f"the contract of {pin.name}@{pin.version}")
    return None, Contract.from_json(json.loads(data))


def _today(platform: Platform, version: DatasetVersion) -> Contract | None:
    with platform.stores.db.read() as connection:
        return current_contract(connection, version.dataset)


def _newest(platform: Platform, name: str, environment: str) -> DatasetVersion | None:
    """Of the environment's own table; where it has none, of the one that all share."""
    with platform.stores.db.read() as connection:
        own = version_row(connection, dataset_of(name, environment))
        return own or version_row(connection, name)


def _judge(
    platform: Platform, what: str, version: DatasetVersion, contract: Contract | None
) -> Held:
    stores = platform.stores
    deliveries = versions_of_rows(stores, version)
    told = Held(
        what,
        version.reference,
        contract.digest if contract else None,
        version.contract_digest,
        rows=version.rows,
        quarantined=sum(one.rows_quarantined for one in deliveries),
    )
    if contract is None:
        return replace(told, unknown="it was taken in under no contract that is kept")
    with stores.db.read() as connection:
        removal = find_removal(connection, version)
    if removal is not None and contract.digest != version.contract_digest:
        why = f"its rows were removed ({removal.reason}) before {short(contract.digest)} was asked"
        return replace(told, unknown=why)
    mirrored = find_mirrored(stores, version)
    masked = set(mirrored.recipe.mask) if mirrored else set()
    found = breaches_of(stores, version, _without(contract, masked))
    found = [one for one in found if one.column not in masked]
    return replace(
        told,
        broken=tuple(one for one in found if one.does is not Policy.WARN),
        warned=tuple(one for one in found if one.does is Policy.WARN),
    )


def _without(contract: Contract, columns: Collection[str]) -> Contract:
    """What is asked of the other columns, and of rules that name none of these."""
    if not columns:
        return contract
    names = re.compile("|".join(rf"\b{re.escape(one)}\b" for one in columns))
    return replace(
        contract,
        columns=tuple(one for one in contract.columns if one.name not in columns),
        rules=tuple(one for one in contract.rules if not names.search(one.holds)),
    )


def _tick(one: Held, limit: float) -> Tick:
    holds = None if one.unknown else not one.broken and one.share <= limit
    detail = one.unknown or (one.broken[0].sentence() if one.broken else "")
    if not detail and one.quarantined:
        detail = f"{one.quarantined:,} rows set aside ({one.share:.1%})"
    return Tick(f"{one.version}, {one.what}", holds, detail)
