"""What an export is: rows as Parquet files by day, with a digest that says which rows they are."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import polars as pl

from seamline.data.declaration import DAY
from seamline.data.versions import DatasetVersion, VersionFile, table_folder, version_files
from seamline.data.versions.read import check_kept
from seamline.domain.digests import Digest, check_digest, digest_of
from seamline.domain.errors import DigestMismatch
from seamline.measure.casting import POLARS_TYPES, DType
from seamline.store.canonical import digest_of_json
from seamline.store.stores import Stores

BATCH_ROWS = 50_000


@dataclass(frozen=True)
class ExportFile:
    """The rows of one day: a Parquet file without `ds`. `load` gives its very bytes, verified."""

    day: date
    digest: str
    rows: int
    load: Callable[[], bytes]


@dataclass(frozen=True)
class Export:
    """`what` is its name for people; rows of days in [since, until), where these are given."""

    what: str
    schema: pl.Schema
    files: tuple[ExportFile, ...]
    since: date | None = None
    until: date | None = None

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def digest(self) -> Digest:
        """Of columns, days and bytes: two exports of one digest hold the same rows."""
        days = [None if one is None else one.isoformat() for one in (self.since, self.until)]
        files = sorted((file.day.isoformat(), file.digest) for file in self.files)
        columns = [(name, str(dtype)) for name, dtype in self.schema.items()]
        return Digest(digest_of_json({"columns": columns, "days": days, "files": files}))

    def names(self) -> dict[str, ExportFile]:
        """Each file by a name below a folder, made of its day and digest; where the same bytes
        came twice, they are there twice."""
        named: dict[str, ExportFile] = {}
        for file in self.files:
            stem = f"{DAY}={file.day.isoformat()}/{file.digest.removeprefix('sha256:')[:32]}"
            times = (
                sum(name.startswith(stem) for name in named) if f"{stem}.parquet" in named else 0
            )
            named[f"{stem}-{times}.parquet" if times else f"{stem}.parquet"] = file
        return named

    def batches(self) -> Iterator[pl.DataFrame]:
        """Day by day, `ds` last; bounded in memory by the largest file."""
        for file in self.files:
            frame = pl.read_parquet(io.BytesIO(file.load()))
            own = [name for name in self.schema if name != DAY]
            dated = frame.select(own).with_columns(pl.lit(file.day, pl.Date()).alias(DAY))
            yield from dated.cast(self.schema).iter_slices(BATCH_ROWS)


def export_of_version(
    stores: Stores, version: DatasetVersion, since: date | None = None, until: date | None = None
) -> Export:
    """Each file is verified as it is loaded (law 2). Raises Refused where retention has removed
    the version's rows."""
    check_kept(stores, version)
    dtypes = {name: POLARS_TYPES[DType(dtype)] for name, dtype in version.schema}
    files = tuple(
        _file_of(stores, version, file)
        for file in version_files(stores, version)
        if is_within_days(date.fromisoformat(file.partition), since, until)
    )
    return Export(version.reference, pl.Schema({**dtypes, DAY: pl.Date()}), files, since, until)


def is_within_days(day: date, since: date | None, until: date | None) -> bool:
    return (since is None or since <= day) and (until is None or day < until)


def _file_of(stores: Stores, version: DatasetVersion, file: VersionFile) -> ExportFile:
    def load() -> bytes:
        path = table_folder(stores, version.dataset) / file.relative
        what = f"file {file.relative} of {version.reference}"
        if not path.is_file():
            raise DigestMismatch(what, expected=file.sha256, actual="no file")
        return check_digest(path.read_bytes(), file.sha256, what)

    return ExportFile(date.fromisoformat(file.partition), file.sha256, file.rows, load)


def export_of_frame(
    what: str, frame: pl.DataFrame, since: date | None = None, until: date | None = None
) -> Export:
    """Of rows with `ds` that are no version: predictions of a window."""
    files = []
    for day in frame[DAY].unique().sort():
        data = _parquet_of(frame.filter(pl.col(DAY) == day).drop(DAY))
        rows = int((frame[DAY] == day).sum())
        files.append(ExportFile(day, digest_of(data), rows, _constant(data)))
    own = {name: dtype for name, dtype in frame.schema.items() if name != DAY}
    return Export(what, pl.Schema({**own, DAY: pl.Date()}), tuple(files), since, until)


def _parquet_of(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


def _constant(data: bytes) -> Callable[[], bytes]:
    return lambda: data
