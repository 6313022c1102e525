"""Evaluations on record: evidence digest, facts, look-ups, verified scorecards."""

from __future__ import annotations

import json
from collections.abc import Callable

import polars as pl
import pytest

from seamline.domain.clock import ManualClock
from seamline.domain.errors import DigestMismatch, NotFound
from seamline.evaluate.baselines import make_baseline
from seamline.evaluate.evaluate import EvaluationResult, evaluate_predictions
from seamline.evaluate.evaluations import (
    AgainstKind,
    Contender,
    DataReference,
    Evaluation,
    find_evaluation,
    latest_evaluation,
    list_evaluations,
    load_scorecard,
    record_evaluation,
)
from seamline.evaluate.show import show_evaluation
from seamline.evaluate.spec import EvaluationSpec
from seamline.store.canonical import digest_of_json
from seamline.store.facts import read_facts, verify_chain
from seamline.store.stores import Stores

Record = Callable[..., Evaluation]
SPEC = EvaluationSpec(
    ("ds", "flight"),
    "arr_delay > 15",
    "score",
    slices=("hour",),
    checks=("auc >= 0.7",),
    against=("auc.drop_vs(incumbent) <= 0",),
)


def contender(version: str) -> Contender:
    return Contender("late", version, "sha256:" + "a" * 64, "sha256:" + version[-1] * 64)


@pytest.fixture
def result(truth: pl.DataFrame, scores: Callable[..., pl.DataFrame]) -> EvaluationResult:
    return evaluate_predictions(
        scores(truth),
        truth,
        SPEC,
        incumbent_predictions=scores(truth, noise=2.0),
        baseline=make_baseline(truth, SPEC.label, SPEC.baseline),
    )


@pytest.fixture
def record(stores: Stores, result: EvaluationResult) -> Record:
    def make(version: str = "1.0.1", against: str | None = None, **more: str) -> Evaluation:
        return record_evaluation(
            stores,
            candidate=contender(version),
            incumbent=None if against is None else contender(against),
            data=DataReference("flights@7", "sha256:" + "d" * 64),
            spec=SPEC,
            result=result,
            by="ann",
            **more,
        )

    return make


def test_recorded_evidence_is_named_by_its_digest(stores: Stores, record: Record) -> None:
    evaluation = record(against="1.0.0", caused_by="cause")
    found = find_evaluation(stores, evaluation.id)
    assert found.to_json() == evaluation.to_json()
    assert found.digest == digest_of_json(found.evidence)
    assert evaluation.id not in json.dumps(dict(found.evidence))
    assert found.against == "1.0.0"
    assert [check.check.text for check in found.against_checks] == list(SPEC.against)
    assert [check.check.text for check in found.checks] == list(SPEC.checks)
    with stores.db.read() as connection:
        (fact,) = read_facts(connection, kinds=["evaluation.recorded"])
        assert verify_chain(connection).broken is None
    assert fact.subject == evaluation.id
    assert (fact.by, fact.caused_by) == ("ann", "cause")
    assert fact.body["digest"] == evaluation.digest


def test_the_same_cause_records_once_but_a_person_may_ask_again(
    stores: Stores, record: Record
) -> None:
    assert record(caused_by="x").id == record(caused_by="x").id
    assert record().digest == record().digest
    assert len(list_evaluations(stores)) == 3


def test_latest_by_version_and_by_what_it_was_compared_with(stores: Stores, record: Record) -> None:
    clock = stores.clock
    assert isinstance(clock, ManualClock)
    made = []
    for version, against in (("1.0.1", None), ("1.0.1", "1.0.0"), ("1.0.2", None)):
        made.append(record(version, against))
        clock.advance(1)
    alone, compared, other = made
    assert latest_evaluation(stores, "late", "1.0.1") == compared
    assert latest_evaluation(stores, "late", "1.0.1", AgainstKind.NOTHING) == alone
    assert latest_evaluation(stores, "late", "1.0.1", AgainstKind.INCUMBENT) == compared
    assert latest_evaluation(stores, "late", "9.9.9") is None
    assert list_evaluations(stores, "late") == [other, compared, alone]
    assert list_evaluations(stores, "late", "1.0.2") == [other]


def test_show_holds_metrics_and_bars(
    stores: Stores, record: Record, result: EvaluationResult
) -> None:
    evaluation = record(against="1.0.0")
    shown = show_evaluation(stores, evaluation.id)
    json.dumps(shown, allow_nan=False)
    assert load_scorecard(stores, evaluation) == result.scorecard
    auc = next(one for one in shown["metrics"] if one["metric"] == "auc")
    assert auc["is_headline"] and set(auc["rivals"]) == {"incumbent", "baseline"}
    (bars,) = shown["slices"]
    assert [bar["name"] for bar in bars["bars"]] == [str(hour) for hour in range(5, 24)]
    assert {"low", "high", "n_rows"} <= set(bars["bars"][0]["estimate"])
    cells = stores.blobs.get(evaluation.evidence["cells_digest"])
    assert pl.read_parquet(cells)["rows"].sum() > 0


def test_an_altered_scorecard_is_refused(stores: Stores, record: Record) -> None:
    evaluation = record()
    stores.blobs.path_of(evaluation.evidence["scorecard_digest"]).write_bytes(b"{}")
    with pytest.raises(DigestMismatch, match=evaluation.id):
        show_evaluation(stores, evaluation.id)


def test_an_unknown_evaluation_is_not_found(stores: Stores) -> None:
    with pytest.raises(NotFound):
        find_evaluation(stores, "nope")
