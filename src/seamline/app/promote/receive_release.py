"""A release comes from another server, and is promoted here: by this server's own policy.

Nothing is believed but the pinned key of the origin: it has to have signed the shipment, and what
is published of each wheel and pipeline under its name. Then they are published here, too, which
signs them with the key of this workspace, and everything that uses them asks for that signature.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from seamline.app.platform import Platform
from seamline.app.register.package_model import admitted_formats
from seamline.domain.clock import new_id
from seamline.domain.digests import parse_digest, short
from seamline.domain.errors import Conflict, DigestMismatch, InvalidInput, NotFound, Refused
from seamline.domain.states import PromotionKind
from seamline.promote.promotion import Promotion, list_promotions
from seamline.promote.release import Pin, find_release, record_release
from seamline.promote.requests import request_emergency, request_promotion, request_rollback
from seamline.promote.shipments import (
    Cargo,
    Shipment,
    find_received,
    open_shipment,
    pinned_origin,
    promotion_caused_by,
    record_received,
)
from seamline.register.models.catalogue import read_model_wheel, register_model_version
from seamline.register.packages.wheel_pack import wheel_name
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.store.blobs import digest_of_file
from seamline.store.facts import RecordedFact
from seamline.store.received import ReceivedFile
from seamline.store.stores import Stores
from seamline.trust.keys import PublicKey
from seamline.trust.proof import Proof, examine, pipeline_subject, require
from seamline.trust.refusals import require as require_verb
from seamline.trust.roles import Principal, Verb

#: Below the workspace: what has come in part, as DIGITS.BYTES. A restart keeps it.
ARRIVING = "arriving"
MAX_CARGO_BYTES = 64 << 30


@dataclass(frozen=True)
class Letter:
    """As it came: nothing of it is checked yet."""

    envelope: str
    keys: tuple[str, ...]
    sealed: Mapping[str, str] = field(default_factory=dict)
    #: digest → envelopes that say what it is.
    statements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def receive_release(
    platform: Platform, environment: str, letter: Letter, who: Principal
) -> dict[str, Any]:
    """What of its bytes is not here yet; once nothing is missing, the promotion that it became.

    Safe to be asked again at any point: a shipment is received, and promoted, once.
    """
    stores, key = platform.stores, platform.key.public.text
    shipment, origin = _open(stores, environment, letter)
    with stores.db.read() as connection:
        known = find_received(connection, shipment.promotion_id)
        asked = promotion_caused_by(connection, known.id) if known else None
    if asked is None:
        missing = _missing(stores, shipment.cargo)
        if missing:
            arriving = [_await_cargo(stores, one) for one in missing]
            return {"missing": arriving, "promotion_id": None, "key": key}
        asked = _promote(platform, shipment, origin, letter, who)
    return {"missing": [], "promotion_id": asked.id, "key": key}


def _open(stores: Stores, environment: str, letter: Letter) -> tuple[Shipment, PublicKey]:
    with stores.db.read() as connection:
        pin = pinned_origin(connection, environment)
    keys = tuple(one.encode() for one in letter.keys)
    shipment, origin = open_shipment(letter.envelope.encode(), keys, pin)
    if shipment.environment != environment:
        raise Refused(f"This shipment is for {shipment.environment}, not for {environment}.")
    named = {pin.digest for kind in ("package", "pipeline", "lock", "contract")
             for pin in shipment.release.pins()[kind]}  # fmt: skip
    lacking = named - {one.digest for one in shipment.cargo}
    if lacking:
        raise InvalidInput(f"The shipment leaves out {', '.join(sorted(map(short, lacking)))}.")
    return shipment, origin


# -- bytes -------------------------------------------------------------------------------------
def _missing(stores: Stores, cargo: tuple[Cargo, ...]) -> list[Cargo]:
    """All of it is hashed once nothing is missing, and not at each look before."""
    absent = [one for one in cargo if not stores.blobs.holds(one.digest)]
    return absent or [one for one in cargo if not _is_here(stores, one)]


def _is_here(stores: Stores, one: Cargo) -> bool:
    """Altered since, it is asked for again."""
    with suppress(NotFound, DigestMismatch):
        stores.blobs.verified_path(one.digest)
        return True
    return False


def _await_cargo(stores: Stores, one: Cargo) -> dict[str, Any]:
    """Only what is waited for can be sent; how much of it has come."""
    if not 0 <= one.size_bytes <= MAX_CARGO_BYTES:
        raise InvalidInput(f"{short(one.digest)} cannot be {one.size_bytes:,} bytes long.")
    path = _arriving(stores, one.digest) or _place(stores, one)
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        return {"digest": one.digest, "size_bytes": one.size_bytes, "have": file.tell()}


def receive_piece(stores: Stores, digest: str, offset: int, data: bytes) -> int:
    """How much is here now. Whole, it is stored if it is what it is called; else it goes."""
    path = _arriving(stores, parse_digest(digest))
    with ExitStack() as held:
        file = None if path is None else held.enter_context(_held(path))
        if path is None or file is None:
            if stores.blobs.holds(digest):
                return offset + len(data)  # it came twice
            raise Refused(
                f"Nobody waits for {short(digest)}.", next_step="Send the shipment first."
            )
        size = int(path.suffix.removeprefix("."))
        have = file.seek(0, os.SEEK_END)
        if offset != have or have + len(data) > size:
            raise Conflict(
                f"{have} of {size} bytes of {short(digest)} are here: not the place for "
                f"{len(data)} more at {offset}."
            )
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        if have + len(data) == size:
            _take_in(stores, path, digest, size)
    return have + len(data)


@contextmanager
def _held(path: Path) -> Iterator[BinaryIO | None]:
    """One sender at a time: what two wrote at once would be hashed as what one wrote. None: the
    other one's piece was the last, and it is not here any more."""
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        yield None
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = path.stat() if path.exists() else None
        is_here = found is not None and found.st_ino == os.fstat(file.fileno()).st_ino
        yield file if is_here else None


def _take_in(stores: Stores, path: Path, digest: str, size: int) -> None:
    actual = digest_of_file(path)
    if actual != digest:
        path.unlink()
        raise DigestMismatch(f"what was sent as {short(digest)}", expected=digest, actual=actual)
    stores.blobs.adopt(ReceivedFile(path, actual, size))


def _arriving(stores: Stores, digest: str) -> Path | None:
    digits = parse_digest(digest).removeprefix("sha256:")
    return next((stores.root / ARRIVING).glob(f"{digits}.*"), None)


def _place(stores: Stores, one: Cargo) -> Path:
    digits = parse_digest(one.digest).removeprefix("sha256:")
    return stores.root / ARRIVING / f"{digits}.{one.size_bytes}"


# -- all is here -------------------------------------------------------------------------------
def _promote(
    platform: Platform, shipment: Shipment, origin: PublicKey, letter: Letter, who: Principal
) -> Promotion:
    stores, release = platform.stores, shipment.release
    for pin in release.packages:
        _require_wheel(stores, pin, letter, origin)
    for pin in release.pipelines:
        subject = pipeline_subject(DEFAULT_REPOSITORY, pin.name, _tag(pin))
        _require(pin, subject, letter, origin)
    envelope = stores.blobs.put(letter.envelope.encode())
    fact = record_received(stores, shipment, origin, envelope, by=who.name)
    for pin in release.packages:
        _publish_wheel(platform, pin, fact, by=who.name)
    for pin in release.pipelines:
        data, tag = stores.blobs.get(pin.digest, f"pipeline {pin.name}"), _tag(pin)
        publish_pipeline(stores, data, [tag] if tag else [], by=who.name, who=who, name=pin.name)
    record_release(stores, release, _alias(stores, shipment), by=who.name, caused_by=fact.id)
    return _request(stores, shipment, fact, who)


def _require_wheel(stores: Stores, pin: Pin, letter: Letter, origin: PublicKey) -> None:
    """It is the model that the release says, and the origin has signed it under that name."""
    with stores.blobs.verified_path(pin.digest, pin.name).open("rb") as wheel:
        document, _ = read_model_wheel(wheel)
    found = (document["name"], document["version"])
    if found != (pin.name, pin.version):
        raise Refused(f"The release calls {found[0]} {found[1]} {pin.name} {pin.version}.")
    _require(pin, wheel_name(pin.name, pin.version), letter, origin)


def _require(pin: Pin, subject: str, letter: Letter, origin: PublicKey) -> None:
    proof = Proof(letter.statements.get(pin.digest, ()), letter.keys, letter.sealed)
    findings = examine(proof, pin.digest, subject=subject, pin=origin.text)
    require(findings, f"{pin.name} {pin.version}")


def _publish_wheel(platform: Platform, pin: Pin, fact: RecordedFact, *, by: str) -> None:
    """Registering takes a file away: it gets a link of its own."""
    stores = platform.stores
    incoming = stores.root / "incoming"
    incoming.mkdir(exist_ok=True)
    path, link = stores.blobs.path_of(pin.digest), incoming / f"wheel-{new_id(stores.clock)}"
    try:
        os.link(path, link)
    except OSError:  # another file system
        shutil.copyfile(path, link)
    try:
        received = ReceivedFile(link, digest_of_file(link), link.stat().st_size)
        if received.digest != pin.digest:
            raise DigestMismatch(pin.name, expected=pin.digest, actual=received.digest)
        register_model_version(
            stores,
            received,
            key=platform.key,
            by=by,
            caused_by=fact.id,
            admitted=admitted_formats(platform),
        )
    finally:
        link.unlink(missing_ok=True)


def _tag(pin: Pin) -> str | None:
    return None if pin.version.startswith("sha256:") else pin.version


def _alias(stores: Stores, shipment: Shipment) -> str:
    """Its own, where that does not name another release here."""
    digest = shipment.release.digest
    with stores.db.read() as connection, suppress(NotFound, InvalidInput):
        if find_release(connection, shipment.alias).digest != digest:
            return f"{shipment.alias[:80]}.{short(digest)}"
    return shipment.alias


def _request(stores: Stores, shipment: Shipment, fact: RecordedFact, who: Principal) -> Promotion:
    release, environment = str(shipment.release.digest), shipment.environment
    match shipment.kind:
        case PromotionKind.ROLLBACK:
            require_verb(who, Verb.ROLL_BACK, environment)
            return request_rollback(
                stores, environment, shipment.reason, by=who.name, to=release, caused_by=fact.id
            )
        case PromotionKind.EMERGENCY:
            require_verb(who, Verb.BREAK_GLASS, environment)
            return request_emergency(stores, release, environment, by=who.name, caused_by=fact.id)
        case PromotionKind.REGULAR:
            require_verb(who, Verb.REQUEST_PROMOTION, environment)
            return _request_regular(stores, release, environment, fact, who)


def _request_regular(
    stores: Stores, release: str, environment: str, fact: RecordedFact, who: Principal
) -> Promotion:
    try:
        return request_promotion(stores, release, environment, by=who.name, caused_by=fact.id)
    except Conflict:
        # An automatic environment has asked by itself, as soon as the release was here.
        with stores.db.read() as connection:
            going = list_promotions(connection, environment=environment, open_only=True)
        for one in going:
            if one.release == release and one.kind is PromotionKind.REGULAR:
                return one
        raise
