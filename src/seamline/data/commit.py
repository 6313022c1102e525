"""Commit a checked delivery: intent, Delta commit, digests and profiles, then the version's row.

A writer may be killed anywhere. Before the Delta commit nothing has happened; after it, the intent
holds all that is needed to finish, and whoever writes to the dataset next does so first.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, delete, insert, select, update

from seamline.data.declaration import DAY, DatasetDeclaration
from seamline.data.rows import DATASET_INTENTS, DATASET_VERSIONS, DATASETS
from seamline.data.versions import (
    DatasetVersion,
    VersionFile,
    table_folder,
    version_files,
    version_profile,
    version_row,
)
from seamline.domain.clock import iso
from seamline.domain.errors import Conflict
from seamline.domain.facts import DatasetVersionCommitted
from seamline.measure.basis import Basis
from seamline.measure.contracts import Contract
from seamline.measure.profiles import Profile, add_profiles, profile_partitions, sum_profiles
from seamline.store.blobs import digest_of_file
from seamline.store.canonical import canonical_json, digest_of_json
from seamline.store.stores import Stores
from seamline.store.tables import TableFile, append_frame, list_files, table_version

#: Told the name of each stage as it begins.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Intent:
    """Everything about a delivery but its rows."""

    delivery_digest: str
    declaration: DatasetDeclaration
    contract: Contract
    basis_digest: str
    source: str
    by: str
    run_id: str | None
    caused_by: str | None

    @property
    def dataset(self) -> str:
        return self.declaration.name

    @property
    def token(self) -> tuple[str, int]:
        """The Delta application transaction: this delivery is appended once, whatever happens."""
        return (f"delivery {self.delivery_digest}", 1)

    def to_json(self) -> dict[str, Any]:
        own = {"declaration": self.declaration.to_json(), "contract": self.contract.to_json()}
        return {**self.__dict__, **own}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Intent:
        declaration = DatasetDeclaration.from_json(data["declaration"])
        contract = Contract.from_json(data["contract"])
        return cls(**{**data, "declaration": declaration, "contract": contract})


@contextmanager
def writing(stores: Stores, dataset: str) -> Iterator[None]:
    """One writer at a time per dataset, over threads and processes; the others wait."""
    folder = stores.root / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / f"dataset-{dataset}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def commit_delivery(
    stores: Stores, intent: Intent, frame: pl.DataFrame, basis: Basis, progress: Progress
) -> DatasetVersion:
    """Append `frame` (typed, with `ds`) as the next version. Call it while `writing`."""
    with stores.db.read() as connection:
        previous = version_row(connection, intent.dataset)
    _check_table(stores, intent.dataset, previous)
    with stores.db.transaction() as tx:
        tx.execute(
            insert(DATASET_INTENTS).values(
                dataset=intent.dataset,
                delivery_digest=intent.delivery_digest,
                document=json.dumps(intent.to_json()),
                at=iso(stores.clock.now()),
            )
        )
    progress("writing")
    # Delta writes one file per partition and record batch: hence one chunk.
    append_frame(table_folder(stores, intent.dataset), frame.rechunk(), DAY, token=intent.token)
    progress("hashing")
    files = _hash_new_files(stores, intent.dataset, previous)
    return _record(stores, intent, previous, files, frame, basis)


def _check_table(stores: Stores, dataset: str, previous: DatasetVersion | None) -> None:
    """Nobody but this room may have written to the table."""
    recorded = None if previous is None else previous.delta_version
    found = table_version(table_folder(stores, dataset))
    if found != recorded:
        raise Conflict(
            f"The table of dataset {dataset} is at Delta version {found}; "
            f"{recorded} was the last one written by Seamline.",
            next_step="Somebody else wrote to it: restore the table from a backup.",
        )


def finish_pending(stores: Stores, dataset: str) -> DatasetVersion | None:
    """Finish, or forget, what a killed writer left; the version that came of it, if any.

    Call it while `writing`: then an intent can only be a dead writer's.
    """
    with stores.db.read() as connection:
        query = select(DATASET_INTENTS.c.document).where(DATASET_INTENTS.c.dataset == dataset)
        document = connection.execute(query).scalar_one_or_none()
        previous = version_row(connection, dataset)
    if document is None:
        return None
    intent = Intent.from_json(json.loads(document))
    files = _hash_new_files(stores, dataset, previous)
    if not files:
        with stores.db.transaction() as tx:
            _forget_intent(tx, dataset)
        return None
    frame = pl.concat(
        pl.read_parquet(table_folder(stores, dataset) / file.relative).with_columns(
            pl.lit(file.partition).str.to_date().alias(DAY)
        )
        for file in files
    )
    data = stores.blobs.get(intent.basis_digest, f"the basis of dataset {dataset}")
    return _record(stores, intent, previous, files, frame, Basis.from_json(json.loads(data)))


def finish_all_pending(stores: Stores) -> list[DatasetVersion]:
    """What a restarted workspace does first: finish every ingest that was cut off."""
    with stores.db.read() as connection:
        names = list(connection.execute(select(DATASET_INTENTS.c.dataset)).scalars())
    finished = []
    for name in names:
        with writing(stores, name):
            finished.append(finish_pending(stores, name))
    return [version for version in finished if version is not None]


def _hash_new_files(
    stores: Stores, dataset: str, previous: DatasetVersion | None
) -> list[VersionFile]:
    """The files that the table has and the newest version has not."""
    folder = table_folder(stores, dataset)
    newest = table_version(folder)
    if newest is None:
        return []
    known = {file.relative for file in version_files(stores, previous)} if previous else set()

    def describe(file: TableFile) -> VersionFile:
        relative = str(file.path.relative_to(folder))
        digest = digest_of_file(file.path)
        return VersionFile(relative, file.partition, digest, file.rows, file.size_bytes)

    files = list_files(folder, newest, DAY)
    return [describe(file) for file in files if str(file.path.relative_to(folder)) not in known]


def _record(
    stores: Stores,
    intent: Intent,
    previous: DatasetVersion | None,
    added: list[VersionFile],
    frame: pl.DataFrame,
    basis: Basis,
) -> DatasetVersion:
    """Blobs first, then row, fact and the intent's end in one transaction."""
    days = profile_partitions(frame, basis, DAY)
    profile = sum_profiles(days.values())
    files = added
    if previous is not None:
        profile = add_profiles(version_profile(stores, previous), profile)
        files = version_files(stores, previous) + added
    files = sorted(files, key=lambda file: file.partition)  # stable: deliveries in order
    schema = tuple((column.name, str(column.dtype)) for column in intent.contract.columns)
    delta_version = table_version(table_folder(stores, intent.dataset))
    version = DatasetVersion(
        dataset=intent.dataset,
        version=previous.version + 1 if previous else 1,
        digest=digest_of_version(schema, files),
        delta_version=delta_version if delta_version is not None else 0,
        rows=profile.rows,
        rows_added=frame.height,
        schema=schema,
        files_digest=_put_json(stores, [asdict(file) for file in files]),
        profile_digest=_put_json(stores, profile.to_json()),
        days_digest=_put_json(stores, _days_json(days)),
        basis_digest=intent.basis_digest,
        delivery_digest=intent.delivery_digest,
        source=intent.source,
        run_id=intent.run_id,
        committed_by=intent.by,
        at=iso(stores.clock.now()),
    )
    with stores.db.transaction() as tx:
        _write_rows(tx, intent, version)
        _forget_intent(tx, intent.dataset)
        fact = DatasetVersionCommitted(
            version.dataset,
            version.version,
            version.digest,
            version.rows,
            version.source,
            version.run_id,
        )
        stores.facts.append(tx, fact, by=intent.by, caused_by=intent.caused_by)
    return version


def digest_of_version(schema: tuple[tuple[str, str], ...], files: list[VersionFile]) -> str:
    """What names a version: its columns and, in order, the day and digest of each file.

    >>> one = VersionFile("ds=2013-01-01/a.parquet", "2013-01-01", "sha256:00", 2, 700)
    >>> other = VersionFile("ds=2013-01-01/b.parquet", "2013-01-01", "sha256:00", 2, 700)
    >>> digest_of_version((), [one]) == digest_of_version((), [other])
    True
    """
    names = sorted((file.partition, file.sha256) for file in files)
    return digest_of_json({"schema": schema, "files": names})


def put_basis(stores: Stores, basis: Basis) -> str:
    """Its blob has the basis' own digest."""
    return stores.blobs.put(canonical_json(basis.to_json()))


def _put_json(stores: Stores, value: Any) -> str:
    return stores.blobs.put(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def _days_json(days: dict[str, Profile]) -> dict[str, Any]:
    return {day: profile.to_json() for day, profile in days.items()}


def _write_rows(tx: Connection, intent: Intent, version: DatasetVersion) -> None:
    written = {
        "declaration": json.dumps(intent.declaration.to_json()),
        "contract": json.dumps(intent.contract.to_json()),
        "basis_digest": intent.basis_digest,
    }
    name = intent.dataset
    if version.version == 1:
        tx.execute(insert(DATASETS).values(name=name, created_at=version.at, **written))
    else:
        tx.execute(update(DATASETS).where(DATASETS.c.name == name).values(**written))
    row = version.to_json()
    tx.execute(insert(DATASET_VERSIONS).values({**row, "schema": json.dumps(row["schema"])}))


def _forget_intent(tx: Connection, dataset: str) -> None:
    tx.execute(delete(DATASET_INTENTS).where(DATASET_INTENTS.c.dataset == dataset))
