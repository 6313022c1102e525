"""A batch prediction at work: read, check, ask, write down; a portion after another.

Checks of the inputs, model and log are those of the endpoint. While the model is at one chunk, the
next is read and the last one written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pyarrow as pa

from seamline.app.platform import Platform
from seamline.app.serve.bulk_features import place_of_chunk
from seamline.app.serve.bulk_job import JobFolder, Portion
from seamline.app.serve.bulk_log import log_batches
from seamline.app.serve.bulk_source import BulkSource
from seamline.data.versions.version import VersionFile
from seamline.domain.digests import Digest
from seamline.serve.datatypes import Columns
from seamline.serve.inputs.bulk_rows import columns_read, rows_of_frame
from seamline.serve.inputs.validate import Rows
from seamline.serve.log.newest_rows import BATCH
from seamline.serve.log.prediction_log import (
    FOLDER,
    PredictionEntry,
)
from seamline.serve.log.privacy import load_or_create_privacy_key, privacy_key_path
from seamline.serve.log.tables import log_folder
from seamline.serve.models.bulk_twin import BulkTwin, open_model
from seamline.serve.models.bulk_worker import BulkWorker
from seamline.serve.routing import ServedModel, Target
from seamline.serve.snapshots.input_rules import check_inputs
from seamline.serve.snapshots.snapshot import EndpointSpec, ServingSnapshot

ANSWERED = 200
#: Who answered a row, and the columns by which the log knows it.
TOLD = ("model", "model_version", "release", "prediction_id", "row")

#: Rows, their file, the first one's place in it, prediction id.
_Chunk = tuple[pl.DataFrame, VersionFile, int, str]
#: Of a chunk: rows of the output, and of the log.
_Written = tuple[pl.DataFrame, list[pa.RecordBatch]]


@dataclass(frozen=True)
class Batch:
    """What is asked for. `kept`: columns of the source that the output keeps."""

    platform: Platform
    snapshot: ServingSnapshot
    spec: EndpointSpec
    source: BulkSource
    digest: Digest
    folder: JobFolder
    portions: Sequence[Portion]
    #: Of the source.
    columns: tuple[str, ...]
    kept: tuple[str, ...]
    #: Who asked.
    by: str
    tell: Callable[[int, int], None]


@dataclass(frozen=True)
class Answers:
    """`by`: "twin", "model", or "" where all had been answered before.

    `breaches`: what the inputs break of the contract of the training data, counted.
    """

    by: str
    breaches: dict[str, int]


def answer_all(batch: Batch) -> Answers:
    """Every portion that is not done yet."""
    folder, portions = batch.folder, batch.portions
    left = [one for one in portions if not folder.result_of(one).exists()]
    total = sum(one.rows for one in portions)
    done = total - sum(one.rows for one in left)
    breaches: dict[str, int] = {}
    if not left:
        return Answers("", breaches)
    root = batch.platform.root
    key = load_or_create_privacy_key(privacy_key_path(root))
    log = log_folder(root, FOLDER, batch.snapshot.environment)
    with (
        open_model(batch.spec) as model,
        ThreadPoolExecutor(1, "reading") as reading,
        ThreadPoolExecutor(1, "asking") as asking,
        ThreadPoolExecutor(1, "writing") as writing,
    ):
        # While one portion is written, the next is answered; no more of them wait in memory.
        pending: Future[None] | None = None
        frames = _frames(batch, left, reading)
        for portion in left:
            parts = []
            chunks = _chunks(portion, frames)
            for answered in _answered(batch, chunks, model, asking, breaches):
                parts.append(writing.submit(_written, batch, answered, key))
                done += answered.frame.height
                batch.tell(done, total)
            if pending is not None:
                pending.result()
            pending = writing.submit(_finish, folder, portion, log, parts)
        if pending is not None:
            pending.result()
    return Answers("twin" if model.is_twin else "model", breaches)


def _written(batch: Batch, answered: _Answered, key: bytes) -> _Written:
    return _result(batch, answered), log_batches(answered.entry, key, answered.features_from)


def _finish(folder: JobFolder, portion: Portion, log: Path, parts: list[Future[_Written]]) -> None:
    written = [one.result() for one in parts]
    batches = [one for _, logged in written for one in logged]
    folder.finish(portion, pl.concat([frame for frame, _ in written]), log, batches)


@dataclass(frozen=True)
class _Answered:
    frame: pl.DataFrame
    entry: PredictionEntry
    features_from: str | None


def _answered(
    batch: Batch,
    chunks: Iterator[_Chunk],
    model: BulkTwin | BulkWorker,
    asking: ThreadPoolExecutor,
    breaches: dict[str, int],
) -> Iterator[_Answered]:
    """Chunk by chunk; while the model is at one, the next is read and the last is written."""

    def ask(rows: Rows) -> tuple[Columns, int]:
        started_ns = time.perf_counter_ns()
        return model.predict(rows.columns, rows.count), (time.perf_counter_ns() - started_ns)

    # The log asks of a target what it is called; no queue and no worker of the plane is behind it.
    nobody = cast(ServedModel, None)
    target = Target(
        batch.snapshot.environment, batch.snapshot.release, batch.spec, nobody, route=BATCH
    )
    at = batch.platform.stores.clock.now()
    before = None
    for chunk in chain(chunks, [None]):
        coming = None
        if chunk is not None:
            frame, file, start, prediction_id = chunk
            rows = rows_of_frame(frame, batch.spec, batch.source.where(file, start))
            place = place_of_chunk(batch.source, file, start, rows, batch.spec)
            for one in check_inputs(rows.columns, batch.spec.rules, batch.spec.expressions):
                name = f"{one.column}: {one.what}"
                breaches[name] = breaches.get(name, 0) + one.count
            coming = (frame, prediction_id, rows, place, asking.submit(ask, rows))
        if before is not None:
            frame, prediction_id, rows, place, asked = before
            outputs, took_ns = asked.result()
            yield _Answered(
                frame,
                PredictionEntry(
                    target, prediction_id, f"batch-{batch.digest[7:19]}", at, rows, outputs,
                    took_ns // 1000, ANSWERED, principal=batch.by,
                ),
                None if place is None else place.to_text(),
            )  # fmt: skip
        before = coming


def _frames(
    batch: Batch, portions: Sequence[Portion], reading: ThreadPoolExecutor
) -> Iterator[pl.DataFrame]:
    """Of each file, one after another; while one is answered, the next is read and verified."""
    wanted = list(dict.fromkeys((*columns_read(batch.spec, list(batch.columns)), *batch.kept)))
    coming: Future[pl.DataFrame] | None = None
    for one in [file for portion in portions for file in portion.files]:
        before = coming
        coming = reading.submit(batch.source.read, batch.folder.rows, one.file, wanted)
        if before is not None:
            yield before.result()
    if coming is not None:
        yield coming.result()


def _chunks(portion: Portion, frames: Iterator[pl.DataFrame]) -> Iterator[_Chunk]:
    for one in portion.files:
        frame = next(frames)
        for prediction_id, start, rows in one.chunks():
            yield frame.slice(start, rows), one.file, start, prediction_id


def _result(batch: Batch, answered: _Answered) -> pl.DataFrame:
    """Keys and time, outputs, and of many models which answered."""
    entry, family = answered.entry, batch.spec.family
    found = answered.frame.select(batch.kept).with_columns(
        pl.Series(name, values) for name, values in (entry.outputs or {}).items()
    )
    if family is None:
        return found
    members = family.members_of(entry.rows.columns)
    return found.with_columns(
        model=pl.Series([one.model for one in members]),
        model_version=pl.Series([one.model_version for one in members]),
    )


def read_answers(batch: Batch, portion: Portion) -> pl.DataFrame:
    """The result of a portion that is done, and the columns by which the log knows its rows: what
    they have in common lies in no file, it is known."""
    chunks = [chunk for file in portion.files for chunk in file.chunks()]
    counts = [rows for _, _, rows in chunks]
    found = pl.read_parquet(batch.folder.result_of(portion))
    if batch.spec.family is None:
        found = found.with_columns(
            model=pl.lit(batch.spec.model), model_version=pl.lit(batch.spec.model_version)
        )
    return found.with_columns(
        release=pl.lit(batch.snapshot.release),
        prediction_id=pl.Series([one for one, _, _ in chunks])[
            np.repeat(range(len(chunks)), counts)
        ],
        row=pl.Series(np.concatenate([np.arange(rows) for rows in counts])),
    )
