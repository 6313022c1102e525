"""Yanked versions (PEP 592): installers pass them over, and whoever pins one still gets it.

A version is yanked as such, in every environment's index: what is wrong with it is wrong
everywhere. Nothing is deleted, and a release that names its digest goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import Version
from sqlalchemy import Connection, insert, select, update

from seamline.domain.clock import iso
from seamline.domain.errors import Forbidden, InvalidInput, not_found
from seamline.domain.facts import PackageUnyanked, PackageYanked
from seamline.register.owners import Owner, may_use
from seamline.register.packages.index import PUBLISHING, PackageFile
from seamline.register.rows import PACKAGE_FILES, PACKAGE_NAMES, PACKAGE_YANKS
from seamline.store.stores import Stores
from seamline.trust.refusals import require_environments
from seamline.trust.roles import Principal, Verb

MAX_REASON = 500


@dataclass(frozen=True)
class Yank:
    """Why a version is to be passed over; `reason` may be empty."""

    reason: str
    by: str
    at: str


@dataclass(frozen=True)
class PackageVersion:
    """One version with all its files, and the environments whose index lists it."""

    name: str
    version: str
    files: tuple[PackageFile, ...]
    environments: tuple[str, ...]
    yank: Yank | None

    def to_json(self) -> dict[str, Any]:
        files = [
            {"filename": one.filename, "digest": one.digest, "size_bytes": one.size_bytes}
            for one in self.files
        ]
        first = self.files[0]
        return {
            "name": self.name,
            "version": self.version,
            "files": files,
            "environments": list(self.environments),
            "yanked": None if self.yank is None else self.yank.__dict__,
            "uploaded_by": first.uploaded_by,
            "uploaded_at": first.uploaded_at,
        }


def yank_version(
    stores: Stores, name: str, version: str, reason: str, *, who: Principal
) -> PackageVersion:
    """Doing it again with the same reason changes nothing. NotFound, Forbidden."""
    if len(reason) > MAX_REASON or not (reason.isprintable()):
        raise InvalidInput(
            f"A reason is one line of at most {MAX_REASON} characters; this one has {len(reason)}.",
            next_step="Say it shorter: installers print it.",
        )
    return _change(stores, name, version, reason, who)


def unyank_version(stores: Stores, name: str, version: str, *, who: Principal) -> PackageVersion:
    """Installers take it again; of a version that is not yanked nothing changes."""
    return _change(stores, name, version, None, who)


def yanks_of(stores: Stores, name: str) -> dict[str, Yank]:
    """Version → why it is to be passed over, as the files' versions are spelt."""
    with stores.db.read() as connection:
        return _yanks(connection, canonicalize_name(name))


def show_package(stores: Stores, name: str) -> list[PackageVersion]:
    """Every version that was ever published under the name, oldest first; NotFound."""
    wanted = canonicalize_name(name)
    with stores.db.read() as connection:
        return _versions(connection, wanted)


def list_packages(stores: Stores) -> list[dict[str, Any]]:
    """Every name that was ever published: whose it is, its newest version, how many there are."""
    with stores.db.read() as connection:
        names = connection.execute(select(PACKAGE_NAMES).order_by(PACKAGE_NAMES.c.name)).all()
        table = PACKAGE_FILES.c
        rows = connection.execute(
            select(table.name, table.version).where(table.environment == PUBLISHING).distinct()
        ).all()
    versions: dict[str, list[str]] = {}
    for name, version in rows:
        versions.setdefault(name, []).append(version)
    return [
        {
            "name": one.name,
            "kind": one.kind,
            "owner": str(Owner(one.owner, one.team)),
            "newest": max(versions.get(one.name, []), key=Version, default=None),
            "versions": len(versions.get(one.name, [])),
        }
        for one in names
    ]


def _change(
    stores: Stores, name: str, version: str, reason: str | None, who: Principal
) -> PackageVersion:
    wanted = canonicalize_name(name)
    require_environments(who, Verb.PUBLISH, {PUBLISHING})
    with stores.db.transaction() as tx:
        found = _find(_versions(tx, wanted), wanted, version)
        _check_may_yank(tx, wanted, who)
        found = _find(_versions(tx, wanted), wanted, version)
        if (found.yank and found.yank.reason) == reason:
            return found
        at = iso(stores.clock.now())
        _record(tx, found, reason, who.name, at)
        if reason is None:
            stores.facts.append(tx, PackageUnyanked(wanted, found.version), by=who.name)
        else:
            stores.facts.append(tx, PackageYanked(wanted, found.version, reason), by=who.name)
        return _find(_versions(tx, wanted), wanted, version)


def _record(tx: Connection, found: PackageVersion, reason: str | None, by: str, at: str) -> None:
    key = {"name": found.name, "version": found.version}
    values = {
        "is_yanked": reason is not None,
        "reason": reason or "",
        "changed_by": by,
        "changed_at": at,
    }
    is_row = (PACKAGE_YANKS.c.name == found.name, PACKAGE_YANKS.c.version == found.version)
    counted = update(PACKAGE_YANKS).where(*is_row)
    changed = tx.execute(counted.values(changes=PACKAGE_YANKS.c.changes + 1, **values))
    if changed.rowcount == 0:
        tx.execute(insert(PACKAGE_YANKS).values(changes=1, **key, **values))


def _check_may_yank(tx: Connection, name: str, who: Principal) -> None:
    # Waits for whoever is at it: one changes the row, the other sees the change.
    query = select(PACKAGE_NAMES).where(PACKAGE_NAMES.c.name == name).with_for_update()
    row = tx.execute(query).one()
    owner = Owner(row.owner, row.team)
    if not may_use(owner, who):
        raise Forbidden(
            f"The package name {name} belongs to {owner}; {who.name} cannot yank its versions.",
            next_step=f"Ask {owner} or an admin.",
        )


def _find(versions: list[PackageVersion], name: str, version: str) -> PackageVersion:
    wanted = canonicalize_version(version)
    for one in versions:
        if canonicalize_version(one.version) == wanted:
            return one
    raise not_found(f"version of {name}", version, [one.version for one in versions])


def _versions(connection: Connection, name: str) -> list[PackageVersion]:
    table = PACKAGE_FILES.c
    query = select(PACKAGE_FILES).where(table.name == name)
    rows = connection.execute(query.order_by(table.uploaded_at, table.filename))
    files = [PackageFile(**row._mapping) for row in rows]
    if not files:
        known = connection.execute(select(PACKAGE_NAMES.c.name)).scalars()
        raise not_found("package", name, known)
    yanks = _yanks(connection, name)
    grouped: dict[str, list[PackageFile]] = {}
    for file in files:
        grouped.setdefault(file.version, []).append(file)
    return [
        PackageVersion(
            name,
            version,
            tuple(one for one in held if one.environment == PUBLISHING),
            tuple(dict.fromkeys(one.environment for one in held)),
            yanks.get(version),
        )
        for version, held in grouped.items()
    ]


def _yanks(connection: Connection, name: str) -> dict[str, Yank]:
    query = select(PACKAGE_YANKS).where(PACKAGE_YANKS.c.name == name, PACKAGE_YANKS.c.is_yanked)
    return {
        row.version: Yank(row.reason, row.changed_by, row.changed_at)
        for row in connection.execute(query)
    }
