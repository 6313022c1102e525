"""Retrainings on record: asked for once, moved with a guard, ended with a fact."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from seamline.domain.clock import ManualClock
from seamline.domain.errors import Conflict, InvalidInput, MachineryError, NotFound
from seamline.retrain.phases import RetrainingPhase
from seamline.retrain.retrainings import (
    Retraining,
    advance_retraining,
    find_by_run,
    find_retraining,
    list_open,
    list_retrainings,
    request_retraining,
    show_retraining,
)
from seamline.retrain.triggers import Cause, EventWindow, Skip, Trigger
from seamline.store.facts import RecordedFact, read_facts
from seamline.store.stores import Stores

TRIGGER = Trigger("late-again", "late", cool_down_s=86_400)
CAUSE = Cause("fact-1", "late", "auc >= 0.7", "auc fell")
Months = dict[int, EventWindow]
PATH = [
    RetrainingPhase.REQUESTED,
    RetrainingPhase.TRAINING,
    RetrainingPhase.PACKAGING,
    RetrainingPhase.COMPARING,
]


def ask(stores: Stores, window: EventWindow, cause: Cause = CAUSE) -> Retraining | Skip:
    return request_retraining(
        stores,
        TRIGGER,
        cause,
        window,
        model="late",
        incumbent_version="1.0.0",
        by="seamline",
        arguments={"since": "{window_start-3m}"},
    )


def facts(stores: Stores, kind: str) -> list[RecordedFact]:
    with stores.db.read() as connection:
        return read_facts(connection, kinds=[kind])


def walk(stores: Stores, retraining: Retraining) -> Retraining:
    for before, after in pairwise(PATH):
        retraining = advance_retraining(stores, retraining.id, before, after, by="seamline")
    return retraining


@pytest.fixture
def asked(stores: Stores, months: Months) -> Retraining:
    found = ask(stores, months[9])
    assert isinstance(found, Retraining)
    return found


def test_an_alarm_is_answered_once(stores: Stores, months: Months, asked: Retraining) -> None:
    assert ask(stores, months[9]) == asked
    assert asked.arguments == {"since": "2013-06-01"}
    (fact,) = facts(stores, "retraining.requested")
    assert (fact.subject, fact.caused_by) == (asked.id, "fact-1")
    assert fact.body["dedup_key"] == "late-again/late/2013-09"
    second = ask(stores, months[9], Cause("fact-2", "late", "f1 >= 0.5"))
    assert isinstance(second, Skip)
    assert len(list_retrainings(stores)) == 1


def test_it_is_answered_the_same_after_it_has_ended(
    stores: Stores, months: Months, asked: Retraining
) -> None:
    ended = advance_retraining(
        stores, asked.id, RetrainingPhase.REQUESTED, RetrainingPhase.ERRORED, by="seamline"
    )
    assert ask(stores, months[9]) == ended


def test_unknown_placeholders_record_nothing(stores: Stores, months: Months) -> None:
    with pytest.raises(InvalidInput, match="no placeholder"):
        request_retraining(
            stores,
            TRIGGER,
            CAUSE,
            months[9],
            model="late",
            incumbent_version=None,
            by="seamline",
            arguments={"since": "{start}"},
        )
    assert list_retrainings(stores) == [] and not facts(stores, "retraining.requested")


def test_steps_fill_in_and_the_end_is_a_fact(
    stores: Stores, asked: Retraining, clock: ManualClock
) -> None:
    clock.advance(5)
    running = advance_retraining(stores, asked.id, *PATH[:2], by="seamline", run_id="run-1")
    assert running.updated_at > running.requested_at
    assert find_by_run(stores, "run-1") == running and find_by_run(stores, "else") is None
    advance_retraining(stores, asked.id, *PATH[1:3], by="seamline")
    advance_retraining(stores, asked.id, *PATH[2:4], by="seamline", candidate_version="1.0.1")
    assert not facts(stores, "retraining.decided")
    said = "air-time 1.0.1 would hurt"
    ended = advance_retraining(
        stores,
        asked.id,
        RetrainingPhase.COMPARING,
        RetrainingPhase.KEPT,
        by="seamline",
        sentence=said,
        caused_by="evaluation-fact",
        evaluation_id="evaluation-1",
    )
    (fact,) = facts(stores, "retraining.decided")
    assert fact.caused_by == "evaluation-fact"
    assert fact.body == {
        "retraining_id": asked.id,
        "outcome": "kept",
        "sentence": said,
        "release": None,
        "evaluation_id": "evaluation-1",
    }
    assert (ended.run_id, ended.candidate_version) == ("run-1", "1.0.1")
    shown = show_retraining(stores, asked.id)
    assert json.loads(json.dumps(shown)) == shown
    assert shown["is_ended"] and shown["phase"] == "kept" and shown["sentence"] == said
    assert list_open(stores) == []


def test_a_step_taken_twice_changes_nothing(stores: Stores, asked: Retraining) -> None:
    comparing = walk(stores, asked)
    for _ in range(2):
        advance_retraining(
            stores,
            comparing.id,
            RetrainingPhase.COMPARING,
            RetrainingPhase.RELEASED,
            by="seamline",
            release="sha256:" + "a" * 64,
        )
    assert len(facts(stores, "retraining.decided")) == 1


def test_a_step_from_a_phase_that_has_passed_is_refused(stores: Stores, asked: Retraining) -> None:
    walk(stores, asked)
    with pytest.raises(Conflict, match="is comparing, not requested"):
        advance_retraining(
            stores, asked.id, RetrainingPhase.REQUESTED, RetrainingPhase.TRAINING, by="seamline"
        )
    with pytest.raises(MachineryError):
        advance_retraining(
            stores, asked.id, RetrainingPhase.COMPARING, RetrainingPhase.TRAINING, by="seamline"
        )
    with pytest.raises(InvalidInput, match="Did you mean run_id"):
        advance_retraining(
            stores,
            asked.id,
            RetrainingPhase.COMPARING,
            RetrainingPhase.KEPT,
            by="seamline",
            runid="x",
        )


def test_open_ones_by_phase_and_lists_newest_first(
    stores: Stores, months: Months, asked: Retraining, clock: ManualClock
) -> None:
    assert list_open(stores, RetrainingPhase.REQUESTED) == [asked]
    assert list_open(stores, RetrainingPhase.TRAINING) == []
    busy = ask(stores, months[11], Cause("fact-3", "late", "auc >= 0.7"))
    assert isinstance(busy, Skip) and not busy.is_final
    advance_retraining(
        stores, asked.id, RetrainingPhase.REQUESTED, RetrainingPhase.ERRORED, by="seamline"
    )
    clock.advance(60)
    later = ask(stores, months[11], Cause("fact-3", "late", "auc >= 0.7"))
    assert isinstance(later, Retraining)
    assert [one["id"] for one in list_retrainings(stores)] == [later.id, asked.id]
    assert find_retraining(stores, later.id) == later


def test_an_unknown_retraining_is_not_found(stores: Stores) -> None:
    with pytest.raises(NotFound):
        show_retraining(stores, "nope")
