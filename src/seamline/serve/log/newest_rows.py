"""The newest rows of a log, however long it is: what a page can show at once.

Bounded by rows and files, not by days: a page costs the same beside a thousand rows and beside a
billion, and says how far back it looks. Files of nothing but batch predictions have bounds of their
own: a table that was filled hides nobody's requests. Control-plane side, beside `tables.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from seamline.serve.log import feedback, prediction_log
from seamline.serve.log.segments import list_segments, read_segment
from seamline.serve.log.tables import LOGS, PARTITION, log_folder, log_table
from seamline.store.stores import Stores

MOST_ROWS = 200_000
#: A trickle of requests becomes a file every ten seconds.
MOST_FILES = 400

#: The route of rows that `seamline predict` asked for, where online ones have theirs.
BATCH = "batch"

_KEYS = ("prediction_id", "row")


@dataclass(frozen=True)
class NewestRows:
    """`since`: every row that a caller asked for and that came later is among them; None: these are
    all that there are. `batch_since`: the same of batch predictions."""

    frames: tuple[pl.LazyFrame, ...]
    schema: pa.Schema
    since: datetime | None
    batch_since: datetime | None

    def pick(self, which: pl.Expr, columns: Sequence[str]) -> pl.DataFrame:
        empty = pl.DataFrame(self.schema.empty_table()).lazy()
        parts = [one.filter(which).select(columns) for one in (empty, *self.frames)]
        return pl.concat(pl.collect_all(parts))


def newest_rows(
    stores: Stores,
    log: str,
    environment: str,
    *,
    most_rows: int = MOST_ROWS,
    most_files: int = MOST_FILES,
) -> NewestRows:
    """Of both the segments and the table, each row once, whole files until one is too many."""
    schema = LOGS[log]
    bounds = {is_batch: _Bounds(most_rows, most_files) for is_batch in (False, True)}
    # Segments first, then the table, minus what the table holds by then: see `tables`.
    segments = _read_segments(log_folder(stores.root, log, environment), schema, bounds)
    delta = _table(log_table(stores.root, log, environment))
    frames: list[pl.LazyFrame] = []
    for name, held in segments:
        if delta is None or delta.transaction_version(name) is None:
            frames.append(pl.DataFrame(held).lazy())
        else:
            bounds[_is_batch(held)].give_back(held.num_rows)
    for file in _files(delta):
        if bounds[file.is_batch].admit(file.rows, file.latest):
            frames.append(_scan(file.path, schema))
        if bounds[False].since is not None and bounds[True].since is not None:
            break
    return NewestRows(tuple(frames), schema, bounds[False].since, bounds[True].since)


@dataclass
class _Bounds:
    """What is taken in, newest first, until one is too many; `since`: when its last row came."""

    most_rows: int
    most_files: int
    rows: int = 0
    files: int = 0
    since: datetime | None = None

    def admit(self, rows: int, latest: datetime, *, is_needed: bool = False) -> bool:
        is_full = self.rows + rows > self.most_rows or self.files >= self.most_files
        if self.since is None and is_full and not is_needed:
            self.since = latest
        if self.since is not None:
            return False
        self.rows += rows
        self.files += 1
        return True

    def give_back(self, rows: int) -> None:
        self.rows -= rows
        self.files -= 1


def _read_segments(
    folder: Path, schema: pa.Schema, bounds: Mapping[bool, _Bounds]
) -> list[tuple[str, pa.Table]]:
    """The newest first, as many as are wanted, one of each kind at the least."""
    found: list[tuple[str, pa.Table]] = []
    for path in reversed(list_segments(folder)):
        held = read_segment(path, schema)
        if not held.num_rows:
            continue
        its = bounds[_is_batch(held)]
        if its.admit(held.num_rows, _latest(held), is_needed=not its.files):
            found.append((path.name, held))
        if bounds[False].since is not None:
            break
    return found


def _is_batch(rows: pa.Table) -> bool:
    if "route" not in rows.schema.names:
        return False
    return bool(pc.all(pc.equal(rows["route"], BATCH)).as_py())


def newest_feedback(
    stores: Stores, environment: str, predictions: pl.DataFrame
) -> tuple[pl.DataFrame, datetime | None]:
    """The last word on each of these rows (`prediction_id`, `row`, `request_id`), and since when
    feedback was looked through."""
    newest = newest_rows(stores, feedback.FOLDER, environment)
    told = ["truth", "reward", "at", "principal", "plane"]
    names = [*_KEYS, "request_id", *told, "received_id", "position"]
    said = newest.pick(pl.lit(value=True), names).sort("at", "received_id", "position")
    said = said.with_row_index("order").drop("received_id", "position")
    asked = predictions.select(*_KEYS, "request_id")
    by_id = said.filter(pl.col("prediction_id").is_not_null()).drop("request_id")
    by_request = said.filter(pl.col("prediction_id").is_null()).drop("prediction_id")
    answers = [*_KEYS, "order", *told]
    matched = pl.concat(
        [
            asked.join(by_id, on=list(_KEYS)).select(answers),
            asked.join(by_request, on=["request_id", "row"]).select(answers),
        ]
    )
    last = matched.sort("order").unique(list(_KEYS), keep="last", maintain_order=True)
    named = {"at": "feedback_at", "principal": "feedback_by", "plane": "feedback_plane"}
    return last.drop("order").rename(named), newest.since


def newest_predictions(stores: Stores, environment: str) -> NewestRows:
    return newest_rows(stores, prediction_log.FOLDER, environment)


@dataclass(frozen=True)
class _File:
    path: Path
    rows: int
    latest: datetime
    is_batch: bool


def _files(delta: DeltaTable | None) -> Iterator[_File]:
    """The newest first, by when its last row came."""
    if delta is None:
        return
    listed = pa.table(delta.get_add_actions(flatten=True))
    if not listed.num_rows:
        return
    folder = Path(unquote(delta.table_uri.removeprefix("file://")))
    names = ("path", "num_records", "max.at")
    routes = [f"{bound}.route" for bound in ("min", "max") if "max.route" in listed.column_names]
    columns = (listed.column(one).to_pylist() for one in (*names, *routes))
    found = [
        _File(folder / unquote(path), rows, latest, between == [BATCH, BATCH])
        for path, rows, latest, *between in zip(*columns, strict=True)
    ]
    yield from sorted(found, key=lambda one: one.latest, reverse=True)


def _scan(path: Path, schema: pa.Schema) -> pl.LazyFrame:
    """A file may be older than the newest columns, and has none of the day: that is in its name."""
    wanted = pl.DataFrame(schema.empty_table()).schema
    del wanted[PARTITION]
    return pl.scan_parquet(
        path,
        schema=wanted,
        missing_columns="insert",
        extra_columns="ignore",
        hive_partitioning=False,
    )


def _table(path: Path) -> DeltaTable | None:
    try:
        return DeltaTable(str(path))
    except TableNotFoundError:
        return None


def _latest(rows: pa.Table) -> datetime:
    latest = pl.DataFrame(rows.select(["at"])).get_column("at").max()
    assert isinstance(latest, datetime)
    return latest
