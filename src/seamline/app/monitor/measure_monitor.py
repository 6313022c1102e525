"""Measure what an endpoint answered, window by window: drift without labels, performance with.

The endpoint is what is promised, so performance is that of all rows, whichever models answered
them. Drift is another question for each model: it is held against what it was trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from seamline.app.declarations import MonitorDeclaration
from seamline.app.monitor.subjects import Subject, find_subject
from seamline.app.platform import Platform
from seamline.app.serve.bulk_features import find_features
from seamline.domain.errors import InvalidInput
from seamline.domain.states import Verdict
from seamline.monitor.by_model import MODEL
from seamline.monitor.drift import measure_drift, not_measured
from seamline.monitor.families import Member, Part, measure_family_drift, sum_up
from seamline.monitor.measurement import Measurement, MeasurementKind
from seamline.monitor.measurements import (
    digest_of_input,
    needs_measuring,
    record_measurements,
    show_measurements,
)
from seamline.monitor.outputs import OutputSpec, measure_outputs
from seamline.monitor.performance import PerformanceSpec, measure_performance, not_comparable
from seamline.monitor.windows import Window, complete_windows
from seamline.serve.log.columns import hidden_columns, unpack_json
from seamline.serve.log.tables import compact, read_labelled

DAY = "ds"
TRUTH = "truth"
VERSION = "model_version"
FindSubject = Callable[[str, str], Subject]
_TYPES: Mapping[str, pl.DataType] = {
    "INT64": pl.Int64(),
    "FP64": pl.Float64(),
    "BYTES": pl.String(),
    "BOOL": pl.Boolean(),
}


@dataclass(frozen=True)
class Answered:
    """A model version's rows of a window, as the log has them."""

    subject: Subject
    rows: pl.DataFrame

    @property
    def name(self) -> str:
        return f"{self.subject.version.model} {self.subject.version.version}"


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
    known: dict[tuple[str, str], Subject] = {}

    def find(model: str, version: str) -> Subject:
        """Once for all windows."""
        if (model, version) not in known:
            known[model, version] = find_subject(platform, model, version)
        return known[model, version]

    for window in complete_windows(days, monitor.window, last):
        rows = served.filter((pl.col(DAY) >= window.start) & (pl.col(DAY) < window.end))
        measure_window(platform, monitor, window, rows, find, by)


def show_monitor(platform: Platform, name: str) -> dict[str, Any]:
    platform.declarations().monitor(name)
    return show_measurements(platform.stores, name)


def measure_window(
    platform: Platform,
    monitor: MonitorDeclaration,
    window: Window,
    rows: pl.DataFrame,
    find: FindSubject,
    by: str,
) -> None:
    """Nothing where it has been measured with the rows, labels and references that it has now."""
    answered = [
        Answered(find(str(model), str(version)), mine)
        for (model, version), mine in rows.group_by("model", VERSION, maintain_order=True)
    ]
    answered.sort(key=lambda one: (-one.rows.height, one.name))
    digest = digest_of_input(**_input_of(answered), monitor=monitor.__dict__)
    if not needs_measuring(platform.stores, monitor.name, window, digest):
        return
    logged = find_features(platform.stores, rows)
    parts = {
        f"{model} {version}": mine
        for (model, version), mine in logged.rows.group_by("model", VERSION)
    }
    answered = [Answered(one.subject, parts[one.name]) for one in answered]
    measured = measure_answers(monitor, answered, logged.gone)
    record_measurements(platform.stores, monitor.name, window, measured, input_digest=digest, by=by)


def _input_of(answered: Sequence[Answered]) -> dict[str, Any]:
    """What a window is measured on; of one model as it has always been said, so that what was
    measured is not measured again."""
    told = [_input_of_one(one) for one in answered]
    if len(told) == 1:
        return told[0] | {"reference": sorted(answered[0].subject.outputs())}
    predictions = [one.subject.predictions_digest for one in answered]
    return {
        "models": [one | {"reference": two} for one, two in zip(told, predictions, strict=True)]
    }


def _input_of_one(one: Answered) -> dict[str, Any]:
    truths = one.rows[TRUTH].drop_nulls()
    return {
        "rows": one.rows.height,
        "labelled": len(truths),
        "truth": int(truths.hash().sum()) % (1 << 53) if len(truths) else 0,
        "wheel": one.subject.version.wheel_digest,
    }


def measure_answers(
    monitor: MonitorDeclaration, answered: Sequence[Answered], gone: str = ""
) -> list[Measurement]:
    """`gone`: why some rows have no features any more; the others alone would say another thing."""
    measured: list[Measurement] = []
    if monitor.drift > 0:
        measured += _measure_drift(monitor, answered, gone)
        measured += _measure_outputs(monitor, answered)
    if monitor.checks:
        measured += _measure_performance(monitor, answered)
    if len(answered) > 1:
        measured.append(_say_models(answered))
    return measured


def _measure_drift(
    monitor: MonitorDeclaration, answered: Sequence[Answered], gone: str
) -> list[Measurement]:
    members = [_member(one, gone) for one in answered]
    if len(members) > 1:
        return measure_family_drift(members, threshold=monitor.drift)
    (only,) = members
    reference = only.reference(None)
    if reference is None:
        return []
    measured = measure_drift(only.served, reference, threshold=monitor.drift)
    return measured + [not_measured(name, only.hidden[name]) for name in sorted(only.hidden)]


def _member(one: Answered, gone: str) -> Member:
    inputs = one.subject.columns_of("inputs")
    hidden = set(inputs) if gone else hidden_columns(one.rows, inputs)
    shown = {name: _TYPES[kind] for name, kind in inputs.items() if name not in hidden}
    parts = [unpack_json(one.rows, "features", shown), one.rows.select(DAY)]
    why = gone or "the log does not hold what was sent"
    return Member(
        one.name,
        pl.concat(parts, how="horizontal"),
        one.subject.drift,
        dict.fromkeys(sorted(hidden), why),
    )


def _measure_outputs(
    monitor: MonitorDeclaration, answered: Sequence[Answered]
) -> list[Measurement]:
    """One for each output: models of different tasks have different ones."""
    parts: dict[str, list[Part]] = {}
    for one in answered:
        subject = one.subject
        spec = OutputSpec(subject.prediction, subject.threshold, monitor.positive)
        found = measure_outputs(_predictions(one), subject.outputs(), spec)
        parts.setdefault(found.subject, []).append(Part(one.name, one.rows.height, found))
    if len(answered) == 1:
        return [part.measurement for found in parts.values() for part in found]
    return [sum_up(found) for found in parts.values()]


def _measure_performance(
    monitor: MonitorDeclaration, answered: Sequence[Answered]
) -> list[Measurement]:
    """Of all rows, whoever answered them; by model, where several did."""
    table = pl.concat([_predictions(one) for one in answered], how="diagonal")
    tasks = Counter(one.subject.task for one in answered)
    if len(tasks) > 1:
        told = ", ".join(f"{task} ({count:,})" for task, count in tasks.most_common())
        why = f"the models of this window have different tasks: {told}"
        return not_comparable(table, monitor.checks, why)
    first = answered[0].subject
    spec = PerformanceSpec(
        kind=first.task,
        prediction=first.prediction,
        truth=TRUTH,
        checks=monitor.checks,
        slices=(MODEL,),
        threshold=0.5 if first.threshold is None else first.threshold,
        no_threshold=_say_thresholds([one.subject.threshold for one in answered]),
    )
    return measure_performance(table, spec)


def _say_thresholds(thresholds: Sequence[float | None]) -> str:
    """
    >>> _say_thresholds([0.5, 0.5]), _say_thresholds([0.35, None, 0.35])
    ('', 'the models of this window decide at different thresholds: 0.35 (2), none (1)')
    """
    counted = Counter(thresholds)
    if len(counted) == 1:
        return ""
    said = [
        f"{'none' if one is None else f'{one:g}'} ({count:,})"
        for one, count in counted.most_common(5)
    ]
    more = ", …" if len(counted) > len(said) else ""
    return f"the models of this window decide at different thresholds: {', '.join(said)}{more}"


def _predictions(one: Answered) -> pl.DataFrame:
    """What was predicted, with `ds`, the truth as a number, and who said it."""
    truth = pl.col(TRUTH).str.json_decode(pl.Float64()).alias(TRUTH)
    shown = {one.subject.prediction: pl.Float64()}
    named = one.rows.select(DAY, truth, pl.lit(one.name).alias(MODEL))
    return pl.concat([unpack_json(one.rows, "outputs", shown), named], how="horizontal")


def _say_models(answered: Sequence[Answered]) -> Measurement:
    """Who answered, the most first."""
    rows = sum(one.rows.height for one in answered)
    said = [f"{one.name} {100 * one.rows.height / rows:.1f} %" for one in answered[:3]]
    more = ", …" if len(answered) > len(said) else ""
    return Measurement(
        MeasurementKind.COVERAGE,
        "models",
        Verdict.PASS,
        f"{len(answered):,} models answered {rows:,} rows: {', '.join(said)}{more}",
        value=float(len(answered)),
        n_rows=rows,
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is not a day.", next_step="Write it as 2013-09-30.") from None
