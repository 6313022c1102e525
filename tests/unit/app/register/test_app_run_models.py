"""What the models of a run are called, whichever way its rounds ended."""

from __future__ import annotations

from typing import Any

import pytest

from seamline.app.declarations import ModelDeclaration
from seamline.app.register.run_models import decide_members
from seamline.domain.errors import InvalidInput
from seamline.domain.states import TaskState
from seamline.register.models.families import member_name
from seamline.train.views.rounds import Round


def declared(*per: str) -> ModelDeclaration:
    return ModelDeclaration("delay", "train", "each/fit.model", "each/fit.rows", per=per)


def rounds(*items: dict[str, Any], state: TaskState | None = TaskState.SUCCEEDED) -> list[Round]:
    return [Round(f"each[{index}]/fit", state, item) for index, item in enumerate(items)]


def test_one_model_is_called_as_declared() -> None:
    alone = Round("fit", TaskState.SUCCEEDED, {})
    [found] = decide_members(declared(), [alone], {"origin": "JFK"}).named
    assert (found.name, found.scenario, found.round) == ("delay", {}, alone)


def test_fields_are_those_of_items_and_then_of_the_run() -> None:
    items = [{"origin": "JFK", "year": 2014}, {"origin": "LGA"}]
    found = decide_members(declared("origin", "year"), rounds(*items), {"year": 2013})
    assert [one.name for one in found.named] == ["delay-jfk-2014", "delay-lga-2013"]
    assert found.named[1].scenario == {"origin": "LGA", "year": 2013}
    assert found.refused == {}


@pytest.mark.parametrize("state", [None, *TaskState])
def test_a_clash_does_not_hang_on_how_a_round_ended(state: TaskState | None) -> None:
    items = [{"origin": "B 6"}, {"origin": "B-6"}, {"origin": "JFK"}]
    found = decide_members(declared("origin"), rounds(*items, state=state), {})
    assert [one.name for one in found.named] == ["delay-jfk"]
    assert list(found.refused) == ["delay-b-6"]
    assert "each[0]/fit (origin=B 6); each[1]/fit (origin=B-6)." in found.refused["delay-b-6"]


def test_many_that_clash_are_counted() -> None:
    items = [{"origin": "JFK", "day": day} for day in range(9)]
    found = decide_members(declared("origin"), rounds(*items), {})
    assert found.named == []
    assert found.refused["delay-jfk"].startswith("9 rounds would make models of this name: each[0]")
    assert " … and 6 more. Add fields to per" in found.refused["delay-jfk"]


def test_one_that_cannot_be_named_stops_no_other() -> None:
    items = [{"origin": "JFK"}, {"origin": "東京"}, {"airport": "LGA"}, {"origin": ["EWR"]}]
    found = decide_members(declared("origin"), rounds(*items), {"since": ""})
    assert [one.name for one in found.named] == ["delay-jfk"]
    said = found.refused["delay"].split("; ")
    assert said[0].startswith("each[1]/fit (origin=東京): origin = '東京' holds nothing")
    assert said[1].startswith("each[2]/fit (airport=LGA): [models.delay] says per 'origin', and ")
    assert said[1].endswith("Known: airport.")
    assert said[2].startswith("each[3]/fit (origin=[\"EWR\"]): origin = ['EWR'] cannot be a part")


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("B_6 / x", "b-6-x"),
        (30.0, "30"),
        (-0.5, "minus-0-5"),
        (True, "true"),
        ("Zürich", "zurich"),
        (10**20, "100000000000000000000"),
    ],
)
def test_values_are_written_as_package_names_are(value: Any, word: str) -> None:
    assert member_name("m", {"field": value}) == f"m-{word}"


@pytest.mark.parametrize("value", [None, [], {}, "", "--", "x" * 70])
def test_values_that_cannot_be_written_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        member_name("m", {"field": value})
