"""Publish a serving snapshot: the file that the data plane reads, its row and its fact."""

from __future__ import annotations

import dataclasses

from sqlalchemy import func, insert, select

from seamline.domain.clock import iso
from seamline.domain.facts import SnapshotWritten
from seamline.serve.snapshots.rows import SNAPSHOTS
from seamline.serve.snapshots.snapshot import (
    EndpointSpec,
    ServingSnapshot,
    Standby,
    snapshot_path,
    write_snapshot,
)
from seamline.store.canonical import digest_of_json
from seamline.store.stores import Stores
from seamline.trust.signing import key_to_sign_with


def publish_snapshot(
    stores: Stores,
    environment: str,
    release: str,
    release_alias: str,
    endpoints: tuple[EndpointSpec, ...],
    standbys: tuple[Standby, ...] = (),
    *,
    caused_by: str | None = None,
) -> int:
    """The new version. The row comes first: a kill before the file leaves a number unused."""
    with stores.db.transaction() as tx:
        newest = tx.execute(
            select(func.max(SNAPSHOTS.c.version)).where(SNAPSHOTS.c.environment == environment)
        ).scalar()
        snapshot = ServingSnapshot(
            environment=environment,
            version=(newest or 0) + 1,
            release=release,
            release_alias=release_alias,
            written_at=iso(stores.clock.now()),
            endpoints=endpoints,
            standbys=standbys,
        )
        digest = digest_of_json(dataclasses.asdict(snapshot))
        tx.execute(
            insert(SNAPSHOTS).values(
                environment=environment,
                version=snapshot.version,
                release=release,
                digest=digest,
                written_at=snapshot.written_at,
            )
        )
        fact = SnapshotWritten(environment, snapshot.version, release, digest)
        stores.facts.append(tx, fact, by="seamline", caused_by=caused_by)
    with stores.db.transaction() as tx:
        # A rotation of the key would sign what lies there anew, and leave this one out.
        key = key_to_sign_with(stores, tx)
        write_snapshot(snapshot_path(stores.root, environment), snapshot, key)
    return snapshot.version
