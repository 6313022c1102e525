"""Shipments: what one server tells another of a release that is to become live there.

A shipment is a signed document; the bytes that it names come beside it, by digest. Whoever receives
it believes nothing of it but what the pinned key of its origin has signed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection

from seamline.domain.digests import Digest, parse_digest
from seamline.domain.errors import Conflict, InvalidInput, Refused
from seamline.domain.promote_facts import (
    EmergencyRequested,
    PromotionRequested,
    ReleaseReceived,
    ReleaseShipped,
    RollbackRequested,
)
from seamline.domain.states import PromotionKind
from seamline.promote.environments import find_environment
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.release import Release, check_alias, parse_release
from seamline.store.canonical import canonical_json
from seamline.store.facts import RecordedFact, read_facts
from seamline.store.stores import Stores
from seamline.trust.key_history import check_pin, read_history
from seamline.trust.keys import PublicKey
from seamline.trust.statements import open_signed

SHIPMENT_TYPE = "application/vnd.seamline.shipment+json"


@dataclass(frozen=True, order=True)
class Cargo:
    """Bytes that go with the document: a wheel, a pipeline's file, a lock, a contract."""

    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Shipment:
    """`promotion_id` is that of the server that sends it, and names the shipment."""

    promotion_id: str
    environment: str
    kind: PromotionKind
    alias: str
    release: Release
    requested_by: str
    #: Why it is rolled back; empty for another kind.
    reason: str
    policy_digest: str | None
    evidence_digest: str | None
    #: party → {person: what they did}: who cannot approve there cannot approve here.
    parties: Mapping[str, Mapping[str, str]]
    #: Who has said yes on the server that sends it.
    approved_by: tuple[str, ...]
    cargo: tuple[Cargo, ...]
    #: Digest of a training version → digest of the contract that it was held to.
    contracts: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> bytes:
        plain = {
            **asdict(self),
            "schema": 1,
            "kind": self.kind.value,
            "release": self.release.to_json(),
            "approved_by": list(self.approved_by),
            "cargo": [asdict(one) for one in self.cargo],
        }
        return canonical_json(plain)


def parse_shipment(document: bytes) -> Shipment:
    """InvalidInput for anything else."""
    try:
        said: dict[str, Any] = json.loads(document)
        found = Shipment(
            promotion_id=str(said["promotion_id"]),
            environment=str(said["environment"]),
            kind=PromotionKind(said["kind"]),
            alias=str(said["alias"]),
            release=parse_release(canonical_json(said["release"])),
            requested_by=str(said["requested_by"]),
            reason=str(said["reason"]),
            policy_digest=said["policy_digest"],
            evidence_digest=said["evidence_digest"],
            parties={party: dict(people) for party, people in said["parties"].items()},
            approved_by=tuple(said["approved_by"]),
            cargo=tuple(Cargo(parse_digest(one["digest"]), int(one["size_bytes"]))
                        for one in said["cargo"]),
            contracts=dict(said["contracts"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"This is no shipment: {error!r}.") from error
    check_alias(found.alias)
    return found


def open_shipment(envelope: bytes, keys: tuple[bytes, ...], pin: str) -> tuple[Shipment, PublicKey]:
    """As the origin has signed it; `pin`: the public key that this server trusts beforehand.

    Refused where the newest key of a history that the pinned one is part of has not signed it.
    """
    history = read_history(keys)
    check_pin(history, pin)
    opened = open_signed(envelope, SHIPMENT_TYPE, [history.current.public])
    return parse_shipment(opened.payload), opened.key


def pinned_origin(connection: Connection, environment: str) -> str:
    """The key that signs what comes into the environment from elsewhere; Refused without one."""
    origin = find_environment(connection, environment).policy.origin
    if origin is None:
        raise Refused(
            f"{environment} takes no release from another server: no origin's key is pinned.",
            next_step=f'Pin it here: [environments.{environment}] origin = "…", as '
            "seamline key list prints it there.",
        )
    return origin


def record_received(
    stores: Stores, shipment: Shipment, origin: PublicKey, envelope: str, *, by: str
) -> RecordedFact:
    """Once: that its bytes are here, and are what the origin signed. Conflict where the same
    promotion of the origin was received with something else in it."""
    with stores.db.transaction() as tx:
        find_environment(tx, shipment.environment)
        known = find_received(tx, shipment.promotion_id)
        if known is None:
            people = {party: dict(people) for party, people in shipment.parties.items()}
            fact = ReleaseReceived(
                shipment.promotion_id,
                shipment.environment,
                str(shipment.release.digest),
                origin.text,
                envelope,
                shipment.requested_by,
                people,
                dict(shipment.contracts),
            )
            stores.facts.append(tx, fact, by=by)
            known = find_received(tx, shipment.promotion_id)
    assert known is not None
    here = (known.body["release"], known.body["environment"])
    if here != (shipment.release.digest, shipment.environment):
        raise Conflict(
            f"Promotion {shipment.promotion_id} of that origin was received already, with another "
            "release or for another environment."
        )
    return known


def find_received(connection: Connection, promotion_id: str) -> RecordedFact | None:
    """By the id that the promotion has on the server that sent it."""
    found = read_facts(connection, kinds=[ReleaseReceived.kind], subject=promotion_id)
    return found[0] if found else None


def received_of(connection: Connection, release: str) -> list[RecordedFact]:
    """Each time that this release came from another server."""
    return read_facts(connection, kinds=[ReleaseReceived.kind], mentioning=release)


def received_contract(connection: Connection, dataset_digest: str) -> Digest | None:
    """What a training version that is on another server was held to, where it came along."""
    for fact in read_facts(connection, kinds=[ReleaseReceived.kind], mentioning=dataset_digest):
        if dataset_digest in fact.body["contracts"]:
            return parse_digest(fact.body["contracts"][dataset_digest])
    return None


def promotion_caused_by(connection: Connection, fact_id: str) -> Promotion | None:
    """The promotion that was asked for because of this fact."""
    kinds = [PromotionRequested.kind, RollbackRequested.kind, EmergencyRequested.kind]
    asked = read_facts(connection, kinds=kinds, caused_by=fact_id)
    return find_promotion(connection, asked[0].body["promotion_id"]) if asked else None


def record_shipped(
    stores: Stores, promotion: Promotion, url: str, there: str, key: str, *, caused_by: str
) -> None:
    """Once: under which id the other server promotes it."""
    with stores.db.transaction() as tx:
        if find_shipped(tx, promotion.id) is None:
            fact = ReleaseShipped(
                promotion.id, promotion.environment, promotion.release, url, there, key
            )
            stores.facts.append(tx, fact, by="seamline", caused_by=caused_by)


def find_shipped(connection: Connection, promotion_id: str) -> RecordedFact | None:
    found = read_facts(connection, kinds=[ReleaseShipped.kind], subject=promotion_id)
    return found[0] if found else None
