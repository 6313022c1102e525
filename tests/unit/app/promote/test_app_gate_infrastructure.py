"""The gate `infrastructure`: packages that only it stops. Environments are made for real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from seamline.domain.errors import Unavailable
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.gate_rules import GateRules, InfrastructureRule
from seamline.runtime.requirements import RequirementSet

from .odd_models import NAME, register
from .running import RunningHouse, running_house

GATES = ("digests", "provenance", "infrastructure")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    with running_house(tmp_path_factory.mktemp("infrastructure")) as made:
        yield made


def ask_for(house: RunningHouse, rule: InfrastructureRule | None = None) -> None:
    rules = GateRules(infrastructure=rule or InfrastructureRule())
    house.ask_for(*GATES, rules=rules, formats=("cloudpickle",))


def test_a_package_that_holds_all_it_needs_passes(house: RunningHouse) -> None:
    ask_for(house)
    register(house, "1.0.0")
    passed = house.promote("well", models=(f"{NAME}@1.0.0",))
    found = house.gate(passed, "infrastructure")
    assert passed.phase is PromotionPhase.LIVE, found.sentence
    [package] = found.evidence["packages"]
    assert package["samples"] == 5
    assert {one.partition("==")[0].lower() for one in package["lock"]} == {
        "numpy",
        "cloudpickle",
        NAME,
    }
    assert 1_000_000 < package["peak_bytes"] < 500_000_000
    # Nothing of it stays.
    assert list((house.platform.root / "gates").iterdir()) == []
    assert not list((house.platform.root / "environments").glob(".making-*"))


@pytest.mark.parametrize(
    ("version", "behaviour", "said"),
    [
        # Where it was packaged there was polars, and it answered otherwise.
        ("2.0.0", {"asks_for": "polars", "factor": 3.0}, "output prediction of sample row 1"),
        ("2.1.0", {"requirements": ("numpy",)}, "cloudpickle"),
        ("2.2.0", {"megabytes": 600}, "its memory limit of 400 MB"),
        ("2.3.0", {"waits_s": 3.0}, "s to load and answer, of at most 2 s"),
    ],
)
def test_only_this_gate_stops_it(
    house: RunningHouse, version: str, behaviour: dict[str, object], said: str
) -> None:
    # A slow machine takes longer to load what is stopped for another reason.
    longest = "2s" if "waits_s" in behaviour else "5m"
    ask_for(house, InfrastructureRule(memory_mb=400.0, longest=longest))
    register(house, version, **behaviour)
    stopped = house.promote(f"bad-{version}", models=(f"{NAME}@{version}",))
    found = house.gate(stopped, "infrastructure")
    assert stopped.phase is PromotionPhase.FAILED, found.sentence
    assert found.verdict is Verdict.FAIL
    assert said in found.sentence, found.sentence
    assert {house.gate(stopped, name).verdict for name in GATES[:-1]} == {Verdict.PASS}


def test_one_that_does_not_end_in_time_is_an_error(house: RunningHouse) -> None:
    ask_for(house, InfrastructureRule(timeout="10s"))
    register(house, "3.0.0", waits_s=600.0)
    ended = house.promote("forever", models=(f"{NAME}@3.0.0",))
    assert ended.phase is PromotionPhase.ERRORED
    found = house.gate(ended, "infrastructure")
    assert found.verdict is Verdict.ERROR
    assert "did not end within 10 s" in found.sentence


def test_an_installer_that_does_not_end_is_an_error(house: RunningHouse) -> None:
    environments = house.platform.environments
    with (
        pytest.raises(Unavailable, match="did not end within"),
        environments.fresh(RequirementSet.of(["numpy"]), timeout_s=0.0),
    ):
        pass
