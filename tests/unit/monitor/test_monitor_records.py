"""Measurements on record: replaced when measured again; one alarm per window and check."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput, NotFound
from seamline.domain.states import Verdict
from seamline.monitor.measurement import Measurement, MeasurementKind
from seamline.monitor.measurements import (
    decide_alarm,
    digest_of_input,
    find_measurement,
    list_alarms,
    list_measurements,
    needs_measuring,
    record_measurements,
    show_measurements,
)
from seamline.monitor.windows import window_of
from seamline.store.facts import read_facts
from seamline.store.stores import Stores

SEPTEMBER = window_of(date(2013, 9, 1), "month")
OCTOBER = window_of(date(2013, 10, 1), "month")
DIGEST = digest_of_input(rows=1)


def check(verdict: Verdict, value: float = 0.6) -> Measurement:
    text = f"auc >= 0.7: {verdict}"
    return Measurement(MeasurementKind.CHECK, "auc >= 0.7", verdict, text, value, n_rows=100)


def drift(column: str, verdict: Verdict) -> Measurement:
    return Measurement(MeasurementKind.DRIFT, column, verdict, f"{column} moved", 3.0)


def n_facts(stores: Stores) -> int:
    with stores.db.read() as connection:
        return len(read_facts(connection, kinds=["alarm.raised"]))


def test_measuring_again_replaces_and_keeps_ids(stores: Stores) -> None:
    first = [check(Verdict.PASS, 0.75), drift("hour", Verdict.PASS)]
    record_measurements(stores, "late", SEPTEMBER, first, input_digest=DIGEST, by="ann")
    before = {m.measurement.subject: m for m in list_measurements(stores, "late")}
    again = [check(Verdict.PASS, 0.72), drift("dest", Verdict.PASS)]
    record_measurements(stores, "late", SEPTEMBER, again, input_digest=DIGEST, by="ann")
    after = {m.measurement.subject: m for m in list_measurements(stores, "late")}
    assert set(after) == {"auc >= 0.7", "dest"}
    assert after["auc >= 0.7"].id == before["auc >= 0.7"].id
    assert after["auc >= 0.7"].measurement == again[0]
    assert find_measurement(stores, after["dest"].id) == after["dest"]
    with pytest.raises(NotFound):
        find_measurement(stores, before["hour"].id)


def test_an_alarm_is_raised_once_per_window_and_check(stores: Stores) -> None:
    def record(verdict: Verdict) -> list[str]:
        found = [check(verdict), drift("hour", verdict)]
        raised = record_measurements(
            stores, "late", SEPTEMBER, found, input_digest=DIGEST, by="ann", caused_by="cause"
        )
        return [alarm.check for alarm in raised]

    assert record(Verdict.INCONCLUSIVE) == []
    assert record(Verdict.FAIL) == ["auc >= 0.7", "drift(hour)"]
    assert record(Verdict.FAIL) == []
    assert record(Verdict.PASS) == []
    assert record(Verdict.FAIL) == [], "it failed before: the alarm stands"
    assert n_facts(stores) == 2
    alarm = list_alarms(stores, "late")[0]
    with stores.db.read() as connection:
        (fact,) = read_facts(connection, ids=[alarm.fact_id])
    assert fact.body["measurement_id"] == list_measurements(stores, "late")[0].id
    assert (fact.body["window"], fact.body["check"]) == ("2013-09", "auc >= 0.7")
    assert (fact.by, fact.caused_by) == ("ann", "cause")
    other = record_measurements(
        stores, "late", OCTOBER, [check(Verdict.FAIL)], input_digest=DIGEST, by="ann"
    )
    assert [one.window for one in other] == ["2013-10"]
    assert list_alarms(stores, "else") == []


def test_nothing_is_kept_when_a_set_is_refused(stores: Stores) -> None:
    twice = [check(Verdict.FAIL), check(Verdict.FAIL)]
    with pytest.raises(InvalidInput, match="stands twice"):
        record_measurements(stores, "late", SEPTEMBER, twice, input_digest=DIGEST, by="ann")
    assert n_facts(stores) == 0 and list_measurements(stores, "late") == []


def test_a_window_is_measured_again_only_on_other_input(stores: Stores) -> None:
    assert needs_measuring(stores, "late", SEPTEMBER, DIGEST)
    record_measurements(
        stores, "late", SEPTEMBER, [check(Verdict.PASS)], input_digest=DIGEST, by="ann"
    )
    assert not needs_measuring(stores, "late", SEPTEMBER, DIGEST)
    assert needs_measuring(stores, "late", SEPTEMBER, digest_of_input(rows=2))
    assert needs_measuring(stores, "late", OCTOBER, DIGEST)


def test_show_is_in_order_of_windows(stores: Stores) -> None:
    for window, verdict in ((OCTOBER, Verdict.FAIL), (SEPTEMBER, Verdict.PASS)):
        found = [drift("hour", Verdict.PASS), drift("month", Verdict.INCONCLUSIVE), check(verdict)]
        record_measurements(stores, "late", window, found, input_digest=DIGEST, by="ann")
    shown = show_measurements(stores, "late")
    json.dumps(shown, allow_nan=False)
    assert [(w["window"], w["verdict"]) for w in shown["windows"]] == [
        ("2013-09", "pass"),
        ("2013-10", "fail"),
    ]
    assert [(m["window"], m["subject"]) for m in shown["measurements"]][:3] == [
        ("2013-09", "auc >= 0.7"),
        ("2013-09", "hour"),
        ("2013-09", "month"),
    ]
    assert shown["measurements"][0]["verdict"] == "pass"
    assert [alarm["window"] for alarm in shown["alarms"]] == ["2013-10"]
    only = list_measurements(stores, "late", window="2013-10", kind=MeasurementKind.CHECK)
    assert [one.measurement.subject for one in only] == ["auc >= 0.7"]


@given(st.one_of(st.none(), st.sampled_from(Verdict)), st.sampled_from(Verdict))
def test_only_a_change_to_fail_raises(before: Verdict | None, after: Verdict) -> None:
    assert decide_alarm(before, after) == (after == "fail" and before != "fail")
