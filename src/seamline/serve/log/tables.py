"""The logs as tables: compaction into Delta, and reading predictions with their truth.

Control-plane side: the data plane never imports this file (Polars and Delta are heavy).
A segment becomes one Delta commit that carries the segment's name, so killing this process
anywhere leaves each row in the table once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from seamline.domain.clock import id_time
from seamline.domain.errors import NotFound
from seamline.serve.log import feedback, prediction_log
from seamline.serve.log.feedback import split_prediction_id
from seamline.serve.log.segments import claim_segment, list_segments, read_segment
from seamline.store.locks import one_at_a_time
from seamline.store.stores import Stores
from seamline.store.tables import append_frame

LOGS: Mapping[str, pa.Schema] = {
    prediction_log.FOLDER: prediction_log.SCHEMA,
    feedback.FOLDER: feedback.SCHEMA,
}
PARTITION = "ds"
#: A disk may take seconds for what is written behind the answer.
SETTLED_S = 15.0
LOOK_AGAIN_S = 0.05


def log_folder(root: Path, log: str, environment: str) -> Path:
    return root / "logs" / log / environment


def log_table(root: Path, log: str, environment: str) -> Path:
    return root / "tables" / f"_{log}" / environment


def compact(stores: Stores, environment: str) -> int:
    """Finished segments of both logs → Delta, exactly once; returns the rows moved now."""
    # Of two commits that begin a table, or bring it a column, Delta lets one fail.
    with one_at_a_time(stores.root, f"logs-{environment}"):
        return sum(_compact_log(stores.root, log, environment) for log in LOGS)


def _compact_log(root: Path, log: str, environment: str) -> int:
    moved = 0
    table = log_table(root, log, environment)
    for path in list_segments(log_folder(root, log, environment)):
        with claim_segment(path) as finished:
            if not finished:
                continue
            frame = _frame(read_segment(path, LOGS[log]))
            if not frame.is_empty() and not _is_in(table, path.name):
                table.parent.mkdir(parents=True, exist_ok=True)
                append_frame(table, frame, PARTITION, token=(path.name, 0))
                moved += len(frame)
            path.unlink()
    return moved


def read_segments(folder: Path, schema: pa.Schema = prediction_log.SCHEMA) -> pl.DataFrame:
    """All rows of the segments in a folder, the open one's too; torn tails are left out."""
    return _frame(pa.concat_tables([_empty(schema), *_tables(folder, schema).values()]))


def read_predictions(
    stores: Stores,
    environment: str,
    endpoint: str | None = None,
    since: date | None = None,
    until: date | None = None,
) -> pl.DataFrame:
    """Rows whose `ds` is in [since, until): the table's and those still in segments."""
    frame = _read_log(stores.root, prediction_log.FOLDER, environment, since, until)
    if endpoint is not None:
        frame = frame.filter(pl.col("endpoint") == endpoint)
    return frame.sort("prediction_id", "row")


def recent_features(
    stores: Stores, environment: str, endpoint: str, since: datetime, most: int
) -> pl.DataFrame:
    """The last rows, at most so many, that arrived since: `features`, or where they lie."""

    def narrow(rows: pl.LazyFrame) -> pl.LazyFrame:
        mine = rows.filter(pl.col("endpoint") == endpoint, pl.col("at") >= since)
        return mine.select("prediction_id", "row", "features", "features_from")

    found = _collect(stores.root, prediction_log.FOLDER, environment, narrow)
    return found.sort("prediction_id", "row").tail(most)


def read_feedback(stores: Stores, environment: str) -> pl.DataFrame:
    """All feedback as it was received, oldest first."""
    frame = _read_log(stores.root, feedback.FOLDER, environment, None, None)
    return frame.sort("at", "received_id", "position")


def read_labelled(
    stores: Stores,
    environment: str,
    endpoint: str | None = None,
    since: date | None = None,
    until: date | None = None,
) -> pl.DataFrame:
    """`read_predictions` with `truth` (JSON text), `reward`, `label_at` and `feedback_at`.

    The last word per prediction counts, whether it named the prediction or the caller's own
    request id; a prediction without feedback stays, with nulls. What was sent to one endpoint says
    nothing of another's predictions.
    """
    predictions = read_predictions(stores, environment, endpoint, since, until)
    said = read_feedback(stores, environment).with_row_index("order")
    keys = predictions.select("prediction_id", "row", "request_id", asked="endpoint")
    by_prediction = said.filter(pl.col("prediction_id").is_not_null()).drop("request_id")
    by_request = said.filter(pl.col("prediction_id").is_null()).drop("prediction_id")
    answers = ["prediction_id", "row", "order", "truth", "reward", "label_at", "at"]
    is_own = pl.col("endpoint").is_null() | (pl.col("endpoint") == pl.col("asked"))
    matched = pl.concat(
        [
            keys.join(by_prediction, on=["prediction_id", "row"]).filter(is_own).select(answers),
            keys.join(by_request, on=["request_id", "row"]).filter(is_own).select(answers),
        ]
    )
    last = matched.sort("order").unique(["prediction_id", "row"], keep="last", maintain_order=True)
    joined = last.drop("order").rename({"at": "feedback_at"})
    return predictions.join(joined, on=["prediction_id", "row"], how="left", maintain_order="left")


def feedback_of(stores: Stores, prediction: Mapping[str, object]) -> list[dict[str, object]]:
    """All that was said of one row of the log, the last word last, as `read_labelled` finds it."""
    by_prediction = pl.col("prediction_id") == pl.lit(prediction["prediction_id"])
    by_request = pl.col("prediction_id").is_null() & (
        pl.col("request_id") == pl.lit(prediction["request_id"], pl.String)
    )
    is_own = pl.col("endpoint").is_null() | (pl.col("endpoint") == pl.lit(prediction["endpoint"]))
    mine = (pl.col("row") == prediction["row"]) & (by_prediction | by_request) & is_own

    def narrow(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.filter(mine).select(feedback.SCHEMA.names)

    found = _collect(stores.root, feedback.FOLDER, str(prediction["environment"]), narrow)
    return found.sort("at", "received_id", "position").to_dicts()


def find_prediction(stores: Stores, prediction_id: str) -> dict[str, object]:
    """One row of the log in any environment, by `<id>` or `<id>:<row>`; NotFound otherwise.

    The log is written behind the answer, so whoever asks at once about a prediction of the last
    `SETTLED_S` is made to wait for it.
    """
    base, row = split_prediction_id(prediction_id)
    give_up_at = _settled_at(base, stores.clock.now())
    while (found := _look_for(stores, base, row)) is None:
        if time.monotonic() >= give_up_at:
            raise NotFound(
                f"There is no prediction {prediction_id!r} in the log.",
                next_step="Its id is the prediction_id of the answer, and :<row> after it.",
            )
        time.sleep(LOOK_AGAIN_S)
    return found


def _settled_at(base: str, now: datetime) -> float:
    """The monotonic time from which on a prediction that is not in the log is not coming."""
    made_at = id_time(base)
    age_s = SETTLED_S if made_at is None else (now - made_at).total_seconds()
    return time.monotonic() + min(max(SETTLED_S - age_s, 0.0), SETTLED_S)


def _look_for(stores: Stores, base: str, row: int) -> dict[str, object] | None:
    wanted = (pl.col("prediction_id") == base) & (pl.col("row") == row)
    for environment in list_environments(stores):
        folder = log_folder(stores.root, prediction_log.FOLDER, environment)
        segments = _tables(folder, prediction_log.SCHEMA)
        table = log_table(stores.root, prediction_log.FOLDER, environment)
        for frame in [*map(_frame, segments.values()), _find_in_table(table, base)]:
            found = frame.filter(wanted)
            if not found.is_empty():
                return found.row(0, named=True)
    return None


def list_environments(stores: Stores) -> list[str]:
    """Environments with a prediction log."""
    roots = [stores.root / "logs" / prediction_log.FOLDER]
    roots.append(stores.root / "tables" / f"_{prediction_log.FOLDER}")
    return sorted({path.name for root in roots if root.exists() for path in root.iterdir()})


def _read_log(
    root: Path, log: str, environment: str, since: date | None, until: date | None
) -> pl.DataFrame:
    names = LOGS[log].names
    return _collect(root, log, environment, lambda rows: _between(rows, since, until).select(names))


def _collect(
    root: Path, log: str, environment: str, narrow: Callable[[pl.LazyFrame], pl.LazyFrame]
) -> pl.DataFrame:
    """Segments first, then the table, minus the segments that the table holds by now: so a
    compaction between the two reads neither hides nor doubles a row."""
    schema = LOGS[log]
    segments = _tables(log_folder(root, log, environment), schema)
    table = log_table(root, log, environment)
    try:
        delta = DeltaTable(str(table))
    except TableNotFoundError:
        delta = None
    parts = [narrow(_frame(_empty(schema)).lazy()).collect()]
    if delta is not None:
        parts.append(narrow(_scan(delta, schema)).collect())
    for name, held in segments.items():
        if delta is None or delta.transaction_version(name) is None:
            parts.append(narrow(_frame(held).lazy()).collect())
    return pl.concat(parts)


def _between(rows: pl.LazyFrame, since: date | None, until: date | None) -> pl.LazyFrame:
    if since is not None:
        rows = rows.filter(pl.col(PARTITION) >= since)
    return rows if until is None else rows.filter(pl.col(PARTITION) < until)


def _tables(folder: Path, schema: pa.Schema) -> dict[str, pa.Table]:
    return {path.name: read_segment(path, schema) for path in list_segments(folder)}


def _find_in_table(table: Path, prediction_id: str) -> pl.DataFrame:
    try:
        delta = DeltaTable(str(table))
    except TableNotFoundError:
        return _frame(_empty(prediction_log.SCHEMA))
    rows = _scan(delta, prediction_log.SCHEMA).filter(pl.col("prediction_id") == prediction_id)
    return rows.select(prediction_log.SCHEMA.names).collect()


def has_segment(root: Path, log: str, environment: str, name: str) -> bool:
    """Whether it is rows of the table already."""
    return _is_in(log_table(root, log, environment), name)


def _scan(delta: DeltaTable, schema: pa.Schema) -> pl.LazyFrame:
    """A table that nothing was added to of late may lack the newest columns: those are null."""
    held, wanted = pl.scan_delta(delta), _frame(_empty(schema)).schema
    missing = wanted.keys() - held.collect_schema().keys()
    return held.with_columns(pl.lit(None, wanted[name]).alias(name) for name in missing)


def _is_in(table: Path, segment: str) -> bool:
    try:
        return DeltaTable(str(table)).transaction_version(segment) is not None
    except TableNotFoundError:
        return False


def _empty(schema: pa.Schema) -> pa.Table:
    return schema.empty_table()


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
