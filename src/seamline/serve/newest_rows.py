"""The newest rows of a log, however long it is: what a page can show at once.

Bounded by rows and files, not by days: a page costs the same beside a thousand rows and beside a
billion, and says how far back it looks. Control-plane side, beside `log_tables.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from seamline.serve import feedback, prediction_log
from seamline.serve.log_tables import LOGS, log_folder, log_table
from seamline.serve.segments import list_segments, read_segment
from seamline.store.stores import Stores

MOST_ROWS = 200_000
#: A trickle of requests becomes a file every ten seconds.
MOST_FILES = 400

_KEYS = ("prediction_id", "row")


@dataclass(frozen=True)
class NewestRows:
    """`since`: every row that came later is among them; None: these are all that there are."""

    frames: tuple[pl.LazyFrame, ...]
    schema: pa.Schema
    since: datetime | None

    def pick(self, which: pl.Expr, columns: Sequence[str]) -> pl.DataFrame:
        empty = pl.DataFrame(pl.from_arrow(self.schema.empty_table())).lazy()
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
    folder = log_folder(stores.root, log, environment)
    # Segments first, then the table, minus what the table holds by then: see `log_tables`.
    segments = [(path, read_segment(path, schema)) for path in _newest(folder, most_files + 1)]
    delta = _table(log_table(stores.root, log, environment))
    frames: list[pl.LazyFrame] = []
    rows, since = 0, None
    for path, held in segments:
        if delta is not None and delta.transaction_version(path.name) is not None:
            continue
        if not held.num_rows:
            continue
        if (rows + held.num_rows > most_rows and frames) or len(frames) >= most_files:
            return NewestRows(tuple(frames), schema, _latest(held))
        frames.append(pl.DataFrame(held).lazy())
        rows += held.num_rows
    for file in _files(delta):
        if rows + file.rows > most_rows or len(frames) >= most_files:
            since = file.latest
            break
        frames.append(pl.scan_parquet(file.path, hive_partitioning=False))
        rows += file.rows
    return NewestRows(tuple(frames), schema, since)


def newest_feedback(
    stores: Stores, environment: str, predictions: pl.DataFrame
) -> tuple[pl.DataFrame, datetime | None]:
    """The last word on each of these rows (`prediction_id`, `row`, `request_id`), and since when
    feedback was looked through."""
    newest = newest_rows(stores, feedback.FOLDER, environment)
    names = [*_KEYS, "request_id", "truth", "reward", "at", "received_id", "position"]
    said = newest.pick(pl.lit(value=True), names).sort("at", "received_id", "position")
    said = said.with_row_index("order").drop("received_id", "position")
    asked = predictions.select(*_KEYS, "request_id")
    by_id = said.filter(pl.col("prediction_id").is_not_null()).drop("request_id")
    by_request = said.filter(pl.col("prediction_id").is_null()).drop("prediction_id")
    answers = [*_KEYS, "order", "truth", "reward", "at"]
    matched = pl.concat(
        [
            asked.join(by_id, on=list(_KEYS)).select(answers),
            asked.join(by_request, on=["request_id", "row"]).select(answers),
        ]
    )
    last = matched.sort("order").unique(list(_KEYS), keep="last", maintain_order=True)
    return last.drop("order").rename({"at": "feedback_at"}), newest.since


def newest_predictions(stores: Stores, environment: str) -> NewestRows:
    return newest_rows(stores, prediction_log.FOLDER, environment)


@dataclass(frozen=True)
class _File:
    path: Path
    rows: int
    latest: datetime


def _newest(folder: Path, most: int) -> list[Path]:
    return list_segments(folder)[-most:][::-1]


def _files(delta: DeltaTable | None) -> Iterator[_File]:
    """The newest first, by when its last row came."""
    if delta is None:
        return
    listed = pa.table(delta.get_add_actions(flatten=True))
    if not listed.num_rows:
        return
    folder = Path(unquote(delta.table_uri.removeprefix("file://")))
    columns = (listed.column(one).to_pylist() for one in ("path", "num_records", "max.at"))
    found = [
        _File(folder / unquote(path), rows, latest)
        for path, rows, latest in zip(*columns, strict=True)
    ]
    yield from sorted(found, key=lambda one: one.latest, reverse=True)


def _table(path: Path) -> DeltaTable | None:
    try:
        return DeltaTable(str(path))
    except TableNotFoundError:
        return None


def _latest(rows: pa.Table) -> datetime:
    latest = pl.DataFrame(rows.select(["at"])).get_column("at").max()
    assert isinstance(latest, datetime)
    return latest
