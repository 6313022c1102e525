"""What becomes of a run's output: one version, ever, and never in place of a newer run's.

A run's end is reacted to at least once, and runs end in any order.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.versions import DatasetVersion, last_replacing, version_row, versions_of_run
from seamline.domain.clock import from_iso, id_time, iso
from seamline.store.canonical import digest_of_json


def delivery_key(
    connection: Connection,
    declaration: DatasetDeclaration,
    digest: str,
    newest: DatasetVersion | None,
) -> str:
    """What a delivery is known by: the same twice is one version, as long as its rows are there.

    One that replaces the table is known by the version that it makes, too: a table may become again
    what it was, and that is a version of its own. One that is added is known by its digest; where
    the table was replaced since it came, it is another delivery, and the table itself is one.
    """
    if declaration.mode is Mode.REPLACE:
        number = 0 if newest is None else newest.version
        again = _key_of_table(digest, number)
        if newest is not None and newest.delivery_digest == again:
            return again
        return _key_of_table(digest, number + 1)
    table = last_replacing(connection, declaration.name)
    if table is None:
        return digest
    if table.delivery_digest == _key_of_table(digest, table.version):
        return table.delivery_digest
    known = version_row(connection, declaration.name, delivery=digest)
    if known is None or known.version > table.version:
        return digest
    return _key_of_rows(digest, table.version)


def version_of_delivery(
    connection: Connection, dataset: str, key: str, digest: str, run_id: str | None
) -> DatasetVersion | None:
    """The version that this delivery has made. A run's output is known by its run, too: it stays
    the version that it made then, whatever has replaced the table since."""
    found = version_row(connection, dataset, delivery=key)
    if found is not None or run_id is None:
        return found
    for version in versions_of_run(connection, dataset, run_id):
        rows = (_key_of_rows(digest, number) for number in range(1, version.version))
        if version.delivery_digest in (digest, _key_of_table(digest, version.version), *rows):
            return version
    return None


def is_overtaken(
    declaration: DatasetDeclaration, run_id: str | None, newest: DatasetVersion | None
) -> str | None:
    """Why a run's output may not replace the table; None where it may.

    A table is as new as the asking for its run, not as its end: a run that took longer, or was
    tried again, looked at an older world. What was not made by a run is as new as its commit.
    """
    if declaration.mode is not Mode.REPLACE or newest is None or run_id is None:
        return None
    asked, stands = id_time(run_id), _as_new_as(newest)
    if asked is None or asked >= stands:
        return None
    by = f"run {newest.run_id}, requested" if newest.run_id else f"{newest.source}, committed"
    return (
        f"Run {run_id} was requested at {iso(asked)}, and {newest.reference} is newer: "
        f"it is of {by} at {iso(stands)}."
    )


def _as_new_as(version: DatasetVersion) -> datetime:
    asked = None if version.run_id is None else id_time(version.run_id)
    at = asked or from_iso(version.at)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)  # as exact as a run's id


def _key_of_table(digest: str, number: int) -> str:
    return digest_of_json({"delivery": digest, "version": number})


def _key_of_rows(digest: str, number: int) -> str:
    return digest_of_json({"delivery": digest, "added_to": number})
