"""Measurements on record, one set per window, and the alarms that they raise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from seamline.domain.clock import iso, new_id
from seamline.domain.errors import InvalidInput, not_found
from seamline.domain.facts import AlarmRaised
from seamline.domain.states import Verdict
from seamline.monitor.measurement import Measurement, MeasurementKind
from seamline.monitor.rows import ALARMS, MEASUREMENTS, MONITOR_WINDOWS
from seamline.monitor.windows import Window
from seamline.store.canonical import canonical_json, digest_of_json
from seamline.store.stores import Stores

_ORDER = list(MeasurementKind)


@dataclass(frozen=True)
class RecordedMeasurement:
    id: str
    monitor: str
    window: str
    measurement: Measurement

    def to_json(self) -> dict[str, Any]:
        own = {"id": self.id, "monitor": self.monitor, "window": self.window}
        return own | self.measurement.to_json()


@dataclass(frozen=True)
class Alarm:
    monitor: str
    window: str
    check: str
    measurement_id: str
    fact_id: str
    sentence: str
    raised_at: str

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


def decide_alarm(before: Verdict | None, after: Verdict) -> bool:
    """Whether a verdict raises an alarm: it fails, and did not before.

    >>> decide_alarm(None, Verdict.FAIL), decide_alarm(Verdict.INCONCLUSIVE, Verdict.FAIL)
    (True, True)
    >>> decide_alarm(Verdict.FAIL, Verdict.FAIL), decide_alarm(Verdict.PASS, Verdict.ERROR)
    (False, False)
    """
    return after is Verdict.FAIL and before is not Verdict.FAIL


def digest_of_input(**parts: Any) -> str:
    """What a window is measured on, named by digest: pass whatever, changed, asks for measuring
    again (rows, labelled rows, the reference's digest, the checks).

    >>> digest_of_input(rows=10, checks=["auc >= 0.7"]) == digest_of_input(rows=11, checks=[])
    False
    """
    return digest_of_json(parts)


def needs_measuring(stores: Stores, monitor: str, window: Window, input_digest: str) -> bool:
    """False when the window has been measured on the very same input."""
    query = select(MONITOR_WINDOWS.c.input_digest).where(
        MONITOR_WINDOWS.c.monitor == monitor, MONITOR_WINDOWS.c.window == window.label
    )
    with stores.db.read() as connection:
        return connection.execute(query).scalar_one_or_none() != input_digest


def record_measurements(
    stores: Stores,
    monitor: str,
    window: Window,
    measurements: Sequence[Measurement],
    *,
    input_digest: str,
    by: str,
    caused_by: str | None = None,
) -> list[Alarm]:
    """The alarms that were raised now.

    Replaces what the window held; a measurement of the same kind and subject keeps its id.
    A check raises one alarm per window, however often the window is measured.
    """
    keys = [(m.kind, m.subject) for m in measurements]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidInput(
            f"Monitor {monitor}, window {window.label}: {twice[0]} of {twice[1]!r} stands twice.",
            next_step="Name each check and column once.",
        )
    with stores.db.transaction() as tx:
        before = {
            (one.measurement.kind, one.measurement.subject): one
            for one in _select(tx, monitor, window.label)
        }
        where = (MEASUREMENTS.c.monitor == monitor, MEASUREMENTS.c.window == window.label)
        tx.execute(delete(MEASUREMENTS).where(*where))
        raised = []
        for measurement in measurements:
            was = before.get((measurement.kind, measurement.subject))
            measurement_id = new_id(stores.clock) if was is None else was.id
            row = _row(RecordedMeasurement(measurement_id, monitor, window.label, measurement))
            tx.execute(insert(MEASUREMENTS).values(**row))
            verdict_before = None if was is None else was.measurement.verdict
            if measurement.alarms and decide_alarm(verdict_before, measurement.verdict):
                raised += _raise(
                    tx, stores, monitor, window, measurement, measurement_id, by, caused_by
                )
        _note_window(tx, stores, monitor, window, input_digest, by)
    return raised


def _row(recorded: RecordedMeasurement) -> dict[str, Any]:
    row = recorded.to_json()
    return row | {"detail": canonical_json(row["detail"]).decode()}


def _raise(
    tx: Connection,
    stores: Stores,
    monitor: str,
    window: Window,
    measurement: Measurement,
    measurement_id: str,
    by: str,
    caused_by: str | None,
) -> list[Alarm]:
    known = select(ALARMS.c.check).where(
        ALARMS.c.monitor == monitor,
        ALARMS.c.window == window.label,
        ALARMS.c.check == measurement.check,
    )
    if tx.execute(known).first() is not None:
        return []
    sentence = measurement.sentence
    fact = AlarmRaised(monitor, window.label, measurement.check, measurement_id, sentence)
    alarm = Alarm(
        monitor,
        window.label,
        measurement.check,
        measurement_id,
        stores.facts.append(tx, fact, by=by, caused_by=caused_by),
        sentence,
        iso(stores.clock.now()),
    )
    tx.execute(insert(ALARMS).values(**alarm.to_json()))
    return [alarm]


def _note_window(
    tx: Connection, stores: Stores, monitor: str, window: Window, input_digest: str, by: str
) -> None:
    where = (MONITOR_WINDOWS.c.monitor == monitor, MONITOR_WINDOWS.c.window == window.label)
    tx.execute(delete(MONITOR_WINDOWS).where(*where))
    tx.execute(
        insert(MONITOR_WINDOWS).values(
            monitor=monitor,
            **window.to_json(),
            input_digest=input_digest,
            measured_at=iso(stores.clock.now()),
            measured_by=by,
        )
    )


def find_measurement(stores: Stores, measurement_id: str) -> RecordedMeasurement:
    """Raises NotFound."""
    with stores.db.read() as connection:
        query = select(MEASUREMENTS).where(MEASUREMENTS.c.id == measurement_id)
        row = connection.execute(query).mappings().first()
    if row is None:
        raise not_found("measurement", measurement_id)
    return _recorded(row)


def list_measurements(
    stores: Stores, monitor: str, *, window: str | None = None, kind: MeasurementKind | None = None
) -> list[RecordedMeasurement]:
    """Oldest window first; within one: performance, checks, coverage, drift, output."""
    with stores.db.read() as connection:
        found = _select(connection, monitor, window)
    return [one for one in found if kind is None or one.measurement.kind is kind]


def _select(
    connection: Connection, monitor: str, window: str | None = None
) -> list[RecordedMeasurement]:
    query = select(MEASUREMENTS, MONITOR_WINDOWS.c.start).join(
        MONITOR_WINDOWS,
        (MONITOR_WINDOWS.c.monitor == MEASUREMENTS.c.monitor)
        & (MONITOR_WINDOWS.c.window == MEASUREMENTS.c.window),
    )
    query = query.where(MEASUREMENTS.c.monitor == monitor)
    if window is not None:
        query = query.where(MEASUREMENTS.c.window == window)
    rows = connection.execute(query).mappings().all()
    rows = sorted(rows, key=lambda row: (row["start"], _ORDER.index(row["kind"]), row["subject"]))
    return [_recorded(row) for row in rows]


def _recorded(row: Mapping[str, Any] | Any) -> RecordedMeasurement:
    values = {name: row[name] for name in Measurement.__dataclass_fields__}
    values["kind"] = MeasurementKind(values["kind"])
    values["verdict"] = Verdict(values["verdict"])
    values["detail"] = json.loads(values["detail"])
    return RecordedMeasurement(row["id"], row["monitor"], row["window"], Measurement(**values))


def list_alarms(stores: Stores, monitor: str | None = None) -> list[Alarm]:
    """Oldest first."""
    query = select(ALARMS).order_by(ALARMS.c.raised_at, ALARMS.c.window, ALARMS.c.check)
    if monitor is not None:
        query = query.where(ALARMS.c.monitor == monitor)
    with stores.db.read() as connection:
        return [Alarm(**row) for row in connection.execute(query).mappings()]


def list_windows(stores: Stores, monitor: str) -> list[dict[str, Any]]:
    """The measured windows, oldest first, with the worst verdict of each."""
    query = select(MONITOR_WINDOWS).where(MONITOR_WINDOWS.c.monitor == monitor)
    with stores.db.read() as connection:
        rows = connection.execute(query.order_by(MONITOR_WINDOWS.c.start)).mappings().all()
        found = _select(connection, monitor)
    by_window = {row["window"]: [m for m in found if m.window == row["window"]] for row in rows}
    return [
        dict(row) | {"verdict": str(worst_of(one.measurement for one in by_window[row["window"]]))}
        for row in rows
    ]


def worst_of(measurements: Iterable[Measurement]) -> Verdict:
    """The worst verdict of what judges: checks, drift and output. Columns that cannot be compared
    count only when no column can.

    >>> columns = [Measurement(MeasurementKind.DRIFT, "hour", Verdict.PASS, ""),
    ...            Measurement(MeasurementKind.DRIFT, "month", Verdict.INCONCLUSIVE, "")]
    >>> worst_of(columns), worst_of(columns[1:])
    (<Verdict.PASS: 'pass'>, <Verdict.INCONCLUSIVE: 'inconclusive'>)
    """
    held: dict[MeasurementKind, set[Verdict]] = {}
    for one in measurements:
        held.setdefault(one.kind, set()).add(one.verdict)
    drift = held.get(MeasurementKind.DRIFT, set())
    if drift != {Verdict.INCONCLUSIVE}:
        drift.discard(Verdict.INCONCLUSIVE)
    judging = (
        drift | held.get(MeasurementKind.CHECK, set()) | held.get(MeasurementKind.OUTPUT, set())
    )
    order = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    return next((one for one in order if one in judging), Verdict.INCONCLUSIVE)


def show_measurements(stores: Stores, monitor: str) -> dict[str, Any]:
    """All that is on record about a monitor, for the command line and the console."""
    return {
        "monitor": monitor,
        "windows": list_windows(stores, monitor),
        "measurements": [one.to_json() for one in list_measurements(stores, monitor)],
        "alarms": [one.to_json() for one in list_alarms(stores, monitor)],
    }
