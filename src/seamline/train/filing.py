"""Archive, unarchive and delete runs: where they are shown; what they did stays as it is."""

from __future__ import annotations

from sqlalchemy import Connection, or_, select, update

from seamline.domain.errors import not_found
from seamline.domain.facts import RunFiled
from seamline.store.stores import Stores
from seamline.train.rows import RUNS
from seamline.train.views.listing import Drawer, Storage


def file_run(stores: Stores, run_id: str, storage: Storage, *, by: str) -> None:
    """Nothing happens when it is there already; NotFound once it is deleted."""
    with stores.db.transaction() as tx:
        before = tx.execute(select(RUNS.c.storage).where(RUNS.c.id == run_id)).scalar_one_or_none()
        if before is None or before == Storage.DELETED:
            raise not_found("run", run_id)
        _file(stores, tx, run_id, Storage(before), storage, by)


def archive_runs_of(stores: Stores, tx: Connection, drawer: Drawer, *, by: str) -> None:
    """All of an experiment's, in the caller's transaction."""
    query = select(RUNS.c.id).where(RUNS.c.storage == Storage.AVAILABLE, or_(*drawer.clauses()))
    for run_id in tx.execute(query).scalars().all():
        _file(stores, tx, run_id, Storage.AVAILABLE, Storage.ARCHIVED, by)


def _file(
    stores: Stores, tx: Connection, run_id: str, before: Storage, after: Storage, by: str
) -> None:
    if before is after:
        return
    tx.execute(update(RUNS).where(RUNS.c.id == run_id).values(storage=after))
    stores.facts.append(tx, RunFiled(run_id, before, after), by=by)
