"""A check of the team's own: a pipeline of the release answers, run where it is promoted to."""

# No postponed annotations here: the KFP SDK reads those of its components.
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from kfp import compiler, dsl

from seamline.app.promote import gates
from seamline.app.promote.gates import custom
from seamline.app.train.resolve_uri import resolve_uri
from seamline.domain.errors import NotFound, Refused
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.gate_results import GateResult
from seamline.promote.policy import CustomCheck
from seamline.promote.promotion import Promotion
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.train.context import RunContext
from seamline.train.runs import list_runs

from .conftest import House
from .good_release import GoodRelease
from .running import HERE, RunningHouse, running_house

GATE = "check:late-share"
CHECK = CustomCheck("late-share", "late-share")


class Said(NamedTuple):
    verdict: str
    sentence: str
    evidence: dict[str, Any]


@dsl.component(base_image="python:3.11")
def look(environment: str, says: str, waits_s: float) -> NamedTuple(
    "Said", [("verdict", str), ("sentence", str), ("evidence", dict)]
):
    import time
    from typing import NamedTuple

    time.sleep(waits_s)
    if says == "crash":
        raise RuntimeError("the table has no column late")

    class Said(NamedTuple):
        verdict: str
        sentence: str
        evidence: dict

    return Said(says, f"in {environment} 31 % are late", {"late": 0.31})


def checking(says: str, waits_s: float = 0.0) -> Any:
    @dsl.pipeline(name="late-share")
    def pipeline(
        environment: str = "",
    ) -> Said:
        made = look(environment=environment, says=says, waits_s=waits_s)
        return Said(made.outputs["verdict"], made.outputs["sentence"], made.outputs["evidence"])

    return pipeline


def publish(house: RunningHouse, says: str, waits_s: float = 0.0) -> str:
    path = house.platform.root / "late-share.yaml"
    compiler.Compiler().compile(checking(says, waits_s), str(path))
    publish_pipeline(house.stores, path.read_bytes(), ["1.0.0"], by="eve")
    return "late-share@1.0.0"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningHouse]:
    with running_house(tmp_path) as made:
        yield made


def promote(house: RunningHouse, *pipelines: str, check: CustomCheck = CHECK) -> Promotion:
    house.ask_for("digests", "provenance", checks=(check,))
    return house.promote("r1", pipelines)


def test_it_answers_with_evidence_and_opens(running: RunningHouse) -> None:
    made = promote(running, publish(running, "pass"))
    found = running.gate(made, GATE)
    assert (found.verdict, found.sentence) == (Verdict.PASS, f"in {HERE} 31 % are late")
    assert found.evidence["said"] == {"late": 0.31}
    assert made.phase is PromotionPhase.LIVE
    [run] = list_runs(running.stores)
    assert (run["id"], run["environment"]) == (found.evidence["run"], HERE)


@pytest.mark.parametrize(
    ("says", "verdict", "phase", "words"),
    [
        ("fail", Verdict.FAIL, PromotionPhase.FAILED, "31 % are late"),
        ("inconclusive", Verdict.INCONCLUSIVE, PromotionPhase.FAILED, "31 % are late"),
        ("error", Verdict.ERROR, PromotionPhase.ERRORED, "gave no verdict: 'error'"),
        ("yes", Verdict.ERROR, PromotionPhase.ERRORED, "gave no verdict: 'yes'"),
        ("crash", Verdict.ERROR, PromotionPhase.ERRORED, "the table has no column late"),
    ],
)
def test_only_it_stops_the_release(
    running: RunningHouse,
    says: str,
    verdict: Verdict,
    phase: PromotionPhase,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference = publish(running, says)
    made = promote(running, reference)
    found = running.gate(made, GATE)
    assert (found.verdict, made.phase) == (verdict, phase)
    assert words in found.sentence
    if says != "fail":
        return

    def always(*given: object, **more: object) -> GateResult:
        return GateResult(GATE, Verdict.PASS, "it always opens", {})

    monkeypatch.setattr(custom, "check", always)
    assert promote(running, reference).phase is PromotionPhase.LIVE


def test_one_that_takes_too_long_is_an_error_and_is_ended(running: RunningHouse) -> None:
    slow = CustomCheck("late-share", "late-share", timeout_s=0.2)
    made = promote(running, publish(running, "pass", waits_s=300.0), check=slow)
    found = running.gate(made, GATE)
    assert (found.verdict, made.phase) == (Verdict.ERROR, PromotionPhase.ERRORED)
    assert "did not end within" in found.sentence


def test_what_the_release_does_not_hold_is_not_run(running: RunningHouse) -> None:
    made = promote(running, running.publish("1.0.0"))
    found = running.gate(made, GATE)
    assert (found.verdict, made.phase) == (Verdict.INCONCLUSIVE, PromotionPhase.FAILED)
    assert "--pipeline late-share@TAG" in found.sentence
    elsewhere = CustomCheck("late-share", "late-share", models=("air-time",))
    made = promote(running, "score@1.0.0", check=elsewhere)
    assert (running.gate(made, GATE).verdict, made.phase) == (Verdict.PASS, PromotionPhase.LIVE)
    assert list_runs(running.stores) == []


def test_one_that_lacks_a_value_is_inconclusive(running: RunningHouse) -> None:
    """It takes the predictions, and nothing was judged."""

    @dsl.pipeline(name="late-share")
    def pipeline(predictions: str) -> Said:
        made = look(environment=predictions, says="pass", waits_s=0.0)
        return Said(made.outputs["verdict"], made.outputs["sentence"], made.outputs["evidence"])

    path = running.platform.root / "late-share.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    publish_pipeline(running.stores, path.read_bytes(), ["1.0.0"], by="eve")
    made = promote(running, "late-share@1.0.0")
    found = running.gate(made, GATE)
    assert (found.verdict, made.phase) == (Verdict.INCONCLUSIVE, PromotionPhase.FAILED)
    assert "predictions" in found.sentence


def test_it_is_never_begun_by_a_plan() -> None:
    assert gates.is_slow(GATE)


def test_predictions_are_those_of_the_releases_own_models(house: House, tmp_path: Path) -> None:
    good = GoodRelease(house, tmp_path)
    model = good.register()
    evaluation = good.judge(model)
    uri = f"evaluations://{evaluation}"
    context = RunContext("run-1", "dataops", "check", "bob", "read")
    found = resolve_uri(house.stores, uri, context)
    assert pl.read_parquet(found.path).columns == ["ds", "id", "score"]
    there = RunContext("run-2", HERE, "check", "bob", "read")
    with pytest.raises(Refused, match=r"does not hold late 1\.0\.0"):
        resolve_uri(house.stores, uri, there)
    with pytest.raises(NotFound):
        resolve_uri(house.stores, "evaluations://none", context)
