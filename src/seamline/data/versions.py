"""Versions of datasets: find, show and read them; every file is verified as it is read."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection, func, select

from seamline.data.declaration import DAY, DatasetDeclaration, check_dataset_name
from seamline.data.rows import DATASET_VERSIONS, DATASETS
from seamline.domain.clock import iso
from seamline.domain.digests import check_digest
from seamline.domain.errors import DigestMismatch, InvalidInput, NotFound, not_found
from seamline.measure.basis import Basis, ColumnBasis, Kind
from seamline.measure.casting import POLARS_TYPES, DType
from seamline.measure.contracts import Contract
from seamline.measure.profiles import ColumnProfile, Profile, add_profiles
from seamline.store.stores import Stores

TOP_VALUES = 5


@dataclass(frozen=True)
class DatasetVersion:
    """`rows_added` of its `rows` came with this version's delivery; the rest was there before.

    `schema` holds (column, dtype) in order, without `ds`. `digest` covers schema and files.
    """

    dataset: str
    version: int
    digest: str
    delta_version: int
    rows: int
    rows_added: int
    schema: tuple[tuple[str, str], ...]
    files_digest: str
    profile_digest: str
    days_digest: str
    basis_digest: str
    delivery_digest: str
    source: str
    run_id: str | None
    committed_by: str
    at: str

    @property
    def reference(self) -> str:
        return f"{self.dataset}@{self.version}"

    @property
    def uri(self) -> str:
        return f"datasets://{self.reference}"

    def to_json(self) -> dict[str, Any]:
        schema = [{"name": name, "dtype": dtype} for name, dtype in self.schema]
        return {**asdict(self), "schema": schema}


@dataclass(frozen=True)
class VersionFile:
    """`relative` is the path below the table's folder; `partition` the day, as ISO text."""

    relative: str
    partition: str
    sha256: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Dataset:
    """What is kept about a dataset besides its versions."""

    declaration: DatasetDeclaration
    contract: Contract
    basis_digest: str


def parse_reference(text: str) -> tuple[str, int | None]:
    """
    >>> parse_reference("flights@7"), parse_reference("flights")
    (('flights', 7), ('flights', None))
    """
    name, at, number = text.partition("@")
    if at and not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise InvalidInput(
            f"{text!r} names no version of a dataset.",
            next_step="Write NAME@NUMBER, or NAME for the newest version.",
        )
    return check_dataset_name(name), int(number) if at else None


def table_folder(stores: Stores, dataset: str) -> Path:
    return stores.root / "tables" / check_dataset_name(dataset)


def find_version(stores: Stores, reference: str) -> DatasetVersion:
    """`flights@7`, or the newest of `flights`; NotFound names what there is."""
    name, number = parse_reference(reference)
    with stores.db.read() as connection:
        found = version_row(connection, name, number)
        if found is not None:
            return found
        newest = version_row(connection, name)
        if newest is None:
            raise not_found("dataset", name, connection.execute(select(DATASETS.c.name)).scalars())
    raise NotFound(
        f"There is no version {number} of dataset {name}.",
        next_step=f"It has versions 1 to {newest.version}.",
        kind="dataset version",
        name=reference,
    )


def version_row(
    connection: Connection, dataset: str, number: int | None = None, *, delivery: str | None = None
) -> DatasetVersion | None:
    """That version (the newest, unless numbered), or the one that this delivery made."""
    query = select(DATASET_VERSIONS).where(DATASET_VERSIONS.c.dataset == dataset)
    if number is not None:
        query = query.where(DATASET_VERSIONS.c.version == number)
    if delivery is not None:
        query = query.where(DATASET_VERSIONS.c.delivery_digest == delivery)
    query = query.order_by(DATASET_VERSIONS.c.version.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _version(row)


def find_dataset(connection: Connection, name: str) -> Dataset | None:
    row = connection.execute(select(DATASETS).where(DATASETS.c.name == name)).one_or_none()
    if row is None:
        return None
    return Dataset(
        DatasetDeclaration.from_json(json.loads(row.declaration)),
        Contract.from_json(json.loads(row.contract)),
        row.basis_digest,
    )


def list_datasets(stores: Stores) -> list[dict[str, Any]]:
    """Each dataset at its newest version, by name."""
    table = DATASET_VERSIONS
    newest = (
        select(table.c.dataset, func.max(table.c.version).label("version"))
        .group_by(table.c.dataset)
        .subquery()
    )
    is_newest = (table.c.dataset == newest.c.dataset) & (table.c.version == newest.c.version)
    shown = (table.c[name] for name in ("version", "rows", "digest", "at"))
    query = select(table.c.dataset.label("name"), *shown).join(newest, is_newest)
    query = query.order_by(table.c.dataset)
    with stores.db.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def list_versions(stores: Stores, dataset: str) -> list[DatasetVersion]:
    """Oldest first; NotFound when there is no such dataset."""
    find_version(stores, check_dataset_name(dataset))
    return _versions_up_to(stores, dataset, None)


def _versions_up_to(stores: Stores, dataset: str, last: int | None) -> list[DatasetVersion]:
    query = select(DATASET_VERSIONS).where(DATASET_VERSIONS.c.dataset == dataset)
    if last is not None:
        query = query.where(DATASET_VERSIONS.c.version <= last)
    with stores.db.read() as connection:
        rows = connection.execute(query.order_by(DATASET_VERSIONS.c.version)).mappings()
        return [_version(row) for row in rows]


def _version(row: Mapping[Any, Any]) -> DatasetVersion:
    schema = tuple((column["name"], column["dtype"]) for column in json.loads(row["schema"]))
    return DatasetVersion(**{**row, "schema": schema})


def version_files(stores: Stores, version: DatasetVersion) -> list[VersionFile]:
    """By day; within a day in the order of their deliveries."""
    what = f"the file list of {version.reference}"
    return [
        VersionFile(**file) for file in json.loads(stores.blobs.get(version.files_digest, what))
    ]


def version_basis(stores: Stores, version: DatasetVersion) -> Basis:
    what = f"the basis of {version.reference}"
    return Basis.from_json(json.loads(stores.blobs.get(version.basis_digest, what)))


def version_profile(stores: Stores, version: DatasetVersion) -> Profile:
    """The profile of all its rows; no row is read."""
    data = stores.blobs.get(version.profile_digest, f"the profile of {version.reference}")
    return Profile.from_json(json.loads(data), version_basis(stores, version))


def version_profiles_by_day(
    stores: Stores, version: DatasetVersion, since: date | None = None, until: date | None = None
) -> dict[date, Profile]:
    """One profile per day with since <= day < until, in order; no row is read."""
    basis = version_basis(stores, version)
    found: dict[date, Profile] = {}
    for one in _versions_up_to(stores, version.dataset, version.version):
        data = stores.blobs.get(one.days_digest, f"the profiles by day of {one.reference}")
        for text, profile in json.loads(data).items():
            day = date.fromisoformat(text)
            if _is_within(day, since, until):
                part = Profile.from_json(profile, basis)
                found[day] = add_profiles(found[day], part) if day in found else part
    return dict(sorted(found.items()))


def _is_within(day: date, since: date | None, until: date | None) -> bool:
    return (since is None or since <= day) and (until is None or day < until)


def read_version(
    stores: Stores,
    version: DatasetVersion,
    columns: Sequence[str] | None = None,
    since: date | None = None,
    until: date | None = None,
) -> pl.DataFrame:
    """Its rows with since <= ds < until, day by day; `ds` is the last column unless asked for.

    Raises DigestMismatch, naming the file, when a file's bytes are not those of the version.
    """
    dtypes = {name: POLARS_TYPES[DType(dtype)] for name, dtype in version.schema}
    wanted = list(columns) if columns is not None else [*dtypes, DAY]
    for column in wanted:
        if column not in (*dtypes, DAY):
            raise not_found(f"column of {version.reference}", column, [*dtypes, DAY])
    stored = {name: dtypes[name] for name in dtypes if name in wanted}
    empty = pl.DataFrame(schema={**stored, DAY: pl.Date()})
    parts = [
        read_file(stores, version, file, list(stored))
        for file in version_files(stores, version)
        if _is_within(date.fromisoformat(file.partition), since, until)
    ]
    return pl.concat([empty, *parts]).select(wanted)


def read_file(
    stores: Stores, version: DatasetVersion, file: VersionFile, columns: Sequence[str]
) -> pl.DataFrame:
    """The columns and `ds` of one file, from the very bytes that were hashed (law 2)."""
    path = table_folder(stores, version.dataset) / file.relative
    what = f"file {file.relative} of {version.reference}"
    if not path.is_file():
        raise DigestMismatch(what, expected=file.sha256, actual="no file")
    data = check_digest(path.read_bytes(), file.sha256, what)
    day = date.fromisoformat(file.partition)
    if not columns:
        return pl.select(pl.repeat(day, file.rows, dtype=pl.Date).alias(DAY))
    frame = pl.read_parquet(io.BytesIO(data), columns=list(columns))
    return frame.with_columns(pl.lit(day, pl.Date()).alias(DAY))


def show_version(stores: Stores, version: DatasetVersion) -> dict[str, Any]:
    """The version as JSON, with a summary of each column; made from the profile alone."""
    profile = version_profile(stores, version)
    columns = [
        _show_column(name, DType(dtype), profile.basis.columns[name], profile.columns[name])
        for name, dtype in version.schema
    ]
    return {**version.to_json(), "columns": columns}


def _show_column(
    name: str, dtype: DType, basis: ColumnBasis, profile: ColumnProfile
) -> dict[str, Any]:
    """`missing` is a share; `top` the most frequent of the values kept in the basis."""
    is_time = basis.kind is Kind.TIME
    counted = sorted(zip(basis.values, profile.counts, strict=False), key=lambda pair: -pair[1])
    top = [{"value": value, "count": count} for value, count in counted[:TOP_VALUES] if count]
    return {
        "name": name,
        "dtype": str(dtype),
        "kind": str(basis.kind),
        "missing": profile.missing / profile.rows if profile.rows else 0.0,
        "min": _shown(profile.low, dtype),
        "max": _shown(profile.high, dtype),
        "mean": None if is_time else profile.mean,
        "std": None if is_time else profile.std,
        "top": top,
    }


def _shown(value: float | None, dtype: DType) -> int | float | str | None:
    """
    >>> _shown(1356998400000000.0, DType.DATE), _shown(3.0, DType.INT), _shown(None, DType.FLOAT)
    ('2013-01-01', 3, None)
    """
    if value is None:
        return None
    if dtype in (DType.DATE, DType.DATETIME):
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
        return moment.date().isoformat() if dtype is DType.DATE else iso(moment)
    return int(value) if dtype is DType.INT else value
