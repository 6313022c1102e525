"""A table in wider types: its files once more, with the columns that changed as the new type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from seamline.data.declaration import DAY
from seamline.data.versions import (
    DatasetVersion,
    read_file,
    version_files,
    version_profile,
    version_row,
)
from seamline.data.writing.parquet import WrittenFile, write_file
from seamline.domain.errors import Conflict
from seamline.measure.casting import POLARS_TYPES, DType
from seamline.measure.contracts import Contract
from seamline.measure.inference import wider
from seamline.store.stores import Stores

#: Every smaller whole number is a float.
_EXACT_BELOW = 2**53


def stored_schema(contract: Contract, newest: DatasetVersion) -> dict[str, DType]:
    """The columns that the table has once a delivery under this contract was added to it.

    Raises Conflict for a column that the table does not have: its older rows would have none.
    """
    table = {name: DType(dtype) for name, dtype in newest.schema}
    absent = [column.name for column in contract.columns if column.name not in table]
    if absent:
        raise Conflict(
            f"The contract of dataset {newest.dataset} has the column {absent[0]!r}; its table, "
            f"up to version {newest.version}, has none of that name.",
            next_step='Deliver the whole table anew, with mode = "replace", or start a dataset '
            "of another name.",
        )
    for column in contract.columns:
        table[column.name] = wider(table[column.name], column.dtype)
    return table


def lossless(stores: Stores, dataset: str, columns: Mapping[str, DType]) -> Mapping[str, DType]:
    """Of types that are about to be wider: text in place of fractions, where the table has whole
    numbers that no fraction holds exactly."""
    with stores.db.read() as connection:
        newest = version_row(connection, dataset)
    if newest is None or DType.FLOAT not in columns.values():
        return columns
    profile = version_profile(stores, newest).columns

    def is_long(name: str) -> bool:
        ends = (profile[name].low, profile[name].high) if name in profile else ()
        return any(end is not None and abs(end) >= _EXACT_BELOW for end in ends)

    return {
        name: DType.STRING if dtype is DType.FLOAT and is_long(name) else dtype
        for name, dtype in columns.items()
    }


def is_wider(schema: Mapping[str, DType], version: DatasetVersion) -> bool:
    return tuple((name, str(dtype)) for name, dtype in schema.items()) != version.schema


def rewrite_files(
    stores: Stores, version: DatasetVersion, schema: Mapping[str, DType], folder: Path, name: str
) -> Iterator[WrittenFile]:
    """The version's files in the types of `schema`, each rewritten to `folder/NAME-….parquet`;
    the old ones stay, for the old versions."""
    columns = list(schema)
    for place, file in enumerate(version_files(stores, version)):
        rows = read_file(stores, version, file, columns).drop(DAY)
        wide = rows.cast({one: POLARS_TYPES[dtype] for one, dtype in schema.items()}).rechunk()
        yield write_file(wide, folder, file.partition, f"{name}-wide-{place:05}.parquet")
