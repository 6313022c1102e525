"""Rows that are set aside: a Delta table beside the dataset's, one file for each delivery.

Its columns are the same whatever came: the row's place in the delivery, why it was set aside, and
the row itself as JSON, as it was delivered. It is committed with the version, by the same intent.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from seamline.data.declaration import DAY
from seamline.data.sources.batches import arrow_of
from seamline.data.versions import DatasetVersion, table_folder
from seamline.data.versions.read import check_kept
from seamline.domain.clock import from_iso
from seamline.domain.digests import check_digest
from seamline.domain.errors import DigestMismatch
from seamline.store.blobs import digest_of_file
from seamline.store.stores import Stores
from seamline.store.tables import NewFile, commit_files, drop_files

SUFFIX = "--quarantine"
_SCHEMA: Mapping[str, pl.DataType] = {
    "row": pl.Int64(),
    "reasons": pl.String(),
    "values": pl.String(),
    "source": pl.String(),
    "delivery": pl.String(),
}


class Quarantine:
    """Keeps the rows of one delivery in a file until it is committed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = 0
        self.rows = 0

    def add(
        self, frame: pl.DataFrame, aside: pl.Series, reasons: pl.Series, rows_before: int
    ) -> None:
        """`frame` as it was delivered; `aside` says which of its rows, `reasons` why each."""
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = pl.int_range(rows_before + 1, rows_before + frame.height + 1, eager=True)
        rows = pl.DataFrame(
            {"row": numbers.filter(aside), "reasons": reasons, "values": _json(frame.filter(aside))}
        )
        rows.write_ipc(self._folder / f"{self._parts:06}.arrow", compression="lz4")
        self._parts += 1
        self.rows += rows.height

    def write(self, folder: Path, *, delivery: str, source: str, at: str) -> SetAside | None:
        """One file, below the staging folder `folder`; None where no row was set aside."""
        if not self.rows:
            return None
        name = aside_name(delivery)
        schema = arrow_of(pl.DataFrame(schema=_SCHEMA)).schema
        with pq.ParquetWriter(folder / name, schema, compression="zstd") as writer:
            for part in range(self._parts):
                rows = pl.read_ipc(self._folder / f"{part:06}.arrow")
                whole = rows.with_columns(source=pl.lit(source), delivery=pl.lit(delivery))
                writer.write_table(arrow_of(whole.select(list(_SCHEMA))).cast(schema))
        day = at[:10]
        size, digest = (folder / name).stat().st_size, digest_of_file(folder / name)
        return SetAside(f"{DAY}={day}/{name}", day, size, self.rows, digest)


def _json(rows: pl.DataFrame) -> pl.Series:
    """
    >>> _json(pl.DataFrame({"a": [1], "b": [b"ok"]})).item()
    '{"a":1,"b":"b2s="}'
    """
    encoded = rows.with_columns(pl.col(pl.Binary).bin.encode("base64"))
    return encoded.select(pl.struct(pl.all()).struct.json_encode().alias("values")).to_series()


@dataclass(frozen=True)
class SetAside:
    """The file of one delivery: part of the intent of its version, and committed with it."""

    relative: str
    day: str
    bytes: int
    rows: int
    #: None in what a writer of before revision 0016 left.
    digest: str | None = None

    @property
    def name(self) -> str:
        return PurePosixPath(self.relative).name


def place_aside(stores: Stores, dataset: str, staged: Path, aside: SetAside) -> None:
    path = quarantine_folder(stores, dataset) / aside.relative
    path.parent.mkdir(parents=True, exist_ok=True)
    (staged / aside.name).replace(path)


def commit_aside(
    stores: Stores, dataset: str, aside: SetAside, *, token: tuple[str, int], at: str
) -> None:
    """To the side table; the same `token` is committed once."""
    commit_files(
        quarantine_folder(stores, dataset),
        [NewFile(aside.relative, aside.day, aside.bytes, json.dumps({"numRecords": aside.rows}))],
        {**_SCHEMA, DAY: pl.Date()},
        DAY,
        token=token,
        at_ms=int(from_iso(at).timestamp() * 1000),
    )


def quarantine_folder(stores: Stores, dataset: str) -> Path:
    folder = table_folder(stores, dataset)
    return folder.with_name(folder.name + SUFFIX)


def aside_name(delivery: str) -> str:
    """A delivery's file is known by the delivery."""
    return f"{delivery.removeprefix('sha256:')}.parquet"


def aside_files(stores: Stores, dataset: str) -> list[Path]:
    return sorted(quarantine_folder(stores, dataset).glob(f"{DAY}=*/*.parquet"))


def drop_asides(stores: Stores, dataset: str, files: Collection[Path], *, at: datetime) -> None:
    """Out of the side table, so that whoever reads it does not look for them; then they go."""
    folder = quarantine_folder(stores, dataset)
    relatives = {path.relative_to(folder).as_posix() for path in files}
    drop_files(folder, relatives, DAY, at_ms=int(at.timestamp() * 1000))
    for path in files:
        path.unlink(missing_ok=True)


def read_quarantine(
    stores: Stores, version: DatasetVersion, most: int | None = None
) -> list[dict[str, Any]]:
    """The rows that the version's delivery had to leave behind, by their place in it, from the
    very bytes that were hashed at its commit (law 2)."""
    if not version.rows_quarantined:
        return []
    name = aside_name(version.delivery_digest)
    what = f"quarantine file {name} of {version.reference}"
    expected = version.quarantine_digest or "none that was recorded"
    path = next(quarantine_folder(stores, version.dataset).glob(f"{DAY}=*/{name}"), None)
    if path is None:
        check_kept(stores, version)
        raise DigestMismatch(what, expected=expected, actual="no file")
    data = check_digest(path.read_bytes(), expected, what)
    frame = pl.read_parquet(io.BytesIO(data), n_rows=most, columns=["row", "reasons", "values"])
    return [{**row, "values": json.loads(row["values"])} for row in frame.to_dicts()]
