"""Step 7: a stock client gets the wheel's own numbers from production; each answer is logged."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

DAY = date(2013, 9, 6)
FEATURES = ("carrier", "origin", "dest", "distance", "hour")


@pytest.fixture(scope="module", autouse=True)
def played(world):
    return world.play("serve")


@pytest.fixture(scope="module")
def client(world):
    made = triton.InferenceServerClient(urlsplit(world.address["serve_url"]).netloc)
    yield made
    made.close()


@pytest.fixture(scope="module")
def flights(world):
    return [row for row in world.csv(9) if int(row["day"]) == DAY.day][:200]


def inputs_of(world, flights):
    made = []
    for name, (datatype, values) in world.module.air_columns(DAY, flights).items():
        kind = {"BYTES": object, "INT64": np.int64}[datatype]
        one = triton.InferInput(name, [len(values)], datatype)
        one.set_data_from_numpy(np.array(values, dtype=kind))
        made.append(one)
    return made


def test_tritonclient_gets_what_the_wheel_says(world, client, flights, clean_python):
    answer = client.infer("air-time", inputs_of(world, flights))
    rows = [
        {name: int(row[name]) if name in ("distance", "hour") else row[name] for name in FEATURES}
        for row in flights
    ]
    program = (
        "import air_time, json, sys\n"
        "print(json.dumps([float(one) for one in air_time.load().predict(json.load(sys.stdin))]))"
    )
    done = subprocess.run(
        [clean_python, "-c", program], input=json.dumps(rows), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # The plane answers by the ONNX twin, which counts in 32 bits.
    told = json.loads(done.stdout)
    assert answer.as_numpy("prediction").tolist() == pytest.approx(told, rel=1e-5)
    assert answer.get_response()["model_version"] == "1.0.0"


def test_it_describes_itself(client):
    assert client.is_server_ready()
    assert client.is_model_ready("late-arrival")
    metadata = client.get_model_metadata("air-time")
    assert metadata["versions"] == ["1.0.0"]
    assert [one["name"] for one in metadata["inputs"]][:5] == list(FEATURES)


def test_a_request_of_the_wrong_shape_is_refused_in_words(world, client, flights):
    inputs = [one for one in inputs_of(world, flights) if one.name() != "hour"]
    with pytest.raises(InferenceServerException, match="Missing inputs: hour"):
        client.infer("air-time", inputs)
    with pytest.raises(InferenceServerException, match="Did you mean air-time"):
        client.infer("air-tme", inputs_of(world, flights))


def test_it_serves_the_live_release_by_digest(world, client, flights):
    response = client.infer("air-time", inputs_of(world, flights[:1])).get_response()
    board = {one["name"]: one for one in world.seamline("board")["environments"]}
    assert response["parameters"]["release"] == board["production"]["release"]


def test_each_answer_can_be_asked_why(world, client, flights):
    response = client.infer("air-time", inputs_of(world, flights[:2])).get_response()
    prediction = response["parameters"]["prediction_id"]
    for row in (0, 1):
        found = await_row(world, f"{prediction}:{row}")
        wheel = world.seamline("model", "show", "air-time", "--version", "1.0.0")
        assert found["model_digest"] == wheel["wheel_digest"]
        assert json.loads(found["features"])["dest"] == flights[row]["dest"]
        assert found["event_time"] == "2013-09-06"
    assert prediction in world.refusal("why", f"{prediction}:2")


def await_row(world, row_id):
    """The log is written in groups, off the path of the answer."""
    deadline = time.monotonic() + 240
    while world.ask(f"/api/v1/predictions/{row_id}/why")[0] == 404:
        assert time.monotonic() < deadline
    return world.seamline("why", row_id)["prediction"]


def test_the_serving_process_has_not_loaded_the_models_libraries(world):
    """They are in the workers, one per model; the process that answers stays small and plain."""
    status = json.loads((world.workspace / "dataplane.json").read_text())
    maps = Path(f"/proc/{status['pid']}/maps").read_text()
    assert [mark for mark in ("/sklearn/", "/google/_upb/", "/skops/") if mark in maps] == []
