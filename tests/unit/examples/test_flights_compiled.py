"""The compiled example pipelines: names, parameters, outputs, and nothing of the platform."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from kfp import compiler

CODEBASES = Path(__file__).parents[3] / "examples" / "flights"
NAMES = {
    "late_arrival_training": "late-arrival-training",
    "late_arrival_prediction": "late-arrival-prediction",
    "air_time_training": "air-time-training",
    "air_time_prediction": "air-time-prediction",
    "late_risk_training": "late-risk-training",
    "late_risk_prediction": "late-risk-prediction",
    "air_time_broken": "air-time-prediction",
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize(("pipeline", "name"), NAMES.items())
def test_a_pipeline_carries_its_published_name_and_takes_dates_and_datasets(
    compiled: dict[str, Path], pipeline: str, name: str
) -> None:
    spec = load(compiled[pipeline])
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert spec["pipelineInfo"]["name"] == name
    assert {"flights", "since", "until"} <= set(parameters)
    assert all(parameter["isOptional"] for parameter in parameters.values())


@pytest.mark.parametrize("pipeline", [name for name in NAMES if not name.endswith("training")])
def test_a_prediction_pipeline_hands_out_its_predictions(
    compiled: dict[str, Path], pipeline: str
) -> None:
    outputs = load(compiled[pipeline])["root"]["outputDefinitions"]["artifacts"]
    assert list(outputs) == ["predictions"]
    assert outputs["predictions"]["artifactType"]["schemaTitle"] == "system.Dataset"


@pytest.mark.parametrize("pipeline", [name for name in NAMES if name.endswith("training")])
def test_a_training_pipeline_has_a_model_and_its_sample_rows(
    compiled: dict[str, Path], pipeline: str
) -> None:
    outputs = load(compiled[pipeline])["components"]["comp-train"]["outputDefinitions"]["artifacts"]
    assert {name: kind["artifactType"]["schemaTitle"] for name, kind in outputs.items()} == {
        "model": "system.Model",
        "samples": "system.Dataset",
    }


def test_the_packages_are_those_of_the_lock(compiled: dict[str, Path]) -> None:
    lock = (CODEBASES.parents[1] / "requirements.lock").read_text()
    for path in compiled.values():
        for executor in load(path)["deploymentSpec"]["executors"].values():
            installs = " ".join(executor.get("container", {}).get("command", [])[:3])
            for word in installs.split():
                package = word.strip("'")
                if package.startswith(("polars==", "scikit-learn==", "skops==")):
                    assert f"{package} " in lock


def test_the_codebases_import_nothing_of_the_platform() -> None:
    teams = ("punctuality", "risk", "operations", "orchestrator")
    sources = [source for team in teams for source in (CODEBASES / team).glob("*.py")]
    assert len(sources) == 11
    for source in sources:
        text = source.read_text()
        assert "import seamline" not in text and "from seamline" not in text


def test_the_aggregated_pipeline_runs_its_last_step_on_what_is_there(
    compiled: dict[str, Path], aggregate: ModuleType, tmp_path: Path
) -> None:
    for operations in ("air_time_prediction", "air_time_broken"):
        composed = aggregate.compose(
            str(compiled["late_arrival_prediction"]), str(compiled[operations])
        )
        out = tmp_path / f"{operations}.yaml"
        compiler.Compiler().compile(composed, str(out))
        spec = load(out)
        tasks = spec["root"]["dag"]["tasks"]
        assert spec["pipelineInfo"]["name"] == "flight-outlook"
        assert set(tasks) == {"late-arrival-prediction", "air-time-prediction", "combine"}
        assert all("dag" in spec["components"][f"comp-{name}"] for name in tasks if "-" in name)
        assert tasks["combine"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
        inputs = spec["components"]["comp-combine"]["inputDefinitions"]["artifacts"]
        assert {name: kind["isOptional"] for name, kind in inputs.items()} == {
            "late_arrival": True,
            "air_time": True,
        }
        assert set(spec["root"]["outputDefinitions"]["artifacts"]) == {"combined", "summary"}
