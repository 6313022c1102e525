"""The gate `pipeline`: releases that only it stops, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seamline.app.promote.run_limits import decide_run
from seamline.app.promote.run_measures import RunMade
from seamline.data.ingest import ingest
from seamline.data.versions.find import list_datasets
from seamline.domain.states import PromotionPhase, RunState, Verdict
from seamline.project.plan import apply_project
from seamline.promote.gate_rules import GateRules, PipelineRule
from seamline.promote.gate_runs import CANDIDATE, gate_run
from seamline.train.runs import list_runs, run_state

from .odd_models import NAME, register
from .running import HERE, RunningHouse, running_house

GATES = ("digests", "provenance", "pipeline")
DATA = "datasets://flights"
MODELS = (f"{NAME}@1.0.0",)
DATASET = """
project = "late"
team = "late"

[models.late]
pipeline = "train"
output = "fit.model"
samples = "fit.rows"

[models.late.evaluation]
pipeline = "score"
data = "flights"
keys = ["flight"]
label = "late"
prediction = "score"

[datasets.flights]
time = "day"
keys = ["flight"]

[datasets.scores]
from_output = "score.Output"
mode = "replace"
"""


def ask_for(house: RunningHouse, rule: PipelineRule | None = None) -> None:
    rules = GateRules(pipeline=rule or PipelineRule())
    house.ask_for(*GATES, rules=rules, formats=("cloudpickle",))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    with running_house(tmp_path_factory.mktemp("pipeline")) as made:
        apply_project(made.stores, DATASET, "seamline.toml", by="ann")
        path = made.platform.root / "flights.csv"
        rows = "".join(f"2026-01-01,{flight}\n" for flight in range(125))
        path.write_text(f"day,flight\n{rows}")
        declared = made.platform.declarations().datasets["flights"]
        ingest(made.stores, declared, path, source="flights.csv", by="ann")
        register(made, "1.0.0")
        ask_for(made)
        first = made.promote("first", (made.publish("1.0.0", data=DATA),), MODELS)
        assert first.phase is PromotionPhase.LIVE, first.reason
        yield made


def test_the_first_is_run_and_compared_with_nothing(house: RunningHouse) -> None:
    runs = list_runs(house.stores, environment=HERE)
    first = next(one for one in runs if "gate pipeline: score" in one["display_name"])
    assert first["state"] == RunState.SUCCEEDED
    # What is being checked makes nothing that others read.
    assert [one["name"] for one in list_datasets(house.stores)] == ["flights"]


@pytest.mark.parametrize(
    ("tag", "behaviour", "said"),
    [
        ("2.0.0", {"megabytes": 400}, "its peak of memory was"),
        ("2.1.0", {"rows": 90}, "answers 90 of the 100 keys that the incumbent answers"),
        # As many rows, and ten of them are of nobody who asked.
        ("2.1.1", {"first": 10}, "answers 90 of the 100 keys that the incumbent answers"),
        ("2.1.2", {"twice": 5}, "5 rows of score.predictions answer a key that another row"),
        ("2.2.0", {"nulls": 20}, "20.0% of score.predictions.score is null"),
        ("2.2.1", {"rows": 0}, "score.predictions has 0 rows"),
        ("2.3.0", {"fails": True}, "it was asked to fail"),
    ],
)
def test_only_this_gate_stops_it(
    house: RunningHouse, tag: str, behaviour: dict[str, object], said: str
) -> None:
    ask_for(house)
    stopped = house.promote(f"worse-{tag}", (house.publish(tag, data=DATA, **behaviour),), MODELS)
    found = house.gate(stopped, "pipeline")
    assert stopped.phase is PromotionPhase.FAILED, found.sentence
    assert found.verdict is Verdict.FAIL
    assert said in found.sentence, found.sentence
    others = [house.gate(stopped, name).verdict for name in GATES[:-1]]
    assert set(others) == {Verdict.PASS}


def test_the_same_and_more_passes_with_its_evidence(house: RunningHouse) -> None:
    ask_for(house)
    promotion = house.request("more", (house.publish("3.0.0", rows=120, data=DATA),), MODELS)
    passed = house.decided(promotion)
    found = house.gate(passed, "pipeline")
    assert passed.phase is PromotionPhase.LIVE, found.sentence
    [run] = found.evidence["runs"]
    assert run["candidate"]["run"] == gate_run(promotion.id, CANDIDATE, "score")
    assert run["candidate"]["tables"]["score.predictions"]["rows"] == 120
    assert run["incumbent"]["tables"]["score.predictions"]["rows"] == 100
    table = run["candidate"]["tables"]["score.predictions"]
    assert (table["keys"], table["keys_asked"], table["keys_answered"]) == (120, 125, 120)
    assert run["candidate"]["read"] == {"flights": "datasets://flights@1"}
    assert run["candidate"]["peak_bytes"] > 1_000_000
    assert [bar["name"] for bar in found.evidence["picture"]["bars"]][:1] == ["score: time (s)"]


def test_one_that_does_not_end_in_time_is_an_error(house: RunningHouse) -> None:
    ask_for(house, PipelineRule(timeout="0s"))
    promotion = house.request("forever", (house.publish("4.0.0", waits_s=600.0),), MODELS)
    ended = house.decided(promotion)
    assert ended.phase is PromotionPhase.ERRORED
    assert house.gate(ended, "pipeline").verdict is Verdict.ERROR
    run_id = gate_run(promotion.id, CANDIDATE, "score")
    assert house.platform.changes.wait_until(
        lambda: run_state(house.stores, run_id) is RunState.CANCELED, 60
    )


def test_times_are_held_against_the_incumbents() -> None:
    before = RunMade("a", "sha256:0", 100.0, 1_000_000_000, 1, {})
    for seconds, peak, expected in (
        (199.0, 1_400_000_000, ("pass", "pass")),
        (201.0, 1_400_000_000, ("fail", "pass")),
        (99.0, 1_600_000_000, ("pass", "fail")),
    ):
        made = RunMade("b", "sha256:1", seconds, peak, 1, {})
        found = decide_run(PipelineRule(), made, before)
        assert tuple(one.verdict for one in found) == expected
    small = RunMade("a", "sha256:0", 0.1, 1_000_000, 1, {})
    made = RunMade("b", "sha256:1", 9.0, 60_000_000, 1, {})
    assert {one.verdict for one in decide_run(PipelineRule(), made, small)} == {Verdict.PASS}
    strict = PipelineRule(longest="5s", memory_mb=50.0)
    assert {one.verdict for one in decide_run(strict, made, None)} == {Verdict.FAIL}


def test_a_killed_server_s_run_is_resumed_and_not_doubled(tmp_path: Path) -> None:
    with running_house(tmp_path) as before:
        before.ask_for(*GATES)
        promotion = before.request("first", (before.publish("1.0.0", waits_s=3.0),))
        run_id = gate_run(promotion.id, CANDIDATE, "score")

        def has_begun() -> bool:
            before.turn()
            known = [one["id"] for one in list_runs(before.stores)]
            return run_id in known and run_state(before.stores, run_id) is not RunState.PENDING

        assert before.platform.changes.wait_until(has_begun, 240)
    with running_house(tmp_path) as after:
        ended = after.decided(promotion)
        assert ended.phase is PromotionPhase.LIVE, after.gate(ended, "pipeline").sentence
        assert [one["id"] for one in list_runs(after.stores)] == [run_id]
