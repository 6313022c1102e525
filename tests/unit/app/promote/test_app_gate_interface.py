"""The gate `interface`: models, pipelines and tables that only it stops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from seamline.app.promote.endpoint_changes import Sent, decide_changes
from seamline.domain.states import PromotionPhase, Verdict
from seamline.project.plan import apply_project
from seamline.promote.gate_rules import GateRules, InterfaceRule
from seamline.promote.promotion import Promotion
from seamline.serve.log import prediction_log
from seamline.serve.log.tables import log_table
from seamline.store.tables import append_frame

from .odd_models import HOUR, NAME, OUTPUTS, register
from .running import HERE, RunningHouse, running_house

GATES = ("digests", "provenance", "interface")
DEPLOYED = """
project = "late"
team = "late"

[models.late]
pipeline = "train"
output = "train.model"
samples = "train.samples"

[deployments.late]
model = "late"
context = ["temp", "tail"]

[datasets.scores]
from_output = "score.Output"
mode = "replace"
contract = "scores.yaml"
"""
CONTRACT = """
columns:
  flight: {type: int, nullable: false}
  score: {type: float}
"""
TEMP = {"name": "temp", "datatype": "FP64", "nullable": False}
WIND = {"name": "wind", "datatype": "FP64", "nullable": True}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    with running_house(tmp_path_factory.mktemp("interface")) as made:
        texts = {"scores.yaml": CONTRACT}
        apply_project(made.stores, DEPLOYED, "seamline.toml", by="ann", contracts=texts)
        yield made


@pytest.fixture(scope="module")
def first(house: RunningHouse) -> Promotion:
    """A model and a pipeline that has run: live."""
    ask_for(house, "pipeline", "interface")
    register(house, "1.0.0")
    return house.promote("first", (house.publish("1.0.0"),), (f"{NAME}@1.0.0",))


def ask_for(house: RunningHouse, *gates: str, rule: InterfaceRule | None = None) -> None:
    asked = gates or GATES
    rules = GateRules(interface=rule or InterfaceRule())
    house.ask_for(*asked, rules=rules, formats=("cloudpickle",))


def log_requests(house: RunningHouse, rows: list[dict[str, Any]]) -> None:
    """As the data plane logs them."""
    now = house.stores.clock.now()
    frame = pl.DataFrame(
        {
            "prediction_id": [f"{now.timestamp()}-{n}" for n in range(len(rows))],
            "row": 0,
            "at": now,
            "ds": now.date(),
            "environment": HERE,
            "endpoint": "late",
            "features": [json.dumps(row) for row in rows],
        }
    )
    schema = pl.Schema(pl.from_arrow(prediction_log.SCHEMA.empty_table()).schema)
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in frame]
    table = log_table(house.platform.root, prediction_log.FOLDER, HERE)
    table.parent.mkdir(parents=True, exist_ok=True)
    whole = frame.with_columns(missing).select(
        pl.col(name).cast(kind) for name, kind in schema.items()
    )
    append_frame(table, whole, "ds", token=(f"{now + timedelta(0)}", 0))


def test_the_first_breaks_nobody(house: RunningHouse, first: Promotion) -> None:
    found = house.gate(first, "interface")
    assert first.phase is PromotionPhase.LIVE, found.sentence
    assert found.verdict is Verdict.PASS
    assert "nobody uses it yet" in found.sentence
    [table] = found.evidence["tables"]
    assert (table["dataset"], table["broken"]) == ("scores", [])


@pytest.mark.parametrize(
    ("version", "changes", "said"),
    [
        ("2.0.0", {"inputs": ({**HOUR, "name": "sched_hour"},)}, "input hour renamed"),
        ("2.1.0", {"inputs": ({**HOUR, "datatype": "INT64"},)}, "FP64 became INT64"),
        ("2.2.0", {"inputs": (HOUR, TEMP)}, "input temp added, and required"),
        ("2.3.0", {"outputs": ({**OUTPUTS[0], "name": "minutes"},)}, "renamed to minutes"),
        ("2.4.0", {"outputs": ({**OUTPUTS[0], "datatype": "INT64"},)}, "output prediction retyped"),
    ],
)
def test_only_this_gate_stops_a_model(
    house: RunningHouse, first: Promotion, version: str, changes: dict[str, Any], said: str
) -> None:
    ask_for(house)
    register(house, version, **changes)
    stopped = house.promote(f"odd-{version}", ("score@1.0.0",), (f"{NAME}@{version}",))
    found = house.gate(stopped, "interface")
    assert stopped.phase is PromotionPhase.FAILED, found.sentence
    assert said in found.sentence, found.sentence
    assert {house.gate(stopped, name).verdict for name in GATES[:-1]} == {Verdict.PASS}


def test_only_this_gate_stops_what_goes_away(house: RunningHouse, first: Promotion) -> None:
    ask_for(house)
    stopped = house.promote("pipeline-only", ("score@1.0.0",))
    assert stopped.phase is PromotionPhase.FAILED
    assert "late would not answer any more" in house.gate(stopped, "interface").sentence
    stopped = house.promote("model-only", models=(f"{NAME}@1.0.0",))
    assert stopped.phase is PromotionPhase.FAILED
    sentence = house.gate(stopped, "interface").sentence
    assert "the pipeline score could not be run any more" in sentence


def test_only_this_gate_stops_a_table_that_breaks_its_contract(
    house: RunningHouse, first: Promotion
) -> None:
    ask_for(house, "digests", "pipeline", "interface")
    odd = house.publish("2.0.0", renamed="flight_id")
    stopped = house.promote("odd-table", (odd,), (f"{NAME}@1.0.0",))
    found = house.gate(stopped, "interface")
    assert found.verdict is Verdict.FAIL, found.sentence
    assert "scores, made by score" in found.sentence
    assert "flight" in found.sentence
    ask_for(house)
    unseen = house.publish("2.1.0", rows=7)
    waits = house.promote("unseen-table", (unseen,), (f"{NAME}@1.0.0",))
    assert house.gate(waits, "interface").verdict is Verdict.INCONCLUSIVE


def test_what_callers_send_already_and_what_may_be_null_passes(
    house: RunningHouse, first: Promotion
) -> None:
    """`temp` was sent by everybody, as context; `wind` may be left out."""
    ask_for(house)
    log_requests(house, [{"hour": 6.0, "temp": 3.5, "tail": "N1"} for _ in range(20)])
    register(house, "3.0.0", inputs=(HOUR, TEMP, WIND))
    passed = house.promote("more", ("score@1.0.0",), (f"{NAME}@3.0.0",))
    found = house.gate(passed, "interface")
    assert passed.phase is PromotionPhase.LIVE, found.sentence
    assert "all of the last 20 rows had it already" in found.sentence
    assert found.evidence["asked"]["late"]["rows"] == 20


def test_a_change_that_is_accepted_by_name_passes(house: RunningHouse, first: Promotion) -> None:
    """After the release with three inputs: one is taken away again."""
    register(house, "4.0.0", inputs=(HOUR, TEMP))
    asked = ("score@1.0.0",), (f"{NAME}@4.0.0",)
    ask_for(house)
    stopped = house.promote("not-accepted", *asked)
    assert stopped.phase is PromotionPhase.FAILED
    assert "late.input.wind" in house.gate(stopped, "interface").sentence
    ask_for(house, rule=InterfaceRule(accepted=("late.input.wind",)))
    passed = house.promote("accepted", *asked)
    found = house.gate(passed, "interface")
    assert passed.phase is PromotionPhase.LIVE, found.sentence
    assert found.evidence["accepted"] == ["late.input.wind"]


def column(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "FP64", "nullable": False, **changes}


@pytest.mark.parametrize(
    ("before", "after", "sent", "breaks"),
    [
        (column("x", nullable=True), column("x"), Sent(), True),
        (column("x", nullable=True), column("x"), Sent(9, {"x": 9}, {"x": 2}), True),
        (column("x", nullable=True), column("x"), Sent(9, {"x": 9}), False),
        (
            column("x", nullable=True),
            column("x"),
            Sent(9, unlogged=frozenset({"x"})),
            True,
        ),
        (column("x", datatype="INT64"), column("x"), Sent(), False),
        (column("x"), column("x", datatype="BYTES"), Sent(), True),
        (column("x", unit="min"), column("x", unit="h"), Sent(), True),
        (column("x", unit="min"), column("x"), Sent(), False),
        (column("x"), column("x", nullable=True), Sent(), False),
    ],
)
def test_what_a_column_may_become(
    before: dict[str, Any], after: dict[str, Any], sent: Sent, breaks: bool
) -> None:
    out = [column("y")]
    old, new = {"inputs": [before], "outputs": out}, {"inputs": [after], "outputs": out}
    assert any(one.breaks for one in decide_changes(old, new, sent)) is breaks


def test_a_column_that_is_logged_only_stays_accepted() -> None:
    """What the model does not take any more may be sent on, where the endpoint logs it."""
    out = [column("y")]
    old, new = (
        {"inputs": [column("a"), column("b")], "outputs": out},
        {
            "inputs": [column("a")],
            "outputs": out,
        },
    )
    assert decide_changes(old, new, Sent(), frozenset({"b"})) == []
    assert [one.what for one in decide_changes(old, new, Sent())] == ["removed"]
