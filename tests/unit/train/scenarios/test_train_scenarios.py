"""Scenarios as IR: what the SDK's compiler would have written, and what its own engine can run."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Optional

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kfp import components, dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from seamline.domain.errors import InvalidInput, Refused
from seamline.train.ir.types import ParameterSpec, ParameterType
from seamline.train.scenarios.file import ScenarioQuery, load_scenarios, read_scenarios
from seamline.train.scenarios.loop import (
    MAX_SCENARIOS,
    check_scenarios,
    scenario_label,
    with_scenarios,
)

Compile = Callable[[Any], bytes]


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def fit(
    origin: str, days: int, share: float, deep: dict, model: Output[Model], card: Output[Metrics]
) -> int:
    assert type(days) is int and type(share) is float
    with open(model.path, "w") as file:  # noqa: PTH123  (a component imports what it uses)
        file.write(f"{origin} {days} {share} {deep}")
    return days * 2


class Made(NamedTuple):
    twice: int
    model: Model


@dsl.pipeline(name="fit-one", description="One of many.")
def fit_one(
    origin: str,
    days: int = 30,
    share: float = 0.5,
    deep: dict = {"a": 1},  # noqa: B006
) -> Made:
    dsl.importer(artifact_uri="datasets://flights", artifact_class=Dataset)
    made = fit(origin=origin, days=days, share=share, deep=deep)
    return Made(twice=made.outputs["Output"], model=made.outputs["model"])


@pytest.fixture
def ir(compile_ir: Compile) -> bytes:
    return compile_ir(fit_one)


def load(ir: bytes) -> Any:
    return next(yaml.safe_load_all(ir))


def items_of(ir: bytes) -> Any:
    """The loop's items, as an engine reads them."""
    iterator = load(ir)["root"]["dag"]["tasks"]["scenarios"]["parameterIterator"]
    return json.loads(iterator["items"]["raw"])


# What is written --------------------------------------------------------------------------------
def test_it_is_what_the_compiler_writes_for_a_loop_around_the_pipeline(
    ir: bytes, compile_ir: Compile
) -> None:
    scenarios = [{"origin": "JFK"}, {"origin": "LGA"}]
    component = components.load_component_from_text(ir.decode())

    class Lists(NamedTuple):
        twice: list[int]
        model: list[Model]

    @dsl.pipeline(name="fit-one", description="One of many.")
    def by_hand(
        days: int = 30,
        share: float = 0.5,
        deep: dict = {"a": 1},  # noqa: B006
    ) -> Lists:
        with dsl.ParallelFor(scenarios, name="scenarios") as scenario:
            one = component(origin=scenario.origin, days=days, share=share, deep=deep)
        return Lists(
            twice=dsl.Collected(one.outputs["twice"]), model=dsl.Collected(one.outputs["model"])
        )

    # Only names differ: the compiler numbers them.
    text = compile_ir(by_hand).decode().replace("for-loop-2", "scenarios")
    expected = yaml.safe_load(text)
    renamed = with_scenarios(ir, scenarios).decode().replace("comp-fit-one-2", "comp-fit-one")
    assert yaml.safe_load(renamed) == expected


def test_the_sdk_loads_it_compiles_it_again_and_its_own_engine_runs_it(
    ir: bytes, tmp_path: Path
) -> None:
    flown = yaml.safe_load(ir)
    del flown["root"]["dag"]["tasks"]["importer"]  # that engine has no such scheme
    scenarios = [
        {"origin": "JFK", "days": 3, "share": 1, "deep": {"k": [1, 2]}},
        {"origin": 'it\'s "LGA"', "days": 4, "share": 0.25, "deep": {}},
    ]
    path = tmp_path / "all.yaml"
    path.write_bytes(with_scenarios(yaml.safe_dump(flown).encode(), scenarios))
    program = f"""
import json
from kfp import compiler, components, dsl, local
loaded = components.load_component_from_file({str(path)!r})
@dsl.pipeline
def outer():
    loaded()
compiler.Compiler().compile(outer, {str(tmp_path / "outer.yaml")!r})
local.init(local.SubprocessRunner(use_venv=False), pipeline_root={str(tmp_path / "root")!r})
made = loaded().outputs
print(json.dumps([made["twice"], [open(one.path).read() for one in made["model"]]]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    twice, models = json.loads(done.stdout.strip().splitlines()[-1])
    assert twice == [6, 8]
    assert models[0].startswith("JFK 3 1.0 {'k': [1") and models[1] == 'it\'s "LGA" 4 0.25 {}'
    assert (tmp_path / "outer.yaml").exists()


def test_what_scenarios_do_not_set_stays_a_parameter_of_the_run(ir: bytes) -> None:
    before, after = load(ir)["root"], load(with_scenarios(ir, [{"origin": "JFK", "days": 3}]))
    kept = after["root"]["inputDefinitions"]["parameters"]
    assert set(kept) == {"share", "deep"}
    assert kept["share"] == before["inputDefinitions"]["parameters"]["share"]
    assert after["components"]["comp-fit-one-2"] == before
    assert after["pipelineInfo"] == {"name": "fit-one", "description": "One of many."}


def test_a_parameter_that_may_be_left_out_may_be_left_out_of_the_loop(compile_ir: Compile) -> None:
    @dsl.component(base_image="python:3.11")
    def say(a: str, b: Optional[str] = None, c: str = "x"):  # noqa: UP045  (the SDK cannot read the other)
        print(a, b, c)

    @dsl.pipeline
    def talk(a: str, b: Optional[str] = None, c: str = "x"):  # noqa: UP045  (the SDK cannot read the other)
        say(a=a, b=b, c=c)

    looped = load(with_scenarios(compile_ir(talk), [{"a": "1"}]))
    inputs = looped["components"]["comp-scenarios"]["inputDefinitions"]["parameters"]
    assert inputs["pipelinechannel--b"] == {"parameterType": "STRING", "isOptional": True}
    assert inputs["pipelinechannel--c"] == {"parameterType": "STRING"}
    assert "outputDefinitions" not in looped["root"]


def test_names_that_are_taken_are_not_taken_again(compile_ir: Compile) -> None:
    @dsl.component(base_image="python:3.11")
    def scenarios(n: int):
        print(n)

    @dsl.component(base_image="python:3.11")
    def two(n: int):
        print(n)

    @dsl.pipeline(name="two")
    def pipeline(n: int):
        scenarios(n=n)
        two(n=n)

    before = compile_ir(pipeline)
    after = load(with_scenarios(before, [{"n": 1}]))
    old = load(before)
    added = set(after["components"]) - set(old["components"])
    assert added == {"comp-scenarios-2", "comp-two-2"}
    assert after["components"].items() >= old["components"].items()


def test_the_platform_document_is_kept_and_both_shapes_are_read(ir: bytes) -> None:
    platform = {
        "platforms": {
            "kubernetes": {
                "deploymentSpec": {"executors": {"exec-fit": {"activeDeadlineSeconds": 60}}}
            }
        }
    }
    two = ir + b"\n---\n" + yaml.safe_dump(platform).encode()
    one = json.dumps({"pipeline_spec": load(ir), "platform_spec": platform}).encode()
    looped = with_scenarios(two, [{"origin": "JFK"}])
    assert list(yaml.safe_load_all(looped))[1] == platform
    assert with_scenarios(one, [{"origin": "JFK"}]) == looped


def test_where_scenarios_come_from_is_kept(ir: bytes) -> None:
    looped = with_scenarios(ir, [{"origin": "JFK"}, {"origin": "LGA"}], source="datasets://f@7")
    described = load(looped)["pipelineInfo"]["description"]
    assert described == "One of many.\n2 scenarios from datasets://f@7."


@dsl.component(base_image="python:3.11")
def write(n: int, power: int, made: Output[Dataset]) -> int:
    with open(made.path, "w") as file:  # noqa: PTH123
        file.write("x")
    return int(n**power)


@dsl.component(base_image="python:3.11")
def find(made: Input[Dataset]) -> int:
    import glob

    return len(glob.glob(made.path))  # noqa: PTH207


class Found(NamedTuple):
    raised: int
    files: int


@dsl.pipeline(name="raise-one")
def raise_one(n: int, power: int) -> Found:
    made = write(n=n, power=power)
    found = find(made=made.outputs["made"])
    return Found(raised=made.outputs["Output"], files=found.output)


def test_our_engine_runs_it_and_no_path_looks_like_a_pattern(
    house: Any, compile_ir: Compile
) -> None:
    run = house.run(with_scenarios(compile_ir(raise_one), [{"n": 2}, {"n": 3}]), power=3)
    assert run["state"] == "succeeded"
    # A folder called loop[1] would not be found by those who read paths with wildcards.
    assert run["outputs"]["parameters"] == {"raised": [8, 27], "files": [1, 1]}
    rounds = {task["name"]: task["item"] for task in run["tasks"] if task["kind"] == "iteration"}
    assert rounds == {"scenarios[0]": {"n": 2}, "scenarios[1]": {"n": 3}}


def test_scenarios_of_scenarios_are_a_list_of_lists(house: Any, compile_ir: Compile) -> None:
    inner = with_scenarios(compile_ir(raise_one), [{"n": 2}, {"n": 3}])
    run = house.run(with_scenarios(inner, [{"power": 1}, {"power": 2}]))
    assert run["outputs"]["parameters"]["raised"] == [[2, 3], [4, 9]]


_VALUES = st.recursive(
    st.text(max_size=5) | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
_SPECS = {
    "text": ParameterSpec(ParameterType.STRING),
    "struct": ParameterSpec(ParameterType.STRUCT, has_default=True, default={}),
}


@given(
    st.lists(
        st.fixed_dictionaries(
            {"text": st.text()},
            optional={"struct": st.dictionaries(st.text(), _VALUES, max_size=2)},
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda one: one["text"],
    )
)
def test_every_value_arrives_as_it_was_written(scenarios: list[dict[str, Any]]) -> None:
    checked = check_scenarios(_SPECS, scenarios)
    assert json.loads(json.dumps(checked)) == [
        {**({"struct": {}} if any("struct" in s for s in scenarios) else {}), **one}
        for one in scenarios
    ]


# What is refused --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("scenarios", "says", "then"),
    [
        ([], "There are 0 scenarios", "at least one"),
        (
            [{"origin": str(n)} for n in range(MAX_SCENARIOS + 1)],
            "10001 scenarios",
            "at most 10000",
        ),
        ([{}], "set no parameter", "days, deep, origin, share"),
        ([{"orign": "JFK"}], "scenarios[0] sets 'orign'", "Did you mean origin?"),
        ([{"origin": "JFK"}, {"origin": "LGA", "x": 1}], "scenarios[1] sets 'x'", "Known: days"),
        (
            [{"origin": "JFK", "days": "3"}],
            "(origin=JFK,days=3): Parameter 'days' has to be an int",
            "",
        ),
        ([{"origin": "JFK", "days": 3.5}], "'days' has to be an integer; a number came: 3.5", ""),
        ([{"origin": "JFK"}, {"origin": 4}], "scenarios[1] (origin=4): Parameter 'origin'", ""),
        ([{"origin": False}], "'origin' has to be a string; a boolean came: false", ""),
        ([{"origin": "JFK", "share": float("nan")}], "Parameter 'share' holds nan", "finite"),
        ([{"origin": "JFK", "deep": {"a": 2**53}}], "beyond", "Send it as text"),
        (
            [{"origin": "JFK", "days": None}],
            "scenarios[0] (origin=JFK,days=null) has no",
            "Give it",
        ),
        ([{"origin": "JFK"}, {"days": 3}], "scenarios[1] (days=3): The parameter 'origin'", ""),
        (
            [{"origin": "JFK", "days": 1}, {"origin": "LGA"}, {"days": 1.0, "origin": "JFK"}],
            "scenarios[0] and scenarios[2] are the same: origin=JFK,days=1",
            "once",
        ),
        # The first says nothing of `days`, so it has the default, which the second spells out.
        ([{"origin": "JFK"}, {"origin": "JFK", "days": 30}], "are the same", "once"),
    ],
)
def test_scenarios_that_do_not_fit_are_refused_by_place_and_value(
    ir: bytes, scenarios: list[dict[str, Any]], says: str, then: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        with_scenarios(ir, scenarios)
    assert says in caught.value.message
    assert then in caught.value.next_step


def test_a_pipeline_that_cannot_run_alone_is_refused_as_itself(ir: bytes) -> None:
    spec = load(ir)
    spec["deploymentSpec"]["executors"]["exec-fit"] = {"customJob": {"a": 1}}
    with pytest.raises(Refused, match="Task 'fit'"):
        with_scenarios(yaml.safe_dump(spec).encode(), [{"origin": "JFK"}])
    with pytest.raises(InvalidInput, match="neither YAML nor JSON"):
        with_scenarios(b"{", [{"origin": "JFK"}])


def test_a_parameter_whose_name_could_be_code_is_refused() -> None:
    spec = ParameterSpec(ParameterType.STRING)
    with pytest.raises(InvalidInput, match="holds a quote"):
        check_scenarios({'a"] + x["': spec}, [{'a"] + x["': "1"}])


def test_a_long_label_is_cut() -> None:
    assert scenario_label({"a": "x" * 500}) == f"a={'x' * 117}…"


# The file ---------------------------------------------------------------------------------------
def test_a_grid_is_every_combination_but_the_excluded() -> None:
    text = b"""
    grid:
      origin: [JFK, LGA]
      days: [30, 60]
    exclude:
      - {origin: LGA, days: 60}
    """
    assert load_scenarios(text) == [
        {"origin": "JFK", "days": 30},
        {"origin": "JFK", "days": 60},
        {"origin": "LGA", "days": 30},
    ]


def test_a_list_and_a_query_are_read_as_they_are() -> None:
    assert load_scenarios(b'{"list": [{"origin": "9E"}, {"days": 1.5}]}') == [
        {"origin": "9E"},
        {"days": 1.5},
    ]
    text = b"query:\n  dataset: flights@latest\n  select: >\n    SELECT origin\n    FROM flights\n"
    assert load_scenarios(text) == ScenarioQuery("flights@latest", "SELECT origin FROM flights\n")


@pytest.mark.parametrize(
    ("text", "says", "then"),
    [
        (b"[1, 2", "neither YAML nor JSON", "grid:"),
        (b"", "holds 0 documents", "grid:"),
        (b"list: []\n---\nlist: []", "holds 2 documents", "grid:"),
        (b"- a", "The scenarios file has to be an object, not list", "grid:"),
        (b"{}", "this one has none", "grid:"),
        (b"{gird: {a: [1]}}", "'gird' is no part", "Did you mean grid?"),
        (b"{grid: {a: [1]}, list: []}", "this one has grid and list", ""),
        (b"{list: [], exclude: []}", "exclude belongs to a grid, and this file has a list", ""),
        (b"{grid: [1]}", "grid has to be an object, not list", ""),
        (b"{grid: {a: 1}}", "grid.a has to be a list, not int", ""),
        (b"{grid: {a: [1]}, exclude: {a: 1}}", "exclude has to be a list", ""),
        (b"{grid: {a: [1]}, exclude: [{}]}", "exclude[0] is empty", ""),
        (b"{grid: {abc: [1]}, exclude: [{abd: 1}]}", "exclude[0] names 'abd'", "Did you mean abc?"),
        (b"{grid: {a: [1]}, exclude: [{a: 2}]}", "exclude[0] (a=2) leaves nothing out", ""),
        (b"{list: [1]}", "list[0] has to be an object, not int", ""),
        (b"{list: [{day: 2013-01-01}]}", "list[0].day is a date", "Put quotes around it"),
        (b"{query: {dataset: f}}", "query.select is missing", ""),
        (b"{query: {dataset: 7, select: x}}", "query.dataset is missing, or no text", ""),
        (b"{query: {dataset: f, select: x, wehre: y}}", "query has no 'wehre'", "Known"),
        (b"a: &a [1]\nlist: [*a]", "'a' is no part", "Known"),
        (b"[" * 1000, "nests deeper than", ""),
        (b"list: !!python/object/apply:os.getcwd []", "neither YAML nor JSON", ""),
    ],
)
def test_a_file_that_says_nothing_sensible_is_refused(text: bytes, says: str, then: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_scenarios(text)
    assert says in caught.value.message
    assert then in caught.value.next_step


def test_a_grid_is_not_built_before_it_is_known_to_be_small() -> None:
    grid = {name: list(range(1000)) for name in "abcdef"}
    with pytest.raises(InvalidInput, match=r"a \(1000\) × b \(1000\)"):
        read_scenarios({"grid": grid})
