"""The gate `load`, over a real data plane: a model that only it stops, and what a probe may do."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from seamline.app.promote.load_limits import decide_load
from seamline.domain.clock import iso
from seamline.domain.states import PromotionPhase, Verdict
from seamline.project.plan import apply_project
from seamline.promote.gate_rules import GateRules, LoadRule
from seamline.promote.promotion import Promotion
from seamline.serve.log.tables import read_predictions
from seamline.serve.snapshots.probes import HEADER, Probe, write_probe
from seamline.trust.keys import load_or_create_key

from .odd_models import NAME, register
from .running import HERE, RunningHouse, running_house

GATES = ("digests", "provenance", "load")
DEPLOYED = """
project = "late"
team = "late"

[models.late]
pipeline = "train"
output = "train.model"
samples = "train.samples"

[deployments.late]
model = "late"
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    with running_house(tmp_path_factory.mktemp("load")) as made:
        apply_project(made.stores, DEPLOYED, "seamline.toml", by="ann")
        command = [sys.executable, "-m", "seamline.dataplane", "--root", str(made.platform.root)]
        with (made.platform.root / "plane.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            made.platform.changes.wait_until(
                lambda: made.platform.data_plane_url() is not None or process.poll() is not None,
                240,
            )
            yield made
        finally:
            process.terminate()
            process.wait(120)


def ask_for(house: RunningHouse, rule: LoadRule | None = None, **changes: Any) -> None:
    rules = GateRules(load=rule or LoadRule())
    house.ask_for(*GATES, rules=rules, formats=("cloudpickle",), **changes)


@pytest.fixture(scope="module")
def first(house: RunningHouse) -> Promotion:
    """Live, against nothing but what the policy names."""
    ask_for(house)
    register(house, "1.0.0")
    return house.promote("first", models=(f"{NAME}@1.0.0",))


def test_the_first_is_held_against_the_policy(house: RunningHouse, first: Promotion) -> None:
    found = house.gate(first, "load")
    assert first.phase is PromotionPhase.LIVE, found.sentence
    [endpoint] = found.evidence["endpoints"]
    assert set(endpoint["contenders"]) == {"candidate"}
    assert endpoint["contenders"]["candidate"]["requests"] >= 12
    assert [one["what"] for one in endpoint["findings"]] == ["failed", "p95"]
    # None of it is a prediction.
    assert read_predictions(house.stores, HERE).is_empty()


def test_only_this_gate_stops_a_model_that_sleeps(house: RunningHouse, first: Promotion) -> None:
    # The incumbent's answers vary with the machine; of a limit in ms no doubt is left.
    ask_for(house, LoadRule(p95_ms=150.0))
    register(house, "2.0.0", waits_s=0.2)
    stopped = house.promote("slow", models=(f"{NAME}@2.0.0",))
    found = house.gate(stopped, "load")
    assert stopped.phase is PromotionPhase.FAILED, found.sentence
    assert found.verdict is Verdict.FAIL
    assert "1.5 times" in found.sentence or "of at most 150 ms" in found.sentence
    assert {house.gate(stopped, name).verdict for name in GATES[:-1]} == {Verdict.PASS}
    [endpoint] = found.evidence["endpoints"]
    assert set(endpoint["contenders"]) == {"candidate", "incumbent"}


def test_one_that_is_too_slow_for_the_policy_alone(house: RunningHouse, first: Promotion) -> None:
    ask_for(house, LoadRule(rps=90.0, slower=1000.0, p95_ms=60_000.0))
    register(house, "3.0.0", waits_s=0.05)
    stopped = house.promote("few", models=(f"{NAME}@3.0.0",))
    found = house.gate(stopped, "load")
    assert found.verdict is Verdict.FAIL, found.sentence
    assert "requests/s answered, of at least 90" in found.sentence


def test_one_that_the_plane_cannot_load_fails(house: RunningHouse, first: Promotion) -> None:
    ask_for(house)
    register(house, "4.0.0", factor=5.0)
    stopped = house.promote("broken", models=(f"{NAME}@4.0.0",))
    found = house.gate(stopped, "load")
    assert found.verdict is Verdict.FAIL
    assert "the data plane cannot load it" in found.sentence
    assert "sample row" in found.sentence


def test_one_without_room_to_stand_by_is_inconclusive(
    house: RunningHouse, first: Promotion
) -> None:
    ask_for(house, warm=0)
    register(house, "5.0.0")
    stopped = house.promote("no-room", models=(f"{NAME}@5.0.0",))
    found = house.gate(stopped, "load")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "warm = 1" in found.sentence


def test_what_does_not_end_in_time_is_an_error(house: RunningHouse, first: Promotion) -> None:
    ask_for(house, LoadRule(timeout="0s"))
    register(house, "6.0.0")
    ended = house.promote("no-time", models=(f"{NAME}@6.0.0",))
    assert house.gate(ended, "load").verdict is Verdict.ERROR
    assert ended.phase is PromotionPhase.ERRORED


def ask(house: RunningHouse, header: str, environment: str = HERE) -> tuple[int, str]:
    url = f"{house.platform.data_plane_url()}/{environment}/v2/models/late/infer"
    tensor = {"name": "hour", "shape": [1], "datatype": "FP64", "data": [6.0]}
    request = urllib.request.Request(
        url, json.dumps({"inputs": [tensor]}).encode(), {HEADER: header}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_probe_is_signed_dated_and_of_one_release(
    house: RunningHouse, first: Promotion, tmp_path_factory: pytest.TempPathFactory
) -> None:
    now, key = house.stores.clock.now(), house.platform.key
    later, before = iso(now + timedelta(minutes=5)), iso(now - timedelta(minutes=5))
    status, text = ask(house, write_probe(Probe(HERE, first.release, later), key))
    assert status == 200, text
    assert json.loads(text)["outputs"][0]["data"] == [12.0]
    stranger = load_or_create_key(tmp_path_factory.mktemp("stranger"))
    other = "sha256:" + "9" * 64
    for header, expected, said in (
        (write_probe(Probe(HERE, first.release, before), key), 422, "expired"),
        (write_probe(Probe("staging", first.release, later), key), 422, "not of development"),
        (write_probe(Probe(HERE, other, later), key), 404, "release that stands by"),
        (write_probe(Probe(HERE, first.release, later), stranger), 422, "signed"),
        (base64.b64encode(b"{}").decode(), 400, "envelope"),
        ("not base64!", 400, "base64"),
    ):
        status, text = ask(house, header)
        assert (status, said in text) == (expected, True), text


def blocks(p95_ms: float, n: int = 12, failed: int = 0) -> list[dict[str, Any]]:
    return [
        {"p95_ms": p95_ms + (one % 3) * 0.1, "rps": 100.0, "answered": 30, "failed": failed,
         "problem": "500: no" if failed else ""}
        for one in range(n)
    ]  # fmt: skip


def test_limits_are_decided_on_the_interval() -> None:
    def decided(mine: list[dict[str, Any]], theirs: list[dict[str, Any]] | None) -> set[str]:
        return {one.verdict.value for one in decide_load(LoadRule(), mine, theirs)}

    assert decided(blocks(2.0), blocks(2.0)) == {"pass"}
    assert decided(blocks(6.0), blocks(2.0)) == {"pass"}  # no difference that anybody feels
    assert decided(blocks(40.0), blocks(20.0)) == {"pass", "fail"}
    assert decided(blocks(1_500.0), None) == {"pass", "fail"}
    assert decided(blocks(2.0, failed=1), None) == {"pass", "fail"}
    noisy = [*blocks(2.0, 6), *blocks(40.0, 6)]
    assert decided(noisy, blocks(2.0)) == {"pass", "inconclusive"}
