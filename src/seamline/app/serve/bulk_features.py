"""Features of a batch's rows are not logged twice: the log says where they lie, and here they are
found again.

They are rows of a dataset version, which nobody changes. Whoever reads the log gets them as they
would have been logged, from bytes that are verified, or is told that the version's rows are gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from seamline.app.serve.bulk_source import BulkSource
from seamline.data.versions import find_version, read_file, version_files
from seamline.data.versions.read import check_kept
from seamline.data.versions.version import VersionFile
from seamline.domain.errors import NotFound, Refused
from seamline.serve.datatypes import TEXT
from seamline.serve.inputs.bulk_rows import text_of
from seamline.serve.inputs.validate import Rows
from seamline.serve.log.columns import json_rows
from seamline.serve.snapshots.snapshot import EndpointSpec
from seamline.store.stores import Stores

_DTYPES: Mapping[str, pl.DataType] = {
    "BOOL": pl.Boolean(), TEXT: pl.String(), "FP32": pl.Float32(), "FP64": pl.Float64(),
    "INT8": pl.Int8(), "INT16": pl.Int16(), "INT32": pl.Int32(), "INT64": pl.Int64(),
    "UINT8": pl.UInt8(), "UINT16": pl.UInt16(), "UINT32": pl.UInt32(), "UINT64": pl.UInt64(),
}  # fmt: skip


@dataclass(frozen=True)
class FeaturesPlace:
    """Rows of a dataset version's file from `row` on; `columns` have the types of the endpoint."""

    dataset: str
    file: str
    digest: str
    row: int
    columns: Mapping[str, str]

    def to_text(self) -> str:
        return json.dumps(self.__dict__, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> FeaturesPlace:
        return cls(**json.loads(text))


def place_of_chunk(
    source: BulkSource, file: VersionFile, start: int, rows: Rows, spec: EndpointSpec
) -> FeaturesPlace | None:
    """None where the features have to be logged: what a query found is kept nowhere else, and of a
    private value nobody is to know more than its hash."""
    if source.query is not None or spec.private:
        return None
    datatypes = {one.name: one.datatype for one in (*spec.signature.inputs, *spec.context)}
    named = [name for name in (*rows.columns, *rows.context) if name not in spec.unlogged]
    if any(datatypes[name] not in _DTYPES for name in named):
        return None
    columns = {name: datatypes[name] for name in named}
    return FeaturesPlace(source.version.reference, file.relative, file.sha256, start, columns)


@dataclass(frozen=True)
class LoggedRows:
    """Rows of the prediction log. `gone`: why some of them have no features any more, or ""."""

    rows: pl.DataFrame
    gone: str = ""


def find_features(stores: Stores, rows: pl.DataFrame) -> LoggedRows:
    """Of rows that have `row`, `features` and `features_from`: these with their features.

    Raises DigestMismatch where the rows of a version are not those that were answered.
    """
    referring = rows.with_row_index("_at").filter(pl.col("features_from").is_not_null())
    if referring.is_empty():
        return LoggedRows(rows)
    reader, gone = _Reader(stores), []
    found = [pl.DataFrame(schema={"_at": pl.UInt32, "_found": pl.String})]
    for (text,), mine in referring.group_by("features_from", maintain_order=True):
        place = FeaturesPlace.from_text(str(text))
        try:
            features = reader.read(place, mine["row"])
        except (NotFound, Refused) as error:
            gone.append(error.message)
            continue
        found.append(pl.DataFrame({"_at": mine["_at"], "_found": features}))
    filled = rows.with_row_index("_at").join(
        pl.concat(found), on="_at", how="left", maintain_order="left"
    )
    told = filled.with_columns(features=pl.coalesce("features", "_found"))
    return LoggedRows(told.select(rows.columns), " ".join(dict.fromkeys(gone)))


class _Reader:
    """Keeps the file that it read last: its chunks are asked for one after another."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._files: dict[tuple[str, str], VersionFile] = {}
        self._frames: dict[tuple[str, str, tuple[str, ...]], pl.DataFrame] = {}

    def read(self, place: FeaturesPlace, rows: pl.Series) -> pl.Series:
        """NotFound or Refused where they are gone."""
        key = (place.dataset, place.digest, tuple(place.columns))
        if key not in self._frames:
            self._frames = {key: self._frame(place)}
        asked = self._frames[key][rows + place.row]
        return json_rows(
            pl.DataFrame(
                [_typed(asked, name, datatype) for name, datatype in place.columns.items()]
            )
        )

    def _frame(self, place: FeaturesPlace) -> pl.DataFrame:
        version = find_version(self._stores, place.dataset)
        check_kept(self._stores, version)
        if (place.dataset, place.digest) not in self._files:
            for one in version_files(self._stores, version):
                self._files[place.dataset, one.sha256] = one
        file = self._files.get((place.dataset, place.digest))
        if file is None:
            raise NotFound(f"{place.dataset} has no file {place.digest} ({place.file}).")
        held = {name for name, _ in version.schema}
        wanted = [name for name in place.columns if name in held]
        return read_file(self._stores, version, file, wanted)


def _typed(frame: pl.DataFrame, name: str, datatype: str) -> pl.Series:
    """A column that may be null may have been left out."""
    if name not in frame.columns:
        return pl.Series(name, [None] * frame.height, _DTYPES[datatype])
    if datatype == TEXT:
        return pl.Series(name, text_of(frame[name]), pl.String())
    return frame[name].cast(_DTYPES[datatype])
