"""Parts of a run as pages show them: scopes, loops, steps, failures, single tasks."""

# No postponed annotations here: the KFP SDK reads those of its components.
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, List  # noqa: UP035  as many users write them

import pytest
from kfp import dsl
from kfp.dsl import Artifact, Output

from seamline.domain.errors import NotFound
from seamline.train.options import RunOptions
from seamline.train.plan.inputs import MAX_SHOWN
from seamline.train.runs import cancel_run, show_run
from seamline.train.scenarios.loop import with_scenarios
from seamline.train.views.lists import count_tasks, list_pipelines_run
from seamline.train.views.loop import show_loop, show_steps
from seamline.train.views.overview import show_failures, show_scope, show_trail
from seamline.train.views.task import read_packages, show_outputs, show_tasks

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def count(region: str) -> int:
    return len(region)


@dsl.component(base_image=IMAGE)
def fit(region: str, depth: int) -> int:
    if (region, depth) == ("east", 4):
        raise ValueError("the matrix is singular")
    return depth


@dsl.component(base_image=IMAGE)
def mean(values: List[int]) -> float:  # noqa: UP006
    return sum(values) / len(values)


@dsl.component(base_image=IMAGE)
def say(text: str = "nothing") -> str:
    return text


@dsl.component(base_image=IMAGE)
def hold(region: str, until: str) -> str:
    import time
    from pathlib import Path

    deadline = time.monotonic() + 60
    while not Path(until).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return region


@dsl.component(base_image=IMAGE)
def boast(big: Output[Artifact]) -> str:
    from pathlib import Path

    Path(big.path).write_text("x")
    return "ha" * 2_000


@dsl.pipeline
def inner(text: str) -> str:
    return say(text=text).output


@dsl.pipeline(name="regions")
def regions(
    places: List[str] = ["north", "east"],  # noqa: B006, UP006
    depths: List[int] = [2, 4],  # noqa: B006, UP006
) -> float:
    told = inner(text="hello")
    with dsl.ParallelFor(places, name="by-region") as region:
        with dsl.ParallelFor(depths, name="by-depth") as depth:
            fitted = fit(region=region, depth=depth).after(told)
        found = mean(values=dsl.Collected(fitted.output))
        with dsl.If(found.output > 100, name="large"):
            say(text="large")
        with dsl.Else():
            say(text="small")
    return mean(values=[1, 2]).output


@dsl.pipeline(name="one")
def one(region: str, least: int = 5):
    counted = count(region=region)
    with dsl.If(counted.output >= least, name="enough"):
        fit(region=region, depth=2)


@pytest.fixture
def ran(house: Any, compile_ir: Callable[..., bytes]) -> dict[str, Any]:
    return house.run(compile_ir(regions))


def states(scope: dict[str, Any]) -> dict[str, str]:
    return {node["name"]: node["state"] for node in scope["nodes"]}


def test_the_outermost_scope_keeps_loops_closed(house: Any, ran: dict[str, Any]) -> None:
    scope = show_scope(house.stores, ran["id"])
    assert states(scope) == {
        "inner": "succeeded",
        "inner/say": "succeeded",
        "for-loop-1": "failed",
        "mean-2": "succeeded",
    }
    # The loop's inner loop waits for the sub-pipeline, so the loop does.
    assert {"from": "inner/say", "to": "for-loop-1"} in scope["edges"]
    assert {(one["from"], one["to"]) for one in scope["edges"]} <= {
        (one["from"], one["to"]) for one in ran["edges"]
    }
    assert not any("inputs" in node or "error" in node for node in scope["nodes"])


def test_an_iteration_and_a_group_are_scopes_of_their_own(house: Any, ran: dict[str, Any]) -> None:
    scope = show_scope(house.stores, ran["id"], "for-loop-1[1]")
    place = "for-loop-1[1]"
    assert states(scope)[f"{place}/for-loop-2"] == "failed"
    assert states(scope)[f"{place}/mean"] == "upstream_failed"
    assert {"from": f"{place}/for-loop-2", "to": f"{place}/mean"} in scope["edges"]
    assert list(states(show_scope(house.stores, ran["id"], "inner"))) == ["inner/say"]
    branches = show_scope(house.stores, ran["id"], "for-loop-1[0]/condition-branches-3")
    assert sorted(states(branches).values()) == ["not_triggered"] * 2 + ["succeeded"] * 2
    for wrong in ("for-loop-1", "inner/say", "for-loop-1[7]/nothing"):
        with pytest.raises(NotFound):
            show_scope(house.stores, ran["id"], wrong)


def test_a_trail_leads_from_the_outside_in(house: Any, ran: dict[str, Any]) -> None:
    trail = show_trail(house.stores, ran["id"], "for-loop-1[1]/for-loop-2[0]/fit")
    assert [(one["name"], one["item"]) for one in trail] == [
        ("for-loop-1", None),
        ("for-loop-1[1]", "east"),
        ("for-loop-1[1]/for-loop-2", None),
        ("for-loop-1[1]/for-loop-2[0]", 2),
        ("for-loop-1[1]/for-loop-2[0]/fit", None),
    ]
    with pytest.raises(NotFound, match="for-loop-1"):
        show_trail(house.stores, ran["id"], "for-lop-1")
    with pytest.raises(NotFound):
        show_trail(house.stores, ran["id"], "/" * 100_000)


def test_a_loop_tells_every_iteration_and_who_failed_in_it(house: Any, ran: dict[str, Any]) -> None:
    loop = show_loop(house.stores, ran["id"], "for-loop-1")
    told = [(one["index"], one["item"], one["outcome"]) for one in loop["iterations"]]
    # One branch of an Else is never triggered: that leaves nothing out.
    assert told == [(0, "north", "succeeded"), (1, "east", "failed")]
    steps = [one["name"] for one in loop["steps"]]
    assert steps[:2] == ["for-loop-2", "mean"]
    north, east = show_steps(house.stores, ran["id"], "for-loop-1", [0, 1], steps)
    assert north["problem"] is None
    assert north["steps"]["for-loop-2"] == "succeeded"
    assert east["steps"]["mean"] == "upstream_failed"
    assert east["problem"] == {
        "task": "for-loop-1[1]/for-loop-2[1]/fit",
        "sentence": "ValueError: the matrix is singular",
    }
    nested = show_loop(house.stores, ran["id"], "for-loop-1[1]/for-loop-2")
    assert [one["outcome"] for one in nested["iterations"]] == ["succeeded", "failed"]
    with pytest.raises(NotFound):
        show_loop(house.stores, ran["id"], "inner")


def test_failures_are_told_with_their_items(house: Any, ran: dict[str, Any]) -> None:
    assert show_failures(house.stores, ran["id"], 10) == {
        "total": 1,
        "first": [
            {
                "name": "for-loop-1[1]/for-loop-2[1]/fit",
                "sentence": "ValueError: the matrix is singular",
                "iteration": "for-loop-1[1]/for-loop-2[1]",
                "item": "east · 4",
            }
        ],
    }
    counts = count_tasks(house.stores, [ran["id"]])[ran["id"]]
    whole = [one["state"] for one in ran["tasks"] if one["kind"] == "python"]
    assert counts == {state: whole.count(state) for state in whole}
    assert list_pipelines_run(house.stores) == ["regions"]


def test_a_task_is_shown_as_in_the_whole_run(house: Any, ran: dict[str, Any]) -> None:
    names = ["for-loop-1[1]/for-loop-2[1]/fit", "mean-2", "none"]
    shown = show_tasks(house.stores, ran["id"], names)
    assert [one["name"] for one in shown] == names[:2]
    whole = {one["name"]: one for one in show_run(house.stores, ran["id"])["tasks"]}
    for task in shown:
        assert task.pop("outputs").pop("is_cut") is False
        assert task == {key: one for key, one in whole[task["name"]].items() if key != "outputs"}
    packages = read_packages(house.stores, shown[0]["packages_digest"])
    assert any(one.startswith("kfp==") for one in packages)
    assert read_packages(house.stores, None) == []
    assert show_outputs(house.stores, ran["id"])["parameters"] == {"Output": 1.5}


def test_a_scenario_left_out_by_its_condition_and_one_from_the_cache(
    house: Any, compile_ir: Callable[..., bytes]
) -> None:
    scenarios = [{"region": "north"}, {"region": "east"}, {"region": "far-east"}]
    ir = with_scenarios(compile_ir(one), scenarios)
    first = house.run(ir)
    loop = show_loop(house.stores, first["id"], "scenarios")
    outcomes = [one["outcome"] for one in loop["iterations"]]
    assert outcomes == ["succeeded", "not_triggered", "succeeded"]
    assert [one["state"] for one in loop["iterations"]] == ["succeeded"] * 3
    assert [one["item"] for one in loop["iterations"]] == scenarios
    again = show_loop(house.stores, house.run(ir)["id"], "scenarios")
    assert [one["outcome"] for one in again["iterations"]] == [
        "skipped",
        "not_triggered",
        "skipped",
    ]


def test_iterations_that_have_not_begun_are_shown_as_planned(
    house: Any, compile_ir: Callable[..., bytes], tmp_path: Path
) -> None:
    @dsl.pipeline(name="holding")
    def holding(until: str, places: List[str] = ["a", "b", "c"]):  # noqa: B006, UP006
        with dsl.ParallelFor(places, parallelism=1) as region:
            held = hold(region=region, until=until)
            say(text=held.output)

    flag = tmp_path / "go"
    run_id = house.request(compile_ir(holding), RunOptions(), until=str(flag))
    house.wait_for(lambda: count_tasks(house.stores, [run_id])[run_id].get("running") == 1)
    loop = show_loop(house.stores, run_id, "for-loop-1")
    assert [one["outcome"] for one in loop["iterations"]] == ["running", "pending", "pending"]
    scope = show_scope(house.stores, run_id, "for-loop-1[2]")
    assert [(one["name"], one["is_planned"]) for one in scope["nodes"]] == [
        ("for-loop-1[2]/hold", True),
        ("for-loop-1[2]/say", True),
    ]
    assert scope["edges"] == [{"from": "for-loop-1[2]/hold", "to": "for-loop-1[2]/say"}]
    assert json.loads(json.dumps(scope)) == scope
    (waiting,) = show_steps(house.stores, run_id, "for-loop-1", [2], ["hold", "say"])
    assert waiting["steps"] == {}
    cancel_run(house.stores, run_id, by="ana")
    house.engine.wake()
    house.finish(run_id)


def test_long_values_are_cut(house: Any, compile_ir: Callable[..., bytes]) -> None:
    @dsl.pipeline(name="boasting")
    def boasting() -> str:
        return boast().outputs["Output"]

    run_id = house.run(compile_ir(boasting))["id"]
    (task,) = show_tasks(house.stores, run_id, ["boast"])
    assert len(task["outputs"]["parameters"]["Output"]) == MAX_SHOWN + 1
    assert len(show_outputs(house.stores, run_id)["parameters"]["Output"]) == MAX_SHOWN + 1
    assert list(task["outputs"]["artifacts"]) == ["big"]
