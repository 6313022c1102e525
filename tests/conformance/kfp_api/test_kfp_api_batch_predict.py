"""Batch prediction as a component: compiled by the stock SDK, submitted by its client, run here."""

# No postponed annotations here: the KFP SDK reads those of its components.
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from kfp import dsl

from seamline.app.data.ingest_delivery import ingest_delivery
from seamline.app.train.resolve_uri import resolve_uri
from seamline.components import batch_predict, batch_predict_with
from seamline.data.versions import find_version, read_version
from seamline.domain.errors import InvalidInput, NotFound, Refused
from seamline.project.plan import apply_project
from seamline.register.models.catalogue import register_model_version
from seamline.train.context import RunContext
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
BY_MANY = "SELECT station, ds, temp, wind FROM rows WHERE temp < 4"
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
    make = runpy.run_path(str(FELT))["model_wheel"]
    wheels = [make(), *(of_family(make, key, scale) for key, scale in (("s1", 1.0), ("s2", 2.0)))]
    for wheel in wheels:
        register_model_version(platform.stores, wheel, key=platform.key, by="ann")
    return kitchen


def of_family(make: Any, station: str, scale: float, version: str = "1.0.0") -> bytes:
    scenario = {"station": station}
    made: bytes = make(3.5 * scale, f"breeze-{station}", version, scale, scenario)
    return made


@dsl.pipeline(name="answering-by-many")
def answering_by_many(rows: str = "datasets://hours", model: str = "models://breeze") -> Outputs:
    hours = dsl.importer(artifact_uri=rows, artifact_class=dsl.Dataset, reimport=False)
    family = dsl.importer(artifact_uri=model, artifact_class=dsl.Model, reimport=False)
    answered = batch_predict_with("scikit-learn", "skops")(
        rows=hours.output, model=family.output, query=BY_MANY, default="breeze-s1"
    )
    return Outputs(predictions=answered.outputs["predictions"])


def test_a_pipeline_answers_a_dataset_by_a_package(weather: Any, client: Any) -> None:
    package = str(weather.compiled(answering))
    asked = {"query": "SELECT station, at, ds, temp, wind FROM rows WHERE temp >= 10"}
    created = client.create_run_from_pipeline_package(package, arguments=asked)
    ended = created.wait_for_run_completion(timeout=300)
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


def test_a_pipeline_answers_a_dataset_by_a_family(weather: Any, client: Any) -> None:
    package = str(weather.compiled(answering_by_many))
    created = client.create_run_from_pipeline_package(package, arguments={})
    ended = created.wait_for_run_completion(timeout=300)
    stores = weather.platform.stores
    shown = show_run(stores, ended.run_id)
    assert ended.state == "SUCCEEDED", shown["sentence"]
    found = find_artifact(stores, ended.run_id, "batch-predict-rows", "predictions")
    answered = pl.read_parquet(stores.blobs.path_of(found.digest)).sort("station")
    assert answered["station"].to_list() == ["s0", "s1", "s2", "s3"]
    assert answered["prediction"].to_list() == pytest.approx([0.0, 1.5, 6.0, 4.5])
    assert answered["model"].to_list() == ["breeze-s1", "breeze-s1", "breeze-s2", "breeze-s1"]

    # What was imported stays what it was, whatever is trained since.
    (imported,) = [
        one
        for task in shown["tasks"]
        for one in task["outputs"]["artifacts"].values()
        if one["uri"].startswith("models://breeze@sha256:")
    ]
    make = runpy.run_path(str(FELT))["model_wheel"]
    register_model_version(
        stores, of_family(make, "s2", 2.0, "1.0.1"), key=weather.platform.key, by="ann"
    )
    context = RunContext("run", "dataops", "answering-by-many", "ann", "task")
    again = resolve_uri(stores, imported["uri"], context)
    newest = resolve_uri(stores, "models://breeze", context)
    assert (again.uri, again.metadata["n_models"]) == (imported["uri"], 2)
    assert newest.digest != again.digest
    assert sorted(one.name for one in again.path.glob("*.whl")) == [
        "breeze_s1-1.0.0-py3-none-any.whl",
        "breeze_s2-1.0.0-py3-none-any.whl",
    ]
    with pytest.raises(InvalidInput, match="a family has no version of its own"):
        resolve_uri(stores, "models://breeze@1.0.0", context)
    with pytest.raises(Refused, match="No model of breeze is live in production"):
        resolve_uri(stores, "models://breeze@production", context)
    elsewhere = replace(context, environment="production")
    with pytest.raises(Refused, match="no release is live that holds breeze-s1 1"):
        resolve_uri(stores, imported["uri"], elsewhere)
