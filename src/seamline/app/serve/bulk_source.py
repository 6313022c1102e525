"""The rows of a batch prediction: a dataset version, or what a query finds in one.

A query is answered once, when the job begins, and what it found is kept with the job by digest:
whoever goes on later answers the very same rows.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from seamline.app.serve.bulk_job import PORTION_ROWS
from seamline.data.declaration import DAY
from seamline.data.select import PlainSelect, select_frames
from seamline.data.versions import DatasetVersion, read_file, version_files
from seamline.data.versions.version import VersionFile
from seamline.domain.digests import check_digest, digest_of
from seamline.domain.errors import DigestMismatch
from seamline.store.blobs import write_atomically
from seamline.store.stores import Stores


@dataclass(frozen=True)
class BulkSource:
    stores: Stores
    version: DatasetVersion
    query: PlainSelect | None

    @property
    def name(self) -> str:
        reference = self.version.reference
        return reference if self.query is None else f"the query of {reference}"

    @property
    def described(self) -> str:
        """With the whole query: it is what a reader of the version has to go by."""
        reference = self.version.reference
        return reference if self.query is None else f"{reference}: {self.query.text}"

    def find_files(self, folder: Path) -> list[VersionFile]:
        """What is to be answered; what a query finds is written to `folder`."""
        if self.query is None:
            return [one for one in version_files(self.stores, self.version) if one.rows]
        folder.mkdir(exist_ok=True)
        parts = self._parts(self.query)
        return [_keep(folder, number, day, part) for number, (day, part) in enumerate(parts)]

    def columns(self, folder: Path, files: Sequence[VersionFile]) -> list[str]:
        if self.query is None:
            return [name for name, _ in self.version.schema]
        return list(pl.read_parquet_schema(io.BytesIO(self._verified(folder, files[0]))))

    def read(self, folder: Path, file: VersionFile, columns: Sequence[str]) -> pl.DataFrame:
        """From the very bytes that were hashed (law 2)."""
        if self.query is None:
            return read_file(self.stores, self.version, file, columns)
        return pl.read_parquet(io.BytesIO(self._verified(folder, file)), columns=list(columns))

    def _verified(self, folder: Path, file: VersionFile) -> bytes:
        what = f"rows {file.relative} of {self.name}"
        try:
            data = (folder / file.relative).read_bytes()
        except FileNotFoundError:
            raise DigestMismatch(what, expected=file.sha256, actual="no file") from None
        check_digest(data, file.sha256, what)
        return data

    def where(self, file: VersionFile, row: int) -> str:
        day = f", {DAY} {file.partition}" if file.partition else ""
        return f"{self.name}{day}, rows from {row} on"

    def _parts(self, query: PlainSelect) -> Iterator[tuple[str, pl.DataFrame]]:
        for day, found in select_frames(self.stores, self.version, query):
            for part in found.iter_slices(PORTION_ROWS):
                if part.height:
                    yield day, part


def _keep(folder: Path, number: int, day: str, part: pl.DataFrame) -> VersionFile:
    memory = io.BytesIO()
    part.write_parquet(memory, compression="lz4")
    data = memory.getvalue()
    name = f"{number:05}.parquet"
    write_atomically(folder / name, data)
    return VersionFile(name, day, digest_of(data), part.height, len(data))
