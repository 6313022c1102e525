"""Measure what an endpoint answered, window by window: drift without labels, performance with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from seamline.app.declarations import MonitorDeclaration
from seamline.app.platform import Platform
from seamline.app.serve.bulk_features import find_features
from seamline.domain.errors import InvalidInput
from seamline.evaluate.evaluations import latest_evaluation
from seamline.measure.basis import Basis
from seamline.measure.evaluation.vocabulary import Task
from seamline.measure.profiles import Profile
from seamline.monitor.drift import DriftReference, measure_drift, not_measured
from seamline.monitor.measurement import Measurement
from seamline.monitor.measurements import (
    digest_of_input,
    needs_measuring,
    record_measurements,
    show_measurements,
)
from seamline.monitor.outputs import OutputDay, OutputSpec, measure_outputs, profile_outputs
from seamline.monitor.performance import PerformanceSpec, measure_models, measure_performance
from seamline.monitor.windows import Window, complete_windows
from seamline.register.models.catalogue import ModelVersion, find_model_version
from seamline.serve.log.columns import hidden_columns, unpack_json
from seamline.serve.log.tables import compact, read_labelled

DAY = "ds"
TRUTH = "truth"
_TYPES: Mapping[str, pl.DataType] = {
    "INT64": pl.Int64(),
    "FP64": pl.Float64(),
    "BYTES": pl.String(),
    "BOOL": pl.Boolean(),
}


@dataclass(frozen=True)
class _Subject:
    """The model version that answered, and what its answers are held against."""

    version: ModelVersion
    prediction: str
    drift: DriftReference | None
    outputs: Mapping[str, OutputDay]

    @property
    def task(self) -> Task:
        return Task.REGRESSION if self.version.document["task"] == "regression" else Task.BINARY


def measure_monitor(platform: Platform, name: str, *, until: str | None, by: str) -> None:
    """Every complete window whose rows, labels or reference changed since it was measured.

    `until`: the last event day that counts as complete; without it, the day before the last seen.
    """
    monitor = platform.declarations().monitor(name)
    compact(platform.stores, monitor.environment)
    served = read_labelled(platform.stores, monitor.environment, monitor.deployment)
    if served.is_empty():
        return
    last = _day(until) if until else None
    days = [day for day in served[DAY].unique().to_list() if day is not None]
    for window in complete_windows(days, monitor.window, last):
        rows = served.filter((pl.col(DAY) >= window.start) & (pl.col(DAY) < window.end))
        _measure_window(platform, monitor, window, rows, by)


def show_monitor(platform: Platform, name: str) -> dict[str, Any]:
    platform.declarations().monitor(name)
    return show_measurements(platform.stores, name)


def _measure_window(
    platform: Platform, monitor: MonitorDeclaration, window: Window, rows: pl.DataFrame, by: str
) -> None:
    """A window that several models or versions answered is measured for the one that answered
    most, and says so."""
    counts = rows.group_by("model", "model_version").len().sort("len", "model_version")
    model, version, _ = counts.row(-1)
    mine = rows.filter(pl.col("model") == model, pl.col("model_version") == version)
    subject = _subject(platform, model, version)
    answered = mine[TRUTH].drop_nulls()
    digest = digest_of_input(
        rows=mine.height,
        labelled=len(answered),
        truth=int(answered.hash().sum()) % (1 << 53) if len(answered) else 0,
        wheel=subject.version.wheel_digest,
        reference=sorted(subject.outputs),
        monitor=monitor.__dict__,
        # Left out of the digest where nobody else answered: such a window is not measured again.
        **({"rows_of_others": rows.height - mine.height} if counts.height > 1 else {}),
    )
    if not needs_measuring(platform.stores, monitor.name, window, digest):
        return
    logged = find_features(platform.stores, mine)
    measured = _measure(monitor, subject, logged.rows, logged.gone)
    measured += _whose(counts)
    record_measurements(platform.stores, monitor.name, window, measured, input_digest=digest, by=by)


def _whose(counts: pl.DataFrame) -> list[Measurement]:
    """Of rows by model and version, the most last; nothing where one answered all."""
    if counts.height == 1:
        return []
    model, version, most = counts.row(-1)
    total = int(counts["len"].sum())
    return [measure_models(f"{model} {version}", most, total, counts.height - 1)]


def _measure(
    monitor: MonitorDeclaration, subject: _Subject, rows: pl.DataFrame, gone: str = ""
) -> list[Measurement]:
    """`gone`: why some rows have no features any more; the others alone would say another thing."""
    inputs = [one["name"] for one in subject.version.document["signature"]["inputs"]]
    hidden = set(inputs) if gone else hidden_columns(rows, inputs)
    table = _table(subject, rows, hidden)
    threshold = subject.version.document["threshold"]
    measured: list[Measurement] = []
    if monitor.drift > 0 and subject.drift is not None:
        shown = [name for name in inputs if name not in hidden]
        measured += measure_drift(table.select(*shown, DAY), subject.drift, threshold=monitor.drift)
        measured += [
            not_measured(name, gone or "the log does not hold what was sent")
            for name in sorted(hidden)
        ]
    if monitor.drift > 0:
        spec = OutputSpec(subject.prediction, threshold, monitor.positive)
        measured.append(measure_outputs(table, subject.outputs, spec))
    if monitor.checks:
        performance = PerformanceSpec(
            kind=subject.task,
            prediction=subject.prediction,
            truth=TRUTH,
            checks=monitor.checks,
            threshold=0.5 if threshold is None else threshold,
        )
        measured += measure_performance(table, performance)
    return measured


def _table(subject: _Subject, rows: pl.DataFrame, hidden: Set[str]) -> pl.DataFrame:
    """Features and outputs as typed columns, with `ds` and the truth as a number."""
    signature = subject.version.document["signature"]

    def typed(part: str) -> dict[str, pl.DataType]:
        return {one["name"]: _TYPES[one["datatype"]] for one in signature[part]}

    shown = {name: kind for name, kind in typed("inputs").items() if name not in hidden}
    truth = pl.col(TRUTH).str.json_decode(pl.Float64()).alias(TRUTH)
    return pl.concat(
        [
            unpack_json(rows, "features", shown),
            unpack_json(rows, "outputs", typed("outputs")),
            rows.select(DAY, truth),
        ],
        how="horizontal",
    )


def _subject(platform: Platform, model: str, number: str) -> _Subject:
    version = find_model_version(platform.stores, model, number)
    document = version.document
    prediction = "prediction" if document["task"] == "regression" else "score"
    return _Subject(
        version,
        prediction,
        _drift_reference(platform, version),
        _output_reference(platform, version, prediction),
    )


def _drift_reference(platform: Platform, version: ModelVersion) -> DriftReference | None:
    digest = version.document["profile_digest"]
    if digest is None:
        return None
    what = f"training profile of {version.model} {version.version}"
    kept = json.loads(platform.stores.blobs.get(digest, what))
    basis = Basis.from_json(kept["basis"])
    days = {day: Profile.from_json(one, basis) for day, one in kept["days"].items()}
    return DriftReference(Profile.from_json(kept["total"], basis), days)


def _output_reference(
    platform: Platform, version: ModelVersion, prediction: str
) -> dict[str, OutputDay]:
    """What the version predicted, day by day, when it was proved."""
    proved = latest_evaluation(platform.stores, version.model, version.version)
    if proved is None:
        return {}
    digest = proved.evidence["candidate"]["predictions_digest"]
    path = platform.stores.blobs.verified_path(digest, f"predictions of evaluation {proved.id}")
    kept = pl.read_parquet(path)
    if prediction not in kept.columns:
        return {}
    threshold = version.document["threshold"]
    return profile_outputs(kept, OutputSpec(prediction, threshold))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is not a day.", next_step="Write it as 2013-09-30.") from None
