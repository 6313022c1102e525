"""The stock tritonclient, unmodified, over a real port: JSON tensors and its binary default."""

from __future__ import annotations

import http.client
import json

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

COLUMNS = {
    "bool": np.array([True, False, True]),
    "int8": np.array([-1, 0, 127], np.int8),
    "int16": np.array([-1, 0, 1], np.int16),
    "int32": np.array([-1, 0, 1], np.int32),
    "int64": np.array([-(2**63), 0, 2**63 - 1], np.int64),
    "uint8": np.array([0, 1, 255], np.uint8),
    "uint16": np.array([0, 1, 2], np.uint16),
    "uint32": np.array([0, 1, 2], np.uint32),
    "uint64": np.array([0, 1, 2**64 - 1], np.uint64),
    "fp16": np.array([0.5, 1.0, -2.0], np.float16),
    "fp32": np.array([0.1, 1.0, -2.0], np.float32),
    "fp64": np.array([0.1, 1.0, -2.0]),
    "bytes": np.array(["a", "", "Zürich"], dtype=object),
}
DATATYPES = {name: name.upper() for name in COLUMNS}


@pytest.fixture
def client(served):
    client = triton.InferenceServerClient(served)
    yield client
    client.close()


def inputs(binary):
    made = []
    for name, values in COLUMNS.items():
        one = triton.InferInput(name, [3], DATATYPES[name])
        # tritonclient itself sends no FP16 as JSON.
        one.set_data_from_numpy(values, binary_data=binary or name == "fp16")
        made.append(one)
    return made


def check(result):
    for name, values in COLUMNS.items():
        got = result.as_numpy(name)
        if name == "bytes":
            texts = [text.decode() if isinstance(text, bytes) else text for text in got]
            assert texts == values.tolist()
        else:
            assert got.dtype == values.dtype
            assert got.tolist() == values.tolist()


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.is_model_ready("echo", "1.0.0")
    assert not client.is_model_ready("nobody")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("sums")
    assert metadata["inputs"][1] == {"name": "b", "datatype": "FP64", "shape": [-1]}
    assert metadata["versions"] == ["1.0.0"]


def test_its_defaults_are_binary_both_ways(client):
    check(client.infer("echo", inputs(True)))


def test_json_both_ways(client):
    outputs = [triton.InferRequestedOutput(name, binary_data=False) for name in COLUMNS]
    check(client.infer("echo", inputs(False), outputs=outputs))


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client, algorithm):
    check(
        client.infer(
            "echo",
            inputs(True),
            request_compression_algorithm=algorithm,
            response_compression_algorithm="gzip",
        )
    )


def test_one_output_and_the_callers_id(client):
    wanted = [triton.InferRequestedOutput("fp64", binary_data=True)]
    result = client.infer("echo", inputs(True), outputs=wanted, request_id="mine")
    response = result.get_response()
    assert response["id"] == "mine"
    assert response["model_version"] == "1.0.0"
    assert [output["name"] for output in response["outputs"]] == ["fp64"]
    assert len(response["parameters"]["prediction_id"]) == 36


@pytest.mark.parametrize("binary", [True, False])
def test_a_matrix(client, binary):
    one = triton.InferInput("x", [2, 2], "FP64")
    one.set_data_from_numpy(np.array([[1.0, 2.0], [3.0, 4.0]]), binary_data=binary)
    assert client.infer("sums", [one]).as_numpy("sum").tolist() == [3.0, 7.0]


def test_errors_reach_the_caller(client):
    one = triton.InferInput("aa", [1], "FP64")
    one.set_data_from_numpy(np.array([1.0]))
    with pytest.raises(InferenceServerException, match=r"Did you mean a\?"):
        client.infer("sums", [one])
    with pytest.raises(InferenceServerException, match=r"Did you mean sums\?"):
        client.infer("sum", [one])
    with pytest.raises(InferenceServerException, match="There is no version of sums '9'"):
        client.infer("sums", [one], model_version="9")


@pytest.mark.parametrize(
    ("length", "size", "tail", "says"),
    [
        ("x", 8, b"", "Inference-Header-Content-Length is 'x'"),
        ("99999", 8, b"", "the body has"),
        (None, 8, b"", "0 bytes are left"),
        ("json", 7, b"1234567", "no whole FP64s"),
        ("json", 8, b"12345678+", "1 bytes of the body belong to no input"),
        ("json", -1, b"", "binary_data_size is -1"),
    ],
)
def test_broken_binary_bodies(client, served, length, size, tail, says):
    parameters = {"binary_data_size": size}
    one = {"name": "a", "datatype": "FP64", "shape": [1], "parameters": parameters}
    text = json.dumps({"inputs": [one]}).encode()
    headers = {"Content-Type": "application/octet-stream"}
    if length is not None:
        headers["Inference-Header-Content-Length"] = str(len(text)) if length == "json" else length
    connection = http.client.HTTPConnection(served, timeout=120)
    connection.request("POST", "/v2/models/sums/infer", text + tail, headers)
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    assert response.status == 400
    assert says in body["error"]


def test_the_repository(client):
    """Its body is empty here; MLServer refuses that."""
    found = client.get_model_repository_index()
    assert [(one["name"], one["state"]) for one in found] == [
        ("echo", "READY"),
        ("slow", "READY"),
        ("sums", "READY"),
    ]
    client.unload_model("sums")
    assert not client.is_model_ready("sums")
    assert client.is_server_ready()
    client.load_model("sums")
    assert client.is_model_ready("sums")
    with pytest.raises(InferenceServerException, match="approved release"):
        client.load_model("sums", config=json.dumps({"backend": "mine"}))
    with pytest.raises(InferenceServerException, match="approved release"):
        client.load_model("sums", config="{}", files={"file:1/model.py": b"print(1)"})
    with pytest.raises(InferenceServerException, match="There is no model 'foreign'"):
        client.load_model("foreign")


def test_another_environment_is_a_prefix_of_the_path(served):
    with triton.InferenceServerClient(f"{served}/staging") as client:
        assert [one["name"] for one in client.get_model_repository_index()] == ["sums"]
        one = triton.InferInput("x", [1, 2], "FP64")
        one.set_data_from_numpy(np.array([[1.0, 2.0]]))
        assert client.infer("sums", [one]).as_numpy("sum").tolist() == [3.0]
        with pytest.raises(InferenceServerException, match="There is no model 'echo'"):
            client.infer("echo", [one])


def test_a_timeout_is_in_microseconds(client):
    one = triton.InferInput("x", [1, 2], "FP64")
    one.set_data_from_numpy(np.array([[1.0, 2.0]]))
    assert client.infer("sums", [one], timeout=30_000_000).as_numpy("sum").tolist() == [3.0]
    with pytest.raises(InferenceServerException, match="within 1e-06 s"):
        client.infer("sums", [one], timeout=1)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_long_answers_come_compressed(client, algorithm):
    rows = 2000
    one = triton.InferInput("x", [rows, 2], "FP64")
    one.set_data_from_numpy(np.ones((rows, 2)))
    result = client.infer("sums", [one], response_compression_algorithm=algorithm)
    assert result.as_numpy("sum").tolist() == [2.0] * rows


NOT_SERVED = {
    "get_model_config": (("sums",), "the model's metadata"),
    "get_inference_statistics": ((), "/metrics"),
    "get_trace_settings": (("sums",), "OTEL_EXPORTER_OTLP_ENDPOINT"),
    "update_log_settings": (({"log_info": True},), "standard error"),
    "get_system_shared_memory_status": ((), "in binary"),
    "register_system_shared_memory": (("region", "/key", 8), "in binary"),
}


@pytest.mark.parametrize("method", sorted(NOT_SERVED))
def test_what_only_triton_has_is_refused_by_its_name(client, method):
    given, instead = NOT_SERVED[method]
    with pytest.raises(InferenceServerException, match=f"not served here.*{instead}"):
        getattr(client, method)(*given)


def test_what_would_do_something_else_to_a_tensor_is_refused(client):
    one = triton.InferInput("x", [1, 2], "FP64")
    one.set_data_from_numpy(np.array([[1.0, 2.0]]))
    with pytest.raises(InferenceServerException, match="classification is not served"):
        client.infer("sums", [one], outputs=[triton.InferRequestedOutput("sum", class_count=1)])
    shared = triton.InferRequestedOutput("sum")
    shared.set_shared_memory("region", 8)
    with pytest.raises(InferenceServerException, match=r"Output 'sum'.*in binary"):
        client.infer("sums", [one], outputs=[shared])
    one.set_shared_memory("region", 16)
    with pytest.raises(InferenceServerException, match=r"Input 'x'.*in binary"):
        client.infer("sums", [one])


def test_errors_can_be_read_by_who_asks_for_gzip(client):
    one = triton.InferInput("x", [1, 2], "FP64")
    one.set_data_from_numpy(np.array([[1.0, 2.0]]))
    with pytest.raises(InferenceServerException, match="There is no model 'é"):
        client.infer("é" * 4000, [one], response_compression_algorithm="gzip")
