"""The rows of a batch prediction: a dataset version, or what a query finds in one.

A query is answered once, when the job begins, and what it found is kept with the job by digest:
whoever goes on later answers the very same rows.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from seamline.app.serve.bulk_job import PORTION_ROWS
from seamline.data.declaration import DAY
from seamline.data.select import PlainSelect, select_frames
from seamline.data.versions import DatasetVersion, read_file, version_files
from seamline.data.versions.version import VersionFile
from seamline.domain.digests import check_digest, digest_of
from seamline.domain.errors import DigestMismatch, InvalidInput
from seamline.store.blobs import write_atomically
from seamline.store.stores import Stores


@dataclass(frozen=True)
class BulkSource:
    """`joined`: what else the query reads, by the names it has there; `keys`: of `version`."""

    stores: Stores
    version: DatasetVersion
    query: PlainSelect | None
    joined: Mapping[str, DatasetVersion] = field(default_factory=dict)
    keys: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        reference = self.version.reference
        if self.query is None:
            return reference
        names = [reference, *(one.reference for one in self.joined.values())]
        return f"the query of {' and '.join(names)}"

    @property
    def described(self) -> str:
        """With the whole query: it is what a reader of the version has to go by."""
        reference = self.version.reference
        if self.query is None:
            return reference
        if self.joined:  # the text may say no more than a name
            read = {one.reference: one.digest for one in (self.version, *self.joined.values())}
            reference = " and ".join(f"{name} ({digest})" for name, digest in read.items())
        return f"{reference}: {self.query.text}"

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
        for day, found in select_frames(self.stores, self.version, query, self.joined):
            if self.joined:
                self._check_keys(found)
            for part in found.iter_slices(PORTION_ROWS):
                if part.height:
                    yield day, part

    def _check_keys(self, found: pl.DataFrame) -> None:
        """A row that met several of a joined table would be answered several times."""
        if not self.keys or not {*self.keys} <= {*found.columns}:
            return
        again = found.filter(pl.struct(self.keys).is_duplicated())
        if again.is_empty():
            return
        first = ", ".join(f"{name} {again[name][0]}" for name in self.keys)
        raise InvalidInput(
            f"{again.height:,} rows of {self.name} have a key that others of them have, too: "
            f"{first} is there {again.filter(_is_first(again, self.keys)).height} times.",
            next_step="Join by columns that name one row of the joined table each; or, where "
            f"several answers to a row are meant, select {', '.join(self.keys)} by other names.",
        )


def _is_first(rows: pl.DataFrame, keys: Sequence[str]) -> pl.Expr:
    return pl.all_horizontal(pl.col(name).eq_missing(pl.lit(rows[name][0])) for name in keys)


def _keep(folder: Path, number: int, day: str, part: pl.DataFrame) -> VersionFile:
    memory = io.BytesIO()
    part.write_parquet(memory, compression="lz4")
    data = memory.getvalue()
    name = f"{number:05}.parquet"
    write_atomically(folder / name, data)
    return VersionFile(name, day, digest_of(data), part.height, len(data))
