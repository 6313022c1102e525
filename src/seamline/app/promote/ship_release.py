"""An environment that is live on another server: the release is sent there, and followed.

What is sent is named by digest, so whatever is there already is not sent again, and a sender or a
receiver that was killed goes on where they stopped. The promotion here is `verifying` until the one
there has come to its end; that one goes by the policy of that server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from seamline.app.platform import Platform
from seamline.app.promote.far_server import FarServer, find_far_server
from seamline.app.promote.parties import parties_of
from seamline.data.versions import find_version
from seamline.domain.errors import Conflict, NotFound, SeamlineError, Unavailable
from seamline.domain.promote_facts import RollbackRequested
from seamline.domain.states import PromotionKind, PromotionPhase, is_terminal
from seamline.promote.approvals import approvals_of
from seamline.promote.environments import Environment, find_environment
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.release import Pin, StoredRelease, find_release
from seamline.promote.shipments import (
    SHIPMENT_TYPE,
    Cargo,
    Shipment,
    find_shipped,
    received_contract,
    record_shipped,
)
from seamline.promote.steps import finish
from seamline.serve.snapshots.deployments import publish_snapshot
from seamline.serve.snapshots.snapshot import snapshot_path
from seamline.store.facts import RecordedFact, read_facts
from seamline.store.stores import Stores
from seamline.trust.signing import find_statements, key_history, sealed_lists, sign_payload

PIECE_BYTES = 1 << 20
#: After this time other facts have their turn.
PORTION_S = 2.0


def ship_release(
    platform: Platform, environment: Environment, promotion: Promotion, fact: RecordedFact
) -> bool:
    """Whether there is more to send: then ask again. Safe to do again at any point."""
    stores = platform.stores
    if promotion.phase is not PromotionPhase.VERIFYING:
        return False  # what was live there before is live there still
    with stores.db.read() as connection:
        if find_shipped(connection, promotion.id) is not None:
            return False
        release = find_release(connection, promotion.goes_live)
    try:
        server = find_far_server(platform, environment)
        here = f"/environments/{environment.name}/shipments"
        answer = server.post(here, write_letter(platform, promotion, release))
        if answer["missing"]:
            _send_cargo(stores, server, here, answer["missing"])
            return True
        record_shipped(
            stores, promotion, server.url, answer["promotion_id"], answer["key"], caused_by=fact.id
        )
    except Unavailable:
        raise
    except SeamlineError as error:
        finish(stores, promotion.id, PromotionPhase.FAILED, str(error), caused_by=fact.id)
    return False


def follow_shipped(platform: Platform, fact: RecordedFact) -> None:
    """Until the promotion there has come to an end: Unavailable, which says what it waits for."""
    stores, there = platform.stores, str(fact.body["there"])
    with stores.db.read() as connection:
        promotion = find_promotion(connection, fact.body["promotion_id"])
        environment = find_environment(connection, promotion.environment)
        release = find_release(connection, promotion.goes_live)
    if promotion.phase is not PromotionPhase.VERIFYING:
        return
    url = fact.body["url"]
    try:
        server = FarServer(url, find_far_server(platform, environment).token)
        found = server.get(f"/promotions/{there}")
    except NotFound as error:
        finish(stores, promotion.id, PromotionPhase.ERRORED, str(error), caused_by=fact.id)
        return
    phase, said = PromotionPhase(found["phase"]), f"promotion {there} on {url}"
    if phase is PromotionPhase.LIVE:
        _withdraw(platform, environment, release, fact)
        finish(stores, promotion.id, phase, f"live as {said}", caused_by=fact.id)
    elif is_terminal(phase):
        broke = phase is PromotionPhase.ERRORED
        end = PromotionPhase.ERRORED if broke else PromotionPhase.FAILED
        why = f"{said} ended as {phase.replace('_', ' ')}: {found['reason']}"
        finish(stores, promotion.id, end, why, caused_by=fact.id)
    else:
        waits = "; ".join(found["why_not_yet"]) or "it goes on by itself"
        raise Unavailable(f"{said} is {phase.replace('_', ' ')}: {waits}.")


def _withdraw(
    platform: Platform, environment: Environment, release: StoredRelease, fact: RecordedFact
) -> None:
    """What this server served for the environment before it was live elsewhere."""
    if snapshot_path(platform.root, environment.name).exists():
        publish_snapshot(
            platform.stores,
            environment.name,
            release.digest,
            release.alias,
            (),
            caused_by=fact.id,
        )


def write_letter(
    platform: Platform, promotion: Promotion, release: StoredRelease
) -> dict[str, Any]:
    """The signed shipment, and what proves its parts: statements, and the history of the keys."""
    stores = platform.stores
    shipment = _shipment(platform, promotion, release)
    with stores.db.transaction() as tx:
        envelope = sign_payload(stores, tx, SHIPMENT_TYPE, shipment.document())
        pins = [*release.release.packages, *release.release.pipelines]
        stated = {pin.digest: find_statements(tx, pin.digest) for pin in pins}
        keys = key_history(tx)
        sealed = sealed_lists(stores, tx) if len(keys) > 1 else {}
    return {
        "envelope": envelope.decode(),
        "keys": [one.decode() for one in keys],
        "sealed": {name: data.decode() for name, data in sealed.items()},
        "statements": {
            digest: [
                stores.blobs.get(one, "statement").decode()
                for one in dict.fromkeys(row.statement for row in rows)
            ]
            for digest, rows in stated.items()
        },
    }


def _shipment(platform: Platform, promotion: Promotion, release: StoredRelease) -> Shipment:
    stores = platform.stores
    contracts = _contracts(stores, release)
    digests = {
        pin.digest
        for kind in ("package", "pipeline", "lock", "contract")
        for pin in release.release.pins()[kind]
    } | set(contracts.values())
    parties = parties_of(platform, release, promotion)
    with stores.db.read() as connection:
        approved = [one.principal for one in approvals_of(connection, promotion.id)]
        rolled = read_facts(connection, kinds=[RollbackRequested.kind], subject=promotion.id)
    return Shipment(
        promotion_id=promotion.id,
        environment=promotion.environment,
        kind=promotion.kind,
        alias=release.alias,
        release=release.release,
        requested_by=promotion.requested_by,
        reason=rolled[0].body["reason"] if promotion.kind is PromotionKind.ROLLBACK else "",
        policy_digest=promotion.policy_digest,
        evidence_digest=promotion.evidence_digest,
        parties={party.value: dict(people) for party, people in parties.items()},
        approved_by=tuple(approved),
        cargo=tuple(Cargo(one, _size(stores, one)) for one in sorted(digests)),
        contracts=contracts,
    )


def _contracts(stores: Stores, release: StoredRelease) -> Mapping[str, str]:
    """What the training versions were held to: endpoints ask the same of what they are sent."""
    found = {}
    for pin in release.release.datasets:
        contract = _contract(stores, pin)
        if contract is not None:
            found[pin.digest] = contract
    return found


def _contract(stores: Stores, pin: Pin) -> str | None:
    """What it was held to here, or what came along with it from the server before."""
    with suppress(NotFound):
        version = find_version(stores, f"{pin.name}@{pin.version}")
        if version.digest == pin.digest:
            return version.contract_digest
    with stores.db.read() as connection:
        return received_contract(connection, pin.digest)


def _size(stores: Stores, digest: str) -> int:
    return stores.blobs.hold(digest, "what the release names").stat().st_size


def _send_cargo(
    stores: Stores, server: FarServer, here: str, missing: Sequence[Mapping[str, Any]]
) -> None:
    """From where the other side has it to; it looks at the digest when one is whole."""
    until = stores.clock.now() + timedelta(seconds=PORTION_S)
    for one in missing:
        digest, offset = str(one["digest"]), int(one["have"])
        path = stores.blobs.hold(digest, "what the release names")
        with path.open("rb") as file:
            file.seek(offset)
            while piece := file.read(PIECE_BYTES):
                _put(server, f"{here}/{digest}?offset={offset}", piece)
                offset += len(piece)
                if stores.clock.now() > until:
                    return


def _put(server: FarServer, path: str, piece: bytes) -> None:
    """A piece that is not the next one (the answer to the one before was lost) is no refusal."""
    try:
        server.put(path, piece)
    except Conflict as error:
        raise Unavailable(error.message) from error
