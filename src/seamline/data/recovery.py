"""What a killed writer left: finished where the table has it, undone where it has not."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from typing import Any

import polars as pl
from sqlalchemy import select

from seamline.data.commit import (
    Intent,
    Origin,
    forget_intent,
    next_version,
    record_version,
    staging_folder,
    token_of,
    undo_intent,
    writing,
)
from seamline.data.contracts.quarantine import quarantine_folder
from seamline.data.declaration import DAY, DatasetDeclaration
from seamline.data.rows import DATASET_INTENTS
from seamline.data.versions import (
    DatasetVersion,
    VersionFile,
    table_folder,
    version_files,
    version_row,
)
from seamline.data.writing.parquet import WrittenFile
from seamline.measure.basis import Basis
from seamline.measure.contracts import Contract
from seamline.measure.profiles import profile_frame, sum_profiles
from seamline.store.blobs import digest_of_file
from seamline.store.stores import Stores
from seamline.store.tables import drop_torn_commit, is_committed, list_files, table_version

_LOG = logging.getLogger("seamline.recovery")


def finish_pending(stores: Stores, dataset: str) -> DatasetVersion | None:
    """Finish, or undo, what a killed writer left; the version that came of it, if any.

    Call it while `writing`: then an intent, and all that is staged, can only be a dead writer's.
    """
    with stores.db.read() as connection:
        query = select(DATASET_INTENTS.c.document).where(DATASET_INTENTS.c.dataset == dataset)
        document = connection.execute(query).scalar_one_or_none()
    finished = None
    if document is not None:
        found = json.loads(document)
        folder, token = table_folder(stores, dataset), token_of(found["delivery_digest"])
        for table in (folder, quarantine_folder(stores, dataset)):
            drop_torn_commit(table, token)
        if is_committed(folder, token):
            intent = Intent.from_json(found) if "version" in found else _earlier(stores, found)
            record_version(stores, intent)
            finished = intent.version
        elif "version" in found:
            undo_intent(stores, Intent.from_json(found))
        else:
            forget_intent(stores, dataset)
    shutil.rmtree(staging_folder(stores, dataset), ignore_errors=True)
    return finished


def finish_all_pending(stores: Stores) -> list[DatasetVersion]:
    """What a restarted workspace does first: finish every ingest that was cut off. One that cannot
    be finished holds up its own dataset alone, whose next writer is told why."""
    with stores.db.read() as connection:
        names = set(connection.execute(select(DATASET_INTENTS.c.dataset)).scalars())
    staged = stores.root / "tables" / ".staging"
    if staged.is_dir():
        names |= {folder.name for folder in staged.iterdir()}
    finished = []
    for name in sorted(names):
        try:
            with writing(stores, name):
                finished.append(finish_pending(stores, name))
        except Exception:
            _LOG.exception("what was cut off in dataset %s cannot be finished", name)
    return [version for version in finished if version is not None]


def _earlier(stores: Stores, found: Mapping[str, Any]) -> Intent:
    """Until schema revision 0011 an intent had no version in it: it is made from the files."""
    declaration = DatasetDeclaration.from_json(found["declaration"])
    folder = table_folder(stores, declaration.name)
    with stores.db.read() as connection:
        previous = version_row(connection, declaration.name)
    known = {file.relative for file in version_files(stores, previous)} if previous else set()
    basis_blob = stores.blobs.get(found["basis_digest"], f"the basis of {declaration.name}")
    basis = Basis.from_canonical(basis_blob)
    newest = table_version(folder)
    files: list[WrittenFile] = []
    days: dict[str, list[Any]] = {}
    for file in list_files(folder, newest, DAY) if newest is not None else []:
        relative = str(file.path.relative_to(folder))
        if relative not in known:
            digest = digest_of_file(file.path)
            one = VersionFile(relative, file.partition, digest, file.rows, file.size_bytes)
            files.append(WrittenFile(one, stats=""))
            profile = profile_frame(pl.read_parquet(file.path, hive_partitioning=False), basis)
            days.setdefault(file.partition, []).append(profile)
    named = ("basis_digest", "delivery_digest", "source", "by", "run_id", "caused_by")
    origin = Origin(
        declaration=declaration,
        contract=Contract.from_json(found["contract"]),
        **{name: found[name] for name in named},
    )
    profiles = {day: sum_profiles(parts) for day, parts in days.items()}
    version = next_version(stores, origin, previous, files, profiles)
    return Intent(
        version, found["declaration"], found["contract"], tuple(files), "", origin.caused_by
    )
