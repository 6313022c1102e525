"""examples/scenarios: its pipelines as compiled, and its steps on the real flights of 2013."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import skops.io
import yaml
from kfp.dsl import Artifact, Dataset, Metrics, Model

from seamline.project.file import read_project_file
from seamline.train.plan.load import plan_of
from seamline.train.scenarios.file import ScenarioQuery, load_scenarios
from seamline.train.views.rounds import find_output

EXAMPLE = Path(__file__).parents[3] / "examples" / "scenarios"
STEPS = ["prepare", "train", "evaluate", "register"]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Compiled as a person compiles them."""
    folder = tmp_path_factory.mktemp("compiled")
    found = {}
    for name in ("train", "train_all"):
        path = folder / f"{name}.yaml"
        command = [sys.executable, "-B", "-W", "error", f"{name}.py", str(path)]
        done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found[name] = yaml.safe_load(path.read_text())
    return found


@dataclass(frozen=True)
class Example:
    """The components' own functions, without the SDK around them."""

    modules: dict[str, Any]
    folder: Path

    def call(self, name: str, **given: Any) -> Any:
        return self.modules[name].python_func(**given)

    def made(self, kind: type[Artifact], name: str) -> Any:
        return kind(name=name, uri=str(self.folder / name), metadata={})


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    sys.path.insert(0, str(EXAMPLE))
    try:
        steps, whole = (importlib.import_module(name) for name in ("steps", "train_all"))
        components = {name: getattr(steps, name) for name in STEPS}
        folder = tmp_path_factory.mktemp("artifacts")
        yield Example({**components, "split": whole.split}, folder)
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in ("steps", "train_all"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def table(example: Example, flights: Any) -> Any:
    """What `split` makes of the year, with the list that it hands on as `.metadata["found"]`."""
    made = example.made(Dataset, "table")
    given = Dataset(uri=str(flights.path))
    made.metadata["found"] = example.call("split", flights=given, scenarios=[], table=made)
    return made


def prepare(
    example: Example, table: Any, one: dict[str, str], since: str = "", until: str = ""
) -> tuple[int, Any]:
    source = Path(table.path).name
    name = f"history-{'-'.join(one.values())}-{since}-{until}-{source}"
    history = example.made(Dataset, name)
    (rows,) = example.call(
        "prepare", flights=table, **one, since=since, until=until, history=history
    )
    return rows, history


# As compiled ------------------------------------------------------------------------------------
def test_the_four_steps_of_a_scenario_are_the_same_in_both(pipelines: dict[str, Any]) -> None:
    one, whole = pipelines["train"], pipelines["train_all"]
    assert one["pipelineInfo"]["name"] == "train-scenario"
    assert whole["pipelineInfo"]["name"] == "train-all-scenarios"
    for step in STEPS:
        assert (
            one["deploymentSpec"]["executors"][f"exec-{step}"]
            == whole["deploymentSpec"]["executors"][f"exec-{step}"]
        )
    assert set(one["root"]["dag"]["tasks"]) == {"importer", "prepare", "condition-1"}
    assert set(whole["root"]["dag"]["tasks"]) == {"importer", "split", "for-loop-1"}
    inner = whole["components"]["comp-for-loop-1"]["dag"]["tasks"]
    assert set(inner) == {"prepare", "condition-2"}


def test_the_skip_is_a_condition_on_the_rows(pipelines: dict[str, Any]) -> None:
    for tasks, condition in (
        (pipelines["train"]["root"]["dag"]["tasks"], "condition-1"),
        (pipelines["train_all"]["components"]["comp-for-loop-1"]["dag"]["tasks"], "condition-2"),
    ):
        assert tasks[condition]["triggerPolicy"]["condition"] == (
            "int(inputs.parameter_values['pipelinechannel--prepare-rows']) >= "
            "int(inputs.parameter_values['pipelinechannel--min_rows'])"
        )
    skipped = pipelines["train"]["components"]["comp-condition-1"]["dag"]["tasks"]
    assert set(skipped) == {"train", "evaluate", "register"}


def test_the_loop_is_over_a_list_that_can_be_given(pipelines: dict[str, Any]) -> None:
    whole = pipelines["train_all"]
    loop = whole["root"]["dag"]["tasks"]["for-loop-1"]
    assert loop["parameterIterator"]["items"] == {"inputParameter": "pipelinechannel--split-Output"}
    assert loop["taskInfo"]["name"] == "scenarios"
    given = whole["root"]["inputDefinitions"]["parameters"]["scenarios"]
    assert given == {"defaultValue": [], "isOptional": True, "parameterType": "LIST"}


def test_the_scenarios_file_sets_parameters_of_the_pipeline(pipelines: dict[str, Any]) -> None:
    query = load_scenarios((EXAMPLE / "scenarios.yaml").read_bytes())
    assert isinstance(query, ScenarioQuery) and query.dataset == "flights@latest"
    parameters = pipelines["train"]["root"]["inputDefinitions"]["parameters"]
    required = {name for name, spec in parameters.items() if not spec.get("isOptional")}
    assert required == {"origin", "carrier", "dest"}
    assert all(name in query.select for name in required)


def test_each_scenario_has_a_model_in_both(pipelines: dict[str, Any]) -> None:
    """What seamline.toml names is there, and the step that hands the model on can load it."""
    declared = read_project_file((EXAMPLE / "seamline.toml").read_text()).declarations
    assert {one.pipeline for one in declared.models.values()} == {
        spec["pipelineInfo"]["name"] for spec in pipelines.values()
    }
    for model in declared.models.values():
        spec = next(
            one for one in pipelines.values() if one["pipelineInfo"]["name"] == model.pipeline
        )
        plan = plan_of(json.dumps(spec).encode())
        for named, step in ((model.output, "register"), (model.samples, "train")):
            task, _, output = named.partition(".")
            assert find_output(plan, task, output).rpartition("/")[2] == step
        executors = spec["deploymentSpec"]["executors"]
        assert "skops" in str(executors["exec-register"]["container"]["command"])
        assert model.per == ("origin", "carrier", "dest")


def test_the_packages_are_those_of_the_lock_and_none_is_the_platform(
    pipelines: dict[str, Any],
) -> None:
    lock = (EXAMPLE.parents[1] / "requirements.lock").read_text()
    wanted = set()
    for pipeline in pipelines.values():
        for executor in pipeline["deploymentSpec"]["executors"].values():
            installs = " ".join(executor.get("container", {}).get("command", [])[:3])
            wanted |= {
                word.strip("'")
                for word in installs.split()
                if "==" in word and not word.startswith("'kfp==")
            }
    assert len(wanted) == 3
    assert [package for package in wanted if f"{package} " not in lock] == []
    for source in EXAMPLE.glob("*.py"):
        text = source.read_text()
        assert "import seamline" not in text and "from seamline" not in text


# On the flights ---------------------------------------------------------------------------------
def test_the_year_has_439_scenarios_and_317_of_them_are_trained(
    example: Example, table: Any, year: dict[str, pl.DataFrame]
) -> None:
    found = table.metadata["found"]
    keys = ["origin", "carrier", "dest"]
    assert found == year["flights"].select(keys).unique().sort(keys).to_dicts()
    counts = [prepare(example, table, one)[0] for one in found]
    assert len(counts) == 439 and sum(counts) == 336776
    assert sum(rows >= 100 for rows in counts) == 317
    half = [prepare(example, table, one, until="2013-07-01")[0] for one in found]
    assert sum(rows >= 100 for rows in half) == 283
    assert sum(rows == 0 for rows in half) == 439 - 381


def test_the_table_is_small_enough_to_be_copied_for_each_scenario(table: Any) -> None:
    assert Path(table.path).stat().st_size < 2_000_000


def test_preparing_from_the_dataset_gives_the_same_as_from_the_table(
    example: Example, table: Any, flights: Any
) -> None:
    one = {"origin": "JFK", "carrier": "AA", "dest": "LAX"}
    march = {"since": "2013-03-01", "until": "2013-04-01"}
    rows, history = prepare(example, table, one, **march)
    again, other = prepare(example, Dataset(uri=str(flights.path)), one, **march)
    assert rows == again == 274
    assert pl.read_parquet(history.path).equals(pl.read_parquet(other.path))
    assert history.metadata == {"scenario": "JFK-AA-LAX"}


def test_a_scenario_ends_with_a_model_and_what_it_is_worth(example: Example, table: Any) -> None:
    one = {"origin": "JFK", "carrier": "AA", "dest": "LAX"}
    _, history = prepare(example, table, one)
    model, scores = example.made(Model, "model"), example.made(Metrics, "scores")
    samples = example.made(Dataset, "samples")
    example.call("train", history=history, fail="", mended="", model=model, samples=samples)
    example.call("evaluate", history=history, model=model, scores=scores)
    registered, card = example.made(Model, "registered"), example.made(Metrics, "card")
    example.call("register", model=model, scores=scores, registered=registered, card=card)
    assert Path(registered.path).read_bytes() == Path(model.path).read_bytes()
    assert registered.metadata["name"] == "air-time-jfk-aa-lax"
    assert registered.metadata["format"] == "skops"
    assert registered.metadata["metrics"] == scores.metadata
    assert card.metadata["gain"] == round(scores.metadata["baseline_mae"] - card.metadata["mae"], 3)
    # Rows that fly in the order of the calendar: the last fifth is autumn.
    flown = pl.read_parquet(history.path)
    assert scores.metadata["rows"] == flown.height - flown.height * 4 // 5
    minutes = skops.io.load(registered.path).predict([[12.0, 0.0, 1.0]])
    assert 300 < minutes[0] < 360
    json.dumps([registered.metadata, card.metadata])
    rows = [json.loads(line) for line in Path(samples.path).read_text().splitlines()]
    first = flown.select("hour", "season_sin", "season_cos").head(10)
    assert rows == first.to_dicts()


def test_a_scenario_can_be_made_to_fail_by_name(example: Example, table: Any) -> None:
    def train(history: Any, fail: str, model: Any, mended: str = "") -> None:
        given = {"history": history, "fail": fail, "mended": mended}
        example.call("train", **given, model=model, samples=example.made(Dataset, "samples"))

    _, history = prepare(example, table, {"origin": "JFK", "carrier": "AA", "dest": "LAX"})
    with pytest.raises(RuntimeError, match="JFK-AA-LAX was asked to fail"):
        train(history=history, fail="JFK-AA-LAX", model=example.made(Model, "none"))
    mended = example.folder / "mended"
    with pytest.raises(RuntimeError, match="JFK-AA-LAX was asked to fail"):
        train(history, "JFK-AA-LAX", example.made(Model, "none"), str(mended))
    mended.touch()
    train(history, "JFK-AA-LAX", example.made(Model, "again"), str(mended))
    _, small = prepare(example, table, {"origin": "LGA", "carrier": "EV", "dest": "BNA"}, "", "")
    train(history=small, fail="JFK-AA-LAX", model=example.made(Model, "some"))
    _, empty = prepare(example, table, {"origin": "LGA", "carrier": "EV", "dest": "XXX"})
    with pytest.raises(ValueError, match="0 flown flights are too few"):
        train(history=empty, fail="", model=example.made(Model, "none"))


def test_a_scenario_that_the_data_does_not_have_is_refused(example: Example, flights: Any) -> None:
    given = Dataset(uri=str(flights.path))
    known = {"origin": "JFK", "carrier": "AA", "dest": "LAX"}
    split: Callable[..., Any] = example.modules["split"].python_func
    made = example.made(Dataset, "again")
    assert split(flights=given, scenarios=[known], table=made) == [known]
    with pytest.raises(ValueError, match=r"no flight belongs to .*'XX'.*439 scenarios"):
        split(flights=given, scenarios=[known, {**known, "carrier": "XX"}], table=made)


def test_the_delivery_is_the_whole_year_or_some_months(tmp_path: Path) -> None:
    for months, rows in ((["1", "2"], 27004 + 24951), ([], 336776)):
        path = tmp_path / "out.csv"
        subprocess.run(
            [sys.executable, "-B", "deliver.py", path, *months], cwd=EXAMPLE, check=True, timeout=60
        )
        frame = pl.read_csv(path, infer_schema=False)
        assert frame.height == rows and frame.columns[:3] == ["year", "month", "day"]
