"""A release: an immutable set of digests, named by the digest of its canonical JSON.

The document (schema 1) holds sorted lists of {name, version, digest} and no environment values:

    {"contracts": […], "datasets": […], "images": […], "locks": […], "packages": […],
     "pipelines": […], "schema": 1}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from seamline.domain.clock import iso
from seamline.domain.digests import Digest, check_digest, digest_of, parse_digest, short
from seamline.domain.errors import Conflict, InvalidInput, not_found
from seamline.domain.promote_facts import ReleaseCreated, ReleaseRefused
from seamline.promote.rows import RELEASES
from seamline.store.canonical import canonical_json
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.principals import PLATFORM

_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DIGITS = re.compile(r"[0-9a-f]{8,}")


@dataclass(frozen=True, order=True)
class Pin:
    name: str
    version: str
    digest: str


@dataclass(frozen=True)
class Release:
    packages: tuple[Pin, ...] = ()
    pipelines: tuple[Pin, ...] = ()
    images: tuple[Pin, ...] = ()
    #: Exact versions of everything that a model's environment holds.
    locks: tuple[Pin, ...] = ()
    #: What a model takes and gives (its signature).
    contracts: tuple[Pin, ...] = ()
    #: What the packages were trained on.
    datasets: tuple[Pin, ...] = ()

    def to_json(self) -> dict[str, Any]:
        lists = {
            name: [asdict(pin) for pin in sorted(set(getattr(self, name)))]
            for name in ("packages", "pipelines", "images", "locks", "contracts", "datasets")
        }
        return {"schema": 1, **lists}

    def document(self) -> bytes:
        return canonical_json(self.to_json())

    @property
    def digest(self) -> Digest:
        return digest_of(self.document())

    def pins(self) -> dict[str, tuple[Pin, ...]]:
        return {
            "package": self.packages,
            "pipeline": self.pipelines,
            "image": self.images,
            "lock": self.locks,
            "contract": self.contracts,
            "dataset": self.datasets,
        }


@dataclass(frozen=True)
class StoredRelease:
    digest: str
    alias: str
    release: Release
    created_by: str
    created_at: str

    def to_json(self) -> dict[str, Any]:
        return {
            "digest": self.digest,
            "alias": self.alias,
            "created_by": self.created_by,
            "created_at": self.created_at,
            "contents": self.release.to_json(),
        }


def parse_release(document: bytes) -> Release:
    parsed = json.loads(document)

    def pins(name: str) -> tuple[Pin, ...]:
        return tuple(Pin(**pin) for pin in parsed[name])

    return Release(
        packages=pins("packages"),
        pipelines=pins("pipelines"),
        images=pins("images"),
        locks=pins("locks"),
        contracts=pins("contracts"),
        datasets=pins("datasets"),
    )


def record_release(
    stores: Stores, release: Release, alias: str, *, by: str, caused_by: str | None = None
) -> StoredRelease:
    """Idempotent by content; Conflict when the alias names other contents."""
    digest = release.digest
    check_alias(alias)
    with stores.db.transaction() as tx:
        known = _select(tx, RELEASES.c.digest == digest)
        if known is not None:
            return known
        taken = _select(tx, RELEASES.c.alias == alias)
        if taken is None and _DIGITS.fullmatch(alias):  # `promote DIGITS` means that release
            taken = _select(tx, RELEASES.c.digest.like(f"sha256:{alias}%"))
        if taken is not None:
            raise Conflict(
                f"The alias {alias!r} names release {short(taken.digest)}, with other contents.",
                next_step="Choose another alias.",
            )
        created_at = iso(stores.clock.now())
        tx.execute(
            insert(RELEASES).values(
                digest=digest,
                alias=alias,
                document=release.document().decode(),
                created_by=by,
                created_at=created_at,
            )
        )
        stores.facts.append(tx, ReleaseCreated(digest, alias), by=by, caused_by=caused_by)
    return StoredRelease(digest, alias, parse_release(release.document()), by, created_at)


def refuse_release(stores: Stores, name: str, run_id: str, reason: str, *, caused_by: str) -> None:
    """Recorded once per end of the run, by Seamline itself."""
    with stores.db.transaction() as tx:
        told = read_facts(tx, kinds=[ReleaseRefused.kind], subject=name)
        if not any(one.caused_by == caused_by for one in told):
            fact = ReleaseRefused(name, run_id, reason)
            stores.facts.append(tx, fact, by=PLATFORM, caused_by=caused_by)


def next_alias(connection: Connection, name: str) -> str:
    """NAME-1, NAME-2, …: the first that follows all that there are."""
    aliases = connection.execute(
        select(RELEASES.c.alias).where(RELEASES.c.alias.startswith(f"{name}-", autoescape=True))
    ).scalars()
    numbers = (alias.removeprefix(f"{name}-") for alias in aliases)
    return f"{name}-{max((int(one) for one in numbers if one.isdecimal()), default=0) + 1}"


def check_alias(alias: str) -> None:
    """
    >>> check_alias("2026-06_spring.1")
    """
    if not _ALIAS.fullmatch(alias):
        raise InvalidInput(
            f"{alias[:80]!r} cannot be a release's alias.",
            next_step="Use letters, digits and . _ - (at most 100), beginning with a letter or "
            "a digit.",
        )


def find_release(connection: Connection, reference: str) -> StoredRelease:
    """By digest, by alias, or by at least eight digits; InvalidInput when these fit several."""
    digits = reference.removeprefix("sha256:")
    found = _select(connection, RELEASES.c.digest == reference)
    found = found or _select(connection, RELEASES.c.alias == reference)
    if found is None and len(digits) >= 8:
        found = _find_by_digits(connection, digits)
    if found is None:
        known = connection.execute(select(RELEASES.c.alias)).scalars()
        raise not_found("release", reference, known)
    return found


def _find_by_digits(connection: Connection, digits: str) -> StoredRelease | None:
    begins = RELEASES.c.digest.like(f"sha256:{_plain(digits)}%")
    rows = connection.execute(select(RELEASES).where(begins).limit(2)).all()
    if len(rows) > 1:
        raise InvalidInput(
            f"The digits {digits} begin more than one release: "
            f"{', '.join(row.alias for row in rows)}.",
            next_step="Give the alias, or more digits.",
        )
    return _stored(rows[0]) if rows else None


def list_releases(connection: Connection, limit: int | None = None) -> list[StoredRelease]:
    """Newest first."""
    rows = connection.execute(select(RELEASES).order_by(RELEASES.c.created_at.desc()).limit(limit))
    return [_stored(row) for row in rows]


def aliases_of(connection: Connection, digests: Iterable[str]) -> dict[str, str]:
    """Of those that are releases."""
    query = select(RELEASES.c.digest, RELEASES.c.alias)
    rows = connection.execute(query.where(RELEASES.c.digest.in_(set(digests))))
    return {row.digest: row.alias for row in rows}


def releases_pinning(connection: Connection, digests: Iterable[str]) -> list[str]:
    """Aliases of the releases that name one of these digests, oldest first."""
    wanted = set(digests)
    if not wanted:
        return []
    columns = (RELEASES.c.alias, RELEASES.c.document)
    rows = connection.execute(select(*columns).order_by(RELEASES.c.created_at))
    return [row.alias for row in rows if not wanted.isdisjoint(_DIGEST.findall(row.document))]


def pinned_digests(release: Release, kinds: Iterable[str] = ("package", "pipeline")) -> set[str]:
    pins = release.pins()
    return {str(parse_digest(pin.digest)) for kind in kinds for pin in pins[kind]}


def _plain(digits: str) -> str:
    return digits if digits.isalnum() else "-"


def _select(connection: Connection, condition: Any) -> StoredRelease | None:
    row = connection.execute(select(RELEASES).where(condition).limit(1)).one_or_none()
    return None if row is None else _stored(row)


def _stored(row: Any) -> StoredRelease:
    """Law 2: the document is checked against its name each time it is used."""
    document = check_digest(row.document.encode(), row.digest, f"release {row.alias}")
    return StoredRelease(
        row.digest, row.alias, parse_release(document), row.created_by, row.created_at
    )
