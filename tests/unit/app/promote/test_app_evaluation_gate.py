"""The gate `evaluation`: which evaluations count for a release, and what it says of those that
do not."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from seamline.app.promote.gates import evaluation
from seamline.domain.digests import digest_of
from seamline.domain.states import Verdict
from seamline.evaluate.evaluate import EvaluationResult, evaluate_predictions
from seamline.evaluate.evaluations import Contender, DataReference, record_evaluation
from seamline.evaluate.spec import EvaluationSpec
from seamline.project.plan import apply_project
from seamline.promote.gate_results import GateResult
from seamline.promote.release import find_release


@pytest.fixture(autouse=True)
def models(house: Any) -> None:
    house.register("1.0.0")
    house.register("1.0.1")


def judge(checks: tuple[str, ...] = ("auc >= 0.7",), against: bool = False) -> EvaluationResult:
    rng = np.random.default_rng(0)
    days = [date(2013, 7, 1) + timedelta(days=n // 100) for n in range(3_000)]
    late = rng.random(3_000) < 0.3
    truth = pl.DataFrame({"id": np.arange(3_000), "ds": days, "late": late})
    score = np.clip(0.3 * late + rng.random(3_000) * 0.6, 0, 1)
    ours = truth.select("id").with_columns(pl.Series("score", score))
    spec = EvaluationSpec(
        ("id",),
        "late",
        "score",
        checks=checks,
        against=("auc.drop_vs(incumbent) <= 0.01",) if against else (),
    )
    return evaluate_predictions(ours, truth, spec, incumbent_predictions=ours if against else None)


def record(
    house: Any,
    pipeline: bytes | None,
    *,
    version: str = "1.0.1",
    result: EvaluationResult | None = None,
    against: str | None = None,
    is_declared: bool = True,
) -> None:
    wheel = next(one for one in house.wheels() if one.version == version).wheel_digest
    digest = digest_of(pipeline) if pipeline else ""
    made = result or judge(against=against is not None)
    incumbent = None if against is None else Contender("late", against, "sha256:0", "sha256:1")
    record_evaluation(
        house.stores,
        candidate=Contender("late", version, wheel, "sha256:2", "run", digest),
        incumbent=incumbent,
        data=DataReference("flights@7", "sha256:" + "d" * 64),
        spec=EvaluationSpec(
            ("id",),
            "late",
            "score",
            checks=("auc >= 0.7",),
            against=() if against is None else ("auc.drop_vs(incumbent) <= 0.01",),
        ),
        result=made,
        by="ann",
        is_declared=is_declared,
    )


def look(house: Any, alias: str = "r2") -> GateResult:
    house.settle()
    asked = house.ask(alias, "score@1.0.0", models=("late@1.0.1",))
    with house.stores.db.read() as connection:
        release = find_release(connection, asked.release)
    return evaluation.check(house.platform, asked, release)


def test_a_run_of_the_release_s_own_pipeline_opens_it(house: Any) -> None:
    record(house, house.old)
    found = look(house)
    assert found.verdict is Verdict.PASS, found.sentence
    assert len(found.evidence["evaluations"]) == 1


@pytest.mark.parametrize("by", ["another pipeline", "nobody knows which"])
def test_a_run_of_another_pipeline_proves_nothing(house: Any, by: str) -> None:
    record(house, house.new if by == "another pipeline" else None)
    found = look(house)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "was not judged by a run of the release's pipelines (score@1.0.0)" in found.sentence
    assert "seamline evaluate late --version 1.0.1" in found.sentence
    assert found.evidence["evaluations"] == []


def test_a_later_run_of_another_pipeline_does_not_hide_the_one_that_counts(house: Any) -> None:
    record(house, house.old)
    record(house, house.new, result=judge(("auc >= 0.99",)))
    assert look(house).verdict is Verdict.PASS


def test_checks_of_somebody_s_own_open_nothing(house: Any) -> None:
    record(house, house.old, is_declared=False)
    found = look(house)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "checks of somebody's own only" in found.sentence


def test_the_incumbent_is_the_one_that_is_live_there(house: Any) -> None:
    house.go_live("r1", "score@1.0.0", models=("late@1.0.0",))
    record(house, house.old, against="0.9.0")
    found = look(house)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "was compared with 0.9.0, and 1.0.0 is live in development" in found.sentence
    record(house, house.old, against="1.0.0")
    assert look(house, "r3").verdict is not Verdict.INCONCLUSIVE
    record(house, house.old, against="0.9.0")  # somebody was curious
    assert look(house, "r4").verdict is not Verdict.INCONCLUSIVE


def test_what_was_never_judged_is_told_with_what_to_run(house: Any) -> None:
    assert "late 1.0.1 has no evaluation: seamline evaluate late" in look(house).sentence


DECLARED = """
project = "flights"
team = "punctuality"
[datasets.flights]
[models.late]
pipeline = "training"
output = "train.model"
samples = "train.rows"
[models.late.evaluation]
pipeline = "score"
data = "flights"
keys = ["id"]
label = "late"
prediction = "score"
checks = ["auc >= 0.7", "brier <= 0.3"]
"""


def test_checks_that_were_declared_since_have_to_be_decided(house: Any) -> None:
    record(house, house.old)
    assert look(house).verdict is Verdict.PASS
    apply_project(house.stores, DECLARED, "seamline.toml", by="root")
    found = look(house, "r3")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "late 1.0.1 was judged before brier <= 0.3 was declared" in found.sentence


def declare(house: Any, **more: str) -> None:
    """As it was judged, but for what is given."""
    lines = DECLARED.replace('"auc >= 0.7", "brier <= 0.3"', '"auc >= 0.7"')
    for key, written in more.items():
        lines = "\n".join(one for one in lines.splitlines() if not one.startswith(f"{key} = "))
        lines += f"\n{key} = {written}\n"
    apply_project(house.stores, lines, "seamline.toml", by="root")


#: Declared since → what the gate says of it.
MOVED = {
    "another label": ({"label": '"late > 0"'}, "label was 'late' and is 'late > 0' now"),
    "another column": ({"prediction": '"score2"'}, "prediction was 'score' and is 'score2' now"),
    "days that hang together": ({"block": '"week"'}, "block was 'ds' and is 'week' now"),
    "another threshold": ({"threshold": "0.7"}, "threshold was 0.5 and is 0.7 now"),
    "other slices count": ({"min_rows": "20"}, "min_rows was 200 and is 20 now"),
}


@pytest.mark.parametrize("moved", sorted(MOVED))
def test_the_same_checks_of_something_else_prove_nothing(house: Any, moved: str) -> None:
    """A check reads the same whatever its label is made of."""
    record(house, house.old)
    declare(house)
    assert look(house).verdict is Verdict.PASS
    more, says = MOVED[moved]
    declare(house, **more)
    found = look(house, "r3")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert f"late 1.0.1 was judged by another declaration: {says}" in found.sentence


def test_what_no_check_asks_for_may_change(house: Any) -> None:
    record(house, house.old)
    derived = '{ hour = { column = "at", by = "hour" } }'
    declare(house, slices='["carrier"]', derived=derived, unit='"min"', baseline='["carrier"]')
    assert look(house).verdict is Verdict.PASS
