"""Commit a version: an intent that holds all of it, the files in place, Delta's commit, the row.

A writer may be killed anywhere. Until the table's commit nothing has happened; from then on the
intent is the version, and whoever writes to the dataset next records it first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, update

from seamline.data.contracts.kept import keep_contract
from seamline.data.contracts.quarantine import (
    SetAside,
    commit_aside,
    place_aside,
    quarantine_folder,
)
from seamline.data.declaration import DAY, DatasetDeclaration, Mode
from seamline.data.rows import DATASET_INTENTS, DATASET_VERSIONS, DATASETS
from seamline.data.versions import (
    DatasetVersion,
    VersionFile,
    table_folder,
    version_files,
    version_profile,
    version_row,
)
from seamline.data.writing.parquet import WrittenFile
from seamline.domain.clock import from_iso, iso
from seamline.domain.errors import Conflict
from seamline.domain.facts import ContractBroken, DatasetVersionCommitted
from seamline.measure.basis import Basis
from seamline.measure.casting import POLARS_TYPES, DType
from seamline.measure.contracts import Contract, Policy, Violation
from seamline.measure.profiles import Profile, add_profiles, sum_profiles
from seamline.store.canonical import digest_of_json
from seamline.store.durable import make_durable
from seamline.store.locks import one_at_a_time
from seamline.store.stores import Stores
from seamline.store.tables import (
    NewFile,
    commit_files,
    is_committed,
    log_files,
    table_version,
)


@dataclass(frozen=True)
class Origin:
    """Where a version's rows come from, and who brought them."""

    declaration: DatasetDeclaration
    contract: Contract
    basis_digest: str
    delivery_digest: str
    source: str
    by: str
    run_id: str | None = None
    caused_by: str | None = None
    watermark: str | None = None
    #: Columns and types of the table; empty: the contract's.
    schema: tuple[tuple[str, str], ...] = ()
    #: What the delivery broke, and is taken in all the same.
    breaches: tuple[Violation, ...] = ()
    #: The rows that are not, as a file in the staging folder.
    aside: SetAside | None = None
    #: The older rows in wider types, in place of the files that hold them now.
    rewritten: tuple[WrittenFile, ...] | None = None


@dataclass(frozen=True)
class Intent:
    """A version that is about to be: with it, nothing has to be read to record it."""

    version: DatasetVersion
    declaration: Mapping[str, Any]
    contract: Mapping[str, Any]
    files: tuple[WrittenFile, ...]
    #: Below the tables' staging folder of the dataset: where the files lie until they are placed.
    staged: str
    caused_by: str | None
    #: `files` are all of the table from now on, whatever the version's mode is.
    is_rewrite: bool = False
    aside: SetAside | None = None

    @property
    def token(self) -> tuple[str, int]:
        return token_of(self.version.delivery_digest)

    def to_json(self) -> dict[str, Any]:
        return {
            "delivery_digest": self.version.delivery_digest,
            "version": self.version.to_json(),
            "declaration": dict(self.declaration),
            "contract": dict(self.contract),
            "files": [file.to_json() for file in self.files],
            "staged": self.staged,
            "caused_by": self.caused_by,
            "is_rewrite": self.is_rewrite,
            "aside": None if self.aside is None else asdict(self.aside),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Intent:
        return cls(
            version=DatasetVersion.from_json(data["version"]),
            declaration=data["declaration"],
            contract=data["contract"],
            files=tuple(WrittenFile.from_json(file) for file in data["files"]),
            staged=data["staged"],
            caused_by=data["caused_by"],
            is_rewrite=data.get("is_rewrite", False),
            aside=SetAside(**data["aside"]) if data.get("aside") else None,
        )


def token_of(delivery_digest: str) -> tuple[str, int]:
    """The Delta application transaction: a delivery is committed once, whatever happens."""
    return (f"delivery {delivery_digest}", 1)


@contextmanager
def writing(stores: Stores, dataset: str) -> Iterator[None]:
    """One writer at a time per dataset, over threads and processes; the others wait."""
    with one_at_a_time(stores.root, f"dataset-{dataset}"):
        yield


def staging_folder(stores: Stores, dataset: str) -> Path:
    """Where a writer keeps what is not part of the table yet; the next one sweeps it."""
    return table_folder(stores, dataset).parent / ".staging" / dataset


def commit_version(
    stores: Stores,
    origin: Origin,
    staged: Path,
    files: Sequence[WrittenFile],
    days: Mapping[str, Profile],
) -> DatasetVersion:
    """The files below `staged` as the next version. Call it while `writing`."""
    dataset = origin.declaration.name
    with stores.db.read() as connection:
        previous = version_row(connection, dataset)
    check_table(stores, dataset, previous)
    version = next_version(stores, origin, previous, files, days)
    intent = Intent(
        version=version,
        declaration=origin.declaration.to_json(),
        contract=origin.contract.to_json(),
        files=(*(origin.rewritten or ()), *files),
        staged=staged.name,
        caused_by=origin.caused_by,
        is_rewrite=origin.rewritten is not None,
        aside=origin.aside,
    )
    record_intent(stores, intent)
    try:
        place_files(stores, intent)
        keep_through_power_cuts(stores, intent)
        commit_table(stores, intent)
    except Exception:
        if not is_committed(table_folder(stores, dataset), intent.token):
            undo_intent(stores, intent)
        raise
    record_version(stores, intent)
    return version


def check_table(stores: Stores, dataset: str, previous: DatasetVersion | None) -> None:
    """Nobody but this room may have written to the table."""
    recorded = None if previous is None else previous.delta_version
    found = table_version(table_folder(stores, dataset))
    if found != recorded:
        raise Conflict(
            f"The table of dataset {dataset} is at Delta version {found}; "
            f"{recorded} was the last one written by Seamline.",
            next_step="Somebody else wrote to it, or it and the database are of different backups: "
            "restore both, of one moment.",
        )


def record_intent(stores: Stores, intent: Intent) -> None:
    with stores.db.transaction() as tx:
        tx.execute(
            insert(DATASET_INTENTS).values(
                dataset=intent.version.dataset,
                delivery_digest=intent.version.delivery_digest,
                document=json.dumps(intent.to_json()),
                at=intent.version.at,
            )
        )


def place_files(stores: Stores, intent: Intent) -> None:
    """From the staging folder into the table's, where nobody sees them until its commit."""
    staged = staging_folder(stores, intent.version.dataset) / intent.staged
    folder = table_folder(stores, intent.version.dataset)
    for day in {file.file.partition for file in intent.files}:
        (folder / f"{DAY}={day}").mkdir(parents=True, exist_ok=True)
    for file in intent.files:
        (staged / file.name).replace(folder / file.file.relative)
    if intent.aside is not None:
        place_aside(stores, intent.version.dataset, staged, intent.aside)


def keep_through_power_cuts(stores: Stores, intent: Intent) -> None:
    """All that the version refers to. Without it a power cut could leave a commit, or a row, whose
    files are short or gone, while the delivery counts as taken in."""
    version = intent.version
    table, aside = table_folder(stores, version.dataset), intent.aside
    files = [table / file.file.relative for file in intent.files]
    if aside is not None:
        files.append(quarantine_folder(stores, version.dataset) / aside.relative)
    named = (
        *(version.files_digest, version.profile_digest, version.days_digest),
        *(version.basis_digest, version.contract_digest),
    )
    # The intent names them by now: whoever looks for what is not needed has seen that, or finds
    # them touched.
    what = f"a part of {version.reference}"
    files += [stores.blobs.hold(digest, what) for digest in named if digest is not None]
    make_durable(files, stores.root)


def commit_table(stores: Stores, intent: Intent) -> None:
    version = intent.version
    files = [
        NewFile(one.file.relative, one.file.partition, one.file.bytes, one.stats)
        for one in intent.files
    ]
    types = {name: POLARS_TYPES[DType(dtype)] for name, dtype in version.schema}
    commit_files(
        table_folder(stores, version.dataset),
        files,
        {**types, DAY: POLARS_TYPES[DType.DATE]},
        DAY,
        token=intent.token,
        at_ms=int(from_iso(version.at).timestamp() * 1000),
        replace=intent.is_rewrite or version.mode is Mode.REPLACE,
    )


def record_version(stores: Stores, intent: Intent) -> None:
    """Row, fact and the intent's end in one transaction, once the rows that were set aside are in
    their table, too: again, if it has to be."""
    version, aside = intent.version, intent.aside
    log = log_files(table_folder(stores, version.dataset), version.delta_version)
    if aside is not None:
        commit_aside(stores, version.dataset, aside, token=intent.token, at=version.at)
        side = quarantine_folder(stores, version.dataset)
        log += log_files(side, table_version(side) or 0)
    make_durable(log, stores.root)
    with stores.db.transaction() as tx:
        _write_rows(tx, intent)
        tx.execute(delete(DATASET_INTENTS).where(DATASET_INTENTS.c.dataset == version.dataset))
        fact = DatasetVersionCommitted(
            version.dataset,
            version.version,
            version.digest,
            version.rows,
            version.source,
            version.run_id,
        )
        fact_id = stores.facts.append(tx, fact, by=version.committed_by, caused_by=intent.caused_by)
        if version.breaches:
            broken = _broken(version, intent.files)
            stores.facts.append(tx, broken, by=version.committed_by, caused_by=fact_id)


def _broken(version: DatasetVersion, files: Sequence[WrittenFile]) -> ContractBroken:
    asking = (one for one in version.breaches if one.does is Policy.TRIGGER)
    return ContractBroken(
        version.dataset,
        version.version,
        violations=tuple(violation.sentence() for violation in version.breaches),
        triggers=tuple(violation.sentence() for violation in asking),
        rows_quarantined=version.rows_quarantined,
        last_day=max(file.file.partition for file in files),
    )


def undo_intent(stores: Stores, intent: Intent) -> None:
    """The files first: as long as the intent is there, they are known."""
    folder = table_folder(stores, intent.version.dataset)
    for file in intent.files:
        (folder / file.file.relative).unlink(missing_ok=True)
    if intent.aside is not None:
        aside = quarantine_folder(stores, intent.version.dataset) / intent.aside.relative
        aside.unlink(missing_ok=True)
    forget_intent(stores, intent.version.dataset)


def forget_intent(stores: Stores, dataset: str) -> None:
    with stores.db.transaction() as tx:
        tx.execute(delete(DATASET_INTENTS).where(DATASET_INTENTS.c.dataset == dataset))


def next_version(
    stores: Stores,
    origin: Origin,
    previous: DatasetVersion | None,
    added: Sequence[WrittenFile],
    days: Mapping[str, Profile],
) -> DatasetVersion:
    """What it refers to is written; itself it is not recorded yet."""
    profile = sum_profiles(days.values())
    files, rows_added = [one.file for one in added], profile.rows
    if previous is not None and origin.declaration.mode is Mode.APPEND:
        profile = add_profiles(version_profile(stores, previous), profile)
        older = version_files(stores, previous)
        if origin.rewritten is not None:
            older = [one.file for one in origin.rewritten]
        files = older + files
    files = sorted(files, key=lambda file: file.partition)  # stable: deliveries in order
    columns = origin.contract.columns
    schema = origin.schema or tuple((column.name, str(column.dtype)) for column in columns)
    return DatasetVersion(
        dataset=origin.declaration.name,
        version=previous.version + 1 if previous else 1,
        digest=digest_of_version(schema, files),
        delta_version=previous.delta_version + 1 if previous else 0,
        rows=profile.rows,
        rows_added=rows_added,
        schema=schema,
        files_digest=_put_json(stores, [asdict(file) for file in files]),
        profile_digest=_put_json(stores, profile.to_json()),
        days_digest=_put_json(stores, {day: one.to_json() for day, one in days.items()}),
        basis_digest=origin.basis_digest,
        delivery_digest=origin.delivery_digest,
        source=origin.source,
        run_id=origin.run_id,
        committed_by=origin.by,
        at=iso(stores.clock.now()),
        mode=origin.declaration.mode,
        watermark=origin.watermark,
        contract_digest=keep_contract(stores, origin.contract),
        breaches=origin.breaches,
        rows_quarantined=0 if origin.aside is None else origin.aside.rows,
        quarantine_digest=None if origin.aside is None else origin.aside.digest,
    )


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
    return stores.blobs.put(basis.canonical)


def _put_json(stores: Stores, value: Any) -> str:
    """A year of days has megabytes of profiles: `json.dumps` takes six times as long."""
    return stores.blobs.put(msgspec.json.encode(value, order="sorted"))


def _write_rows(tx: Connection, intent: Intent) -> None:
    version = intent.version
    written = {
        "declaration": json.dumps(intent.declaration),
        "contract": json.dumps(intent.contract),
        "basis_digest": version.basis_digest,
    }
    name = version.dataset
    if version.version == 1:
        tx.execute(insert(DATASETS).values(name=name, created_at=version.at, **written))
    else:
        tx.execute(update(DATASETS).where(DATASETS.c.name == name).values(**written))
    row = version.to_json()
    lists = {key: json.dumps(row[key]) for key in ("schema", "breaches")}
    tx.execute(insert(DATASET_VERSIONS).values({**row, **lists}))
