"""Batch prediction as a component: compiled by the stock SDK, submitted by its client, run here."""

# No postponed annotations here: the KFP SDK reads those of its components.
import runpy
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from kfp import dsl

from seamline.app.data.ingest_delivery import ingest_delivery
from seamline.components import batch_predict, batch_predict_with
from seamline.data.versions import find_version, read_version
from seamline.domain.errors import NotFound
from seamline.project.plan import apply_project
from seamline.register.models.catalogue import register_model_version
from seamline.train.runs import find_artifact, show_run

FELT = Path(__file__).parents[2] / "unit" / "components" / "felt_wheel.py"
PROJECT = """
project = "weather"
team = "weather"

[datasets.hours]
time = "at"
keys = ["station"]

[datasets.felt]
time = "at"
from_output = "answering.predictions"
"""
HOURS = [(f"s{n}", f"2026-01-0{n % 4 + 1}T0{n % 10}:00:00", n, n / 2) for n in range(40)]


class Outputs(NamedTuple):
    predictions: dsl.Dataset


@dsl.pipeline(name="answering")
def answering(query: str, rows: str = "datasets://hours", model: str = "models://felt") -> Outputs:
    hours = dsl.importer(artifact_uri=rows, artifact_class=dsl.Dataset, reimport=False)
    package = dsl.importer(artifact_uri=model, artifact_class=dsl.Model, reimport=False)
    given = {"rows": hours.output, "model": package.output}
    by_twin = batch_predict(**given, query=query, twin="require")
    by_model = batch_predict_with("scikit-learn", "skops")(**given, keep=["station"], twin="never")
    by_model.set_display_name("by-model")
    return Outputs(predictions=by_twin.outputs["predictions"])


@pytest.fixture(scope="module")
def weather(kitchen: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kitchen with a dataset, and a model that has a twin."""
    platform = kitchen.platform
    apply_project(platform.stores, PROJECT, "weather.toml", by="ann")
    path = tmp_path_factory.mktemp("weather") / "hours.csv"
    pl.DataFrame(HOURS, ["station", "at", "temp", "wind"], orient="row").write_csv(path)
    ingest_delivery(platform, "hours", path, source="hours.csv", by="ann")
    wheel = runpy.run_path(str(FELT))["model_wheel"]()
    register_model_version(platform.stores, wheel, key=platform.key, by="ann")
    return kitchen


def test_a_pipeline_answers_a_dataset_by_a_package(weather: Any, client: Any) -> None:
    package = str(weather.compiled(answering))
    asked = {"query": "SELECT station, at, ds, temp, wind FROM rows WHERE temp >= 10"}
    created = client.create_run_from_pipeline_package(package, arguments=asked)
    ended = created.wait_for_run_completion(timeout=60)
    stores = weather.platform.stores
    shown = show_run(stores, ended.run_id)
    assert ended.state == "SUCCEEDED", shown["sentence"]
    tasks = {task["name"]: task for task in shown["tasks"]}

    answers = {}
    for name in ("batch-predict-rows", "batch-predict-rows-2"):
        made = tasks[name]["outputs"]["artifacts"]["predictions"]
        assert made["type"] == "system.Dataset"
        found = find_artifact(stores, ended.run_id, name, "predictions")
        answers[name] = pl.read_parquet(stores.blobs.path_of(found.digest))
        assert made["metadata"]["model_version"] == "1.0.0"
        assert made["metadata"]["rows"] == answers[name].height
    by_twin, by_model = answers.values()
    assert by_twin.columns == ["station", "at", "ds", "prediction", "model", "model_version"]
    assert sorted(by_twin["prediction"]) == [n + n / 2 for n in range(10, 40)]
    assert by_model.columns == ["station", "ds", "prediction", "model", "model_version"]
    assert sorted(by_model["prediction"]) == pytest.approx([n + n / 2 for n in range(40)])

    def became() -> bool:
        try:
            return find_version(stores, "felt") is not None
        except NotFound:
            return False

    weather.wait_for(became)
    version = find_version(stores, "felt")
    assert (version.run_id, read_version(stores, version).height) == (ended.run_id, 30)
