"""The aggregated flow as its users write it, line by line: two pipelines go up with tags, come down
by `tag='1.0.0'`, are loaded, get a struct as `params={...}`, are compiled, published, run as one.
"""

# No postponed annotations here: the KFP SDK reads those of its components.
import json
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kfp
import pytest
from kfp import compiler, components, dsl
from kfp.registry import RegistryClient

#: A bit of everything that JSON has.
PARAMS = {
    "origin": "JFK",
    "days": [1, 2, 3],
    "share": 0.25,
    "rows": 842,
    "strict": True,
    "names": {"late": "später", "quoted": "it's {{so}}", "none": []},
}


@dsl.component(base_image="python:3.11")
def predict(params: dict, model: int) -> dict:
    return {"model": model, "params": params}


@dsl.pipeline
def ml_model_1_pipeline(params: dict) -> dict:
    return predict(params=params, model=1).output


@dsl.pipeline
def ml_model_2_pipeline(params: dict) -> dict:
    return predict(params=params, model=2).output


@pytest.fixture(scope="module")
def url(start_server: Callable[[], Any]) -> str:
    return str(start_server()[0]["url"])


@pytest.fixture
def aggregated(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The compiled file, in the working folder, as everything else that the client writes."""
    monkeypatch.chdir(tmp_path)
    client = RegistryClient(host=f"{url}/kfp/registry/default/main")
    for pipeline in (ml_model_1_pipeline, ml_model_2_pipeline):
        compiler.Compiler().compile(pipeline, "pipeline.yaml")
        client.upload_pipeline("pipeline.yaml", tags=["1.0.0", "latest"])

    client.download_pipeline("ml_model_1_pipeline", tag="1.0.0")
    client.download_pipeline("ml_model_2_pipeline", tag="1.0.0")
    ml_model_1 = components.load_component_from_file("ml_model_1_pipeline_1.0.0.yaml")
    ml_model_2 = components.load_component_from_file("ml_model_2_pipeline_1.0.0.yaml")

    @dsl.pipeline(name="aggregated")
    def aggregated_pipeline(day: int = 1):
        ml_model_1(params={**PARAMS, "day": day})
        with dsl.ParallelFor(["EWR", "JFK"]) as origin:
            ml_model_2(params={"origin": origin, "days": [1, 2], "more": {"origin": origin}})

    compiler.Compiler().compile(aggregated_pipeline, "aggregated.yaml")
    client.upload_pipeline("aggregated.yaml", tags=["1.0.0"])
    return "aggregated.yaml"


def test_it_runs_and_each_part_gets_its_struct_as_it_was_written(url: str, aggregated: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the client's, about backends before 2.0
        client = kfp.Client(host=url)
    started = client.create_run_from_pipeline_package(aggregated, arguments={"day": 7})
    ended = client.wait_for_run_completion(started.run_id, timeout=300)
    assert ended.state == "SUCCEEDED"
    with urllib.request.urlopen(f"{url}/api/v1/runs/{started.run_id}", timeout=60) as response:
        tasks = json.loads(response.read())["tasks"]
    predicted = [
        task["outputs"]["parameters"]["Output"]
        for task in tasks
        if task["name"].endswith("-pipeline/predict")
    ]
    loops = [
        {"origin": origin, "days": [1, 2], "more": {"origin": origin}} for origin in ("EWR", "JFK")
    ]
    found = sorted(predicted, key=lambda one: (one["model"], one["params"]["origin"]))
    assert found == [
        {"model": 1, "params": {**PARAMS, "day": 7}},
        *({"model": 2, "params": params} for params in loops),
    ]
    assert all(type(day) is int for one in found for day in one["params"]["days"])
