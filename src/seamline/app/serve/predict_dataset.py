"""Fill a table: every row of a dataset version, answered by what is live, is a version of another.

Loading, checks of the inputs and log are those of the endpoint. What was asked for is known by its
contents: the same again is the version that it has made; killed anywhere, it goes on where it was.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import polars as pl
import pyarrow as pa

from seamline.app.platform import Platform
from seamline.app.serve.bulk_job import CHUNK_ROWS, InputFile, JobFolder, Portion
from seamline.app.serve.bulk_log import log_batches
from seamline.data.declaration import DAY, DatasetDeclaration
from seamline.data.ingest import Bringer, Stage, take_in
from seamline.data.outputs import delivery_key, version_of_delivery
from seamline.data.sources.batches import Delivery
from seamline.data.versions import DatasetVersion, find_dataset, find_version, version_row
from seamline.data.versions.read import check_kept, read_file, version_files
from seamline.domain.digests import Digest
from seamline.domain.errors import InvalidInput, NotFound, not_found
from seamline.domain.facts import DatasetVersionCommitted
from seamline.promote.environments import TRAINING
from seamline.serve.bulk_rows import columns_read, rows_of_frame
from seamline.serve.bulk_twin import BulkTwin, open_model
from seamline.serve.bulk_worker import BulkWorker
from seamline.serve.datatypes import Columns
from seamline.serve.input_rules import check_inputs
from seamline.serve.log_tables import log_folder
from seamline.serve.prediction_log import (
    FOLDER,
    PredictionEntry,
    load_or_create_privacy_key,
)
from seamline.serve.routing import ServedModel, Target
from seamline.serve.snapshot import EndpointSpec, ServingSnapshot, read_snapshot, snapshot_path
from seamline.serve.validate import Rows
from seamline.store.canonical import digest_of_json
from seamline.store.facts import read_facts

#: What the rows of a batch are logged as, where online ones have the way they were routed.
ROUTE = "batch"
ANSWERED = 200


#: Of a chunk: rows of the output, and of the log.
_Written = tuple[pl.DataFrame, list[pa.RecordBatch]]


@dataclass(frozen=True)
class _Job:
    platform: Platform
    snapshot: ServingSnapshot
    spec: EndpointSpec
    version: DatasetVersion
    #: What is written, declared or as the input is.
    output: DatasetDeclaration
    #: Columns of the input that the output keeps: its keys, and what tells its day.
    kept: tuple[str, ...]
    tell: Callable[[int, int], None]

    @property
    def digest(self) -> Digest:
        """Of what is asked for: which bytes answer which rows, where to."""
        asked = {
            "environment": self.snapshot.environment,
            "release": self.snapshot.release,
            "endpoint": self.spec.endpoint,
            "package": self.spec.package_digest,
            "data": self.version.digest,
            "dataset": self.version.reference,
            "to": self.output.name,
            "kept": list(self.kept),
        }
        return Digest(digest_of_json(asked))


def predict_dataset(
    platform: Platform, model: str, data: str, to: str, environment: str, *, by: str
) -> dict[str, Any]:
    """The version that it made, as JSON, with `is_new` and `breaches` (inputs that break the
    contract of the training data, and were answered all the same).

    `model`: an endpoint of `environment`, or what answers there. Raises NotFound, InvalidInput
    (a row that the endpoint would refuse), Refused, Conflict, or what the model's process ends by.
    """
    snapshot = _live(platform, environment)
    spec = _endpoint(snapshot, model)
    version = find_version(platform.stores, data)
    check_kept(platform.stores, version)
    output, kept = _output(platform, version, to, environment)
    with platform.ingests.telling(output.name) as stage:
        job = _Job(
            platform, snapshot, spec, version, output, kept,
            tell=lambda done, total: stage(Stage.PREDICTING, done, total),
        )  # fmt: skip
        folder = JobFolder(platform.root / "batch" / job.digest.removeprefix("sha256:")[:32])
        with folder.alone():
            found = _made_before(job)
            if found is not None:
                shutil.rmtree(folder.folder)
                return {**found.to_json(), "is_new": False, "input_breaches": {}}
            breaches = _predict_all(job, folder)
            result = take_in(platform.stores, output, _delivery(job, folder), _bringer(job, by))
            shutil.rmtree(folder.folder)
    return {**result.version.to_json(), "is_new": result.is_new, "input_breaches": breaches}


def _live(platform: Platform, environment: str) -> ServingSnapshot:
    path = snapshot_path(platform.root, environment)
    try:
        snapshot = read_snapshot(path, platform.key.public)
    except NotFound:
        snapshot = None
    if snapshot is None or not snapshot.release:
        raise NotFound(
            f"Nothing is live in {environment}.",
            next_step="Promote a release there; outside of dataops only what is live runs.",
        )
    return snapshot


def _endpoint(snapshot: ServingSnapshot, model: str) -> EndpointSpec:
    for spec in snapshot.endpoints:
        if spec.endpoint == model:
            return spec
    answering = [spec for spec in snapshot.endpoints if spec.model == model]
    if len(answering) == 1:
        return answering[0]
    names = [spec.endpoint for spec in answering or snapshot.endpoints]
    raise not_found(f"endpoint of {snapshot.environment}", model, names)


def _output(
    platform: Platform, version: DatasetVersion, to: str, environment: str
) -> tuple[DatasetDeclaration, tuple[str, ...]]:
    """Each environment has tables of its own: TO in dataops, TO-ENVIRONMENT elsewhere."""
    with platform.stores.db.read() as connection:
        source = find_dataset(connection, version.dataset)
    if source is None:
        raise not_found("dataset", version.dataset, [])
    declared = source.declaration
    columns = [name for name, _ in version.schema]
    kept = tuple(name for name in (*declared.keys, *declared.day_columns) if name in columns)
    name = to if environment == TRAINING else f"{to}-{environment}"
    wanted = platform.declarations().datasets.get(to)
    if wanted is not None:
        return replace(wanted, name=name), tuple(dict.fromkeys(kept))
    like = DatasetDeclaration(
        name, time=declared.time, date=declared.date, zone=declared.zone, keys=declared.keys
    )
    return like, tuple(dict.fromkeys(kept))


def _made_before(job: _Job) -> DatasetVersion | None:
    with job.platform.stores.db.read() as connection:
        newest = version_row(connection, job.output.name)
        key = delivery_key(connection, job.output, job.digest, newest)
        return version_of_delivery(connection, job.output.name, key, job.digest, None)


def _predict_all(job: _Job, folder: JobFolder) -> dict[str, int]:
    """Every portion that is not done yet; what broke the contract of the training data, counted."""
    files = [one for one in version_files(job.platform.stores, job.version) if one.rows]
    portions = folder.plan(files, job.platform.stores.clock)
    left = [one for one in portions if not folder.result_of(one).exists()]
    total = sum(one.rows for one in portions)
    done = total - sum(one.rows for one in left)
    breaches: dict[str, int] = {}
    key = load_or_create_privacy_key(job.platform.root / "keys" / "privacy.key")
    log = log_folder(job.platform.root, FOLDER, job.snapshot.environment)
    if not left:
        return breaches
    with (
        open_model(job.spec) as model,
        ThreadPoolExecutor(1, "asking") as asking,
        ThreadPoolExecutor(1, "writing") as writing,
    ):
        # While one portion is written, the next is answered; no more of them wait in memory.
        pending: Future[None] | None = None
        for portion in left:
            parts = []
            for answered in _answered(job, portion, model, asking, breaches):
                parts.append(writing.submit(_written, job, answered, key))
                done += answered.frame.height
                job.tell(done, total)
            if pending is not None:
                pending.result()
            pending = writing.submit(_finish, folder, portion, log, parts)
        if pending is not None:
            pending.result()
    return breaches


def _written(job: _Job, answered: _Answered, key: bytes) -> _Written:
    return _result(job, answered), log_batches(answered.entry, key)


def _finish(folder: JobFolder, portion: Portion, log: Path, parts: list[Future[_Written]]) -> None:
    written = [one.result() for one in parts]
    batches = [batch for _, logged in written for batch in logged]
    folder.finish(portion, pl.concat([frame for frame, _ in written]), log, batches)


@dataclass(frozen=True)
class _Answered:
    frame: pl.DataFrame
    entry: PredictionEntry


def _answered(
    job: _Job,
    portion: Portion,
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
    target = Target(job.snapshot.environment, job.snapshot.release, job.spec, nobody, route=ROUTE)
    at = job.platform.stores.clock.now()
    before = None
    for chunk in [*_chunks(job, portion), None]:
        coming = None
        if chunk is not None:
            frame, prediction_id, where = chunk
            rows = rows_of_frame(frame, job.spec, where)
            for one in check_inputs(rows.columns, job.spec.rules, job.spec.expressions):
                name = f"{one.column}: {one.what}"
                breaches[name] = breaches.get(name, 0) + one.count
            coming = (frame, prediction_id, rows, asking.submit(ask, rows))
        if before is not None:
            frame, prediction_id, rows, asked = before
            outputs, took_ns = asked.result()
            yield _Answered(
                frame,
                PredictionEntry(
                    target, prediction_id, f"batch-{job.digest[7:19]}", at, rows, outputs,
                    took_ns // 1000, ANSWERED,
                ),
            )  # fmt: skip
        before = coming


def _chunks(job: _Job, portion: Portion) -> Iterator[tuple[pl.DataFrame, str, str]]:
    """(rows, prediction id, where they are)."""
    known = [name for name, _ in job.version.schema]
    wanted = list(dict.fromkeys((*columns_read(job.spec, known), *job.kept)))
    for one in portion.files:
        frame = read_file(job.platform.stores, job.version, one.file, wanted)
        for number, prediction_id in enumerate(one.ids):
            start = number * CHUNK_ROWS
            yield frame.slice(start, CHUNK_ROWS), prediction_id, _where(job, one, start)


def _where(job: _Job, one: InputFile, start: int) -> str:
    return f"{job.version.reference}, {DAY} {one.file.partition}, rows from {start} on"


def _result(job: _Job, answered: _Answered) -> pl.DataFrame:
    """Keys and time, outputs, who answered, and the columns by which the log knows the row."""
    entry, family = answered.entry, job.spec.family
    outputs = entry.outputs or {}
    told = ["model", "model_version", "release", "prediction_id", "row"]
    twice = sorted({*outputs, *told} & set(job.kept))
    if twice:
        raise InvalidInput(
            f"{job.version.reference} keeps {', '.join(twice)}, which is also what is predicted.",
            next_step="Keys and times of the input have to have other names.",
        )
    names: pl.Series | pl.Expr = pl.lit(job.spec.model)
    versions: pl.Series | pl.Expr = pl.lit(job.spec.model_version)
    if family is not None:
        members = family.members_of(entry.rows.columns)
        names = pl.Series([one.model for one in members])
        versions = pl.Series([one.model_version for one in members])
    return answered.frame.select(job.kept).with_columns(
        *(pl.Series(name, values) for name, values in outputs.items()),
        model=names,
        model_version=versions,
        release=pl.lit(job.snapshot.release),
        prediction_id=pl.lit(entry.prediction_id),
        row=pl.int_range(entry.rows.count),
    )


def _delivery(job: _Job, folder: JobFolder) -> Delivery:
    files = version_files(job.platform.stores, job.version)
    portions = folder.plan(files, job.platform.stores.clock)
    paths = [folder.result_of(one) for one in portions]
    if not paths:
        raise InvalidInput(
            f"{job.version.reference} has no rows.", next_step="Name a version that has some."
        )

    def batches() -> Iterator[pl.DataFrame]:
        return map(pl.read_parquet, paths)

    return Delivery(
        name=f"predictions of {job.spec.endpoint} ({job.snapshot.release_alias}, "
        f"{job.snapshot.environment}) for {job.version.reference}",
        digest=job.digest,
        schema=pl.Schema(pl.read_parquet_schema(paths[0])),
        batches=batches,
        rows=sum(one.rows for one in portions),
    )


def _bringer(job: _Job, by: str) -> Bringer:
    """Caused by the version that was read (law 6)."""
    with job.platform.stores.db.read() as connection:
        facts = read_facts(
            connection, kinds=[DatasetVersionCommitted.kind], subject=job.version.dataset
        )
    mine = [one.id for one in facts if one.body["version"] == job.version.version]
    return Bringer(by, caused_by=mine[-1] if mine else None)
