"""Clients whose dependencies are not ours, each in its own environment and process; and curl."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import jsonschema
import pytest

HERE = Path(__file__).parent
#: What the protocol says of each answer, in our words.
TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"pattern": "^(BOOL|U?INT(8|16|32|64)|FP(16|32|64)|BYTES)$"},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
    "additionalProperties": False,
}
COLUMN = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {"shape": {"type": "array", "items": {"type": "integer"}}},
}
TEXTS = {"type": "array", "items": {"type": "string"}}
SAYS = {
    "/v2": {
        "required": ["name", "version", "extensions"],
        "properties": {"extensions": TEXTS},
    },
    "/v2/health/live": {"required": ["live"], "properties": {"live": {"type": "boolean"}}},
    "/v2/health/ready": {"required": ["ready"], "properties": {"ready": {"type": "boolean"}}},
    "/v2/models/sums": {
        "required": ["name", "platform", "inputs", "outputs"],
        "properties": {
            "versions": TEXTS,
            "inputs": {"type": "array", "items": COLUMN},
            "outputs": {"type": "array", "items": COLUMN},
        },
    },
    "/v2/models/sums/ready": {
        "required": ["name", "ready"],
        "properties": {"ready": {"const": True}},
    },
}
INFERRED = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "outputs": {"type": "array", "items": TENSOR},
    },
    "additionalProperties": False,
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "minLength": 5}},
    "additionalProperties": False,
}
PAIR = {
    "inputs": [
        {"name": "a", "shape": [2], "datatype": "FP64", "data": [1.5, 2]},
        {"name": "b", "shape": [2], "datatype": "FP64", "data": [1, 2]},
    ]
}


def run(command):
    ended = subprocess.run([str(one) for one in command], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_kserves_clients_over_http_and_grpc(plane, environment):
    python = environment("kserve")
    program = HERE / "client_kserve.py"
    said = run([python, "-W", "ignore", program, f"http://{plane.http}", plane.grpc])
    assert said.splitlines()[-1] == "all of it"


def test_mlservers_types_read_our_answers(plane, environment):
    python = environment("httpx", "mlserver", "pandas")
    program = HERE / "client_mlserver.py"
    said = run([python, "-W", "ignore", program, f"http://{plane.http}"])
    assert said.splitlines()[-1] == "all of it"


@pytest.fixture
def curl(plane):
    """curl(path, *options) → (status, headers, body)."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")

    def ask(path, *options, data=None):
        ended = subprocess.run(
            ["curl", "-s", "-i", "--max-time", "60", f"http://{plane.http}{path}", *options],
            input=data,
            capture_output=True,
            check=True,
        )
        head, _, body = ended.stdout.partition(b"\r\n\r\n")
        while head.split()[1] == b"100":
            head, _, body = body.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, body

    return ask


@pytest.mark.parametrize("path", sorted(SAYS))
def test_curl_every_get(curl, path):
    for where in ("", "/staging"):
        status, headers, body = curl(where + path)
        assert (status, headers["content-type"]) == (200, "application/json")
        jsonschema.validate(json.loads(body), {"type": "object", **SAYS[path]})
    versioned = path.replace("/sums", "/sums/versions/1.0.0")
    assert curl(versioned)[0] == 200
    status, headers, body = curl(path, "-I")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 2


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream", "text/plain"])
def test_without_the_header_a_body_is_json_whatever_its_type(curl, kind):
    for body in (PAIR, nested(PAIR)):
        options = ("--data-binary", "@-", "-H", f"Content-Type: {kind}")
        status, _, text = curl("/v2/models/sums/infer", *options, data=json.dumps(body).encode())
        reply = json.loads(text)
        jsonschema.validate(reply, INFERRED)
        assert (status, reply["outputs"][0]["data"]) == (200, [2.5, 4.0])


def nested(body):
    inputs = [
        {**one, "shape": [2, 1], "data": [[value] for value in one["data"]]}
        for one in body["inputs"]
    ]
    return {"inputs": inputs}


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_both_ways(curl, encoding):
    """Only long answers are worth it."""
    rows = 2000
    inputs = [{"name": "m", "shape": [rows, 2], "datatype": "FP64", "data": [1.0] * rows * 2}]
    body = json.dumps({"inputs": inputs}).encode()
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    options = ("--data-binary", "@-", "-H", f"Content-Encoding: {encoding}")
    options += ("-H", f"Accept-Encoding: {encoding}")
    status, headers, text = curl("/v2/models/sums/infer", *options, data=packed)
    assert (status, headers["content-encoding"]) == (200, encoding)
    assert int(headers["content-length"]) == len(text) < 2000
    assert json.loads(zlib.decompress(text, 47))["outputs"][0]["data"] == [2.0] * rows


def test_a_short_answer_is_packed_for_who_asks_for_nothing_else(curl):
    """Who lists what it can read gets it as it is. Errors are never packed."""
    data = json.dumps(PAIR).encode()

    def ask(accepted, path="/v2/models/sums/infer"):
        options = ("--data-binary", "@-", "-H", f"Accept-Encoding: {accepted}")
        _, headers, text = curl(path, *options, data=data)
        packed = headers.get("content-encoding")
        return packed, json.loads(zlib.decompress(text, 47) if packed else text)

    for encoding in ("gzip", "deflate"):
        packed, reply = ask(encoding)
        assert (packed, reply["outputs"][0]["data"]) == (encoding, [2.5, 4.0])
        assert ask(encoding, f"/v2/models/{'x' * 9000}/infer")[0] is None
    assert ask("gzip, deflate")[0] is None


def test_curl_that_asks_for_http2_is_answered_in_what_is_spoken(curl):
    """As clients of Java do by default."""
    status, _, text = curl(
        "/v2/models/sums/infer", "--http2", "--data-binary", "@-", data=json.dumps(PAIR).encode()
    )
    assert (status, json.loads(text)["outputs"][0]["data"]) == (200, [2.5, 4.0])


def test_what_a_client_has_none_of_may_be_null(plane):
    """Pydantic's models write it so."""
    inputs = [{**one, "parameters": None} for one in PAIR["inputs"]]
    outputs = [{"name": "sum", "parameters": None}]
    for more in ({"outputs": None}, {"outputs": outputs}):
        body = {"id": None, "parameters": None, "inputs": inputs, **more}
        status, reply, _ = plane.ask("POST", "/v2/models/sums/infer", body)
        assert (status, reply["outputs"][0]["data"]) == (200, [2.5, 4.0])
    assert plane.ask("POST", "/v2/repository/index", {"ready": None})[0] == 200
    assert plane.ask("POST", "/v2/repository/index", b"null")[0] == 200
    load = "/v2/repository/models/sums/load"
    assert plane.ask("POST", load, {"parameters": None})[1]["state"] == "READY"


def test_a_body_that_is_all_of_the_one_input(plane):
    """Without any JSON: the answer is binary."""
    whole = {"Inference_Header_Content_Length": "0"}
    status, data, headers = plane.ask("POST", "/v2/models/slow/infer", b"a text", **whole)
    length = int(headers["inference-header-content-length"])
    output = json.loads(data[:length])["outputs"][0]
    assert (status, output["shape"], data[length:]) == (200, [1], b"\0")
    assert output["parameters"] == {"binary_data_size": 1}
    for path, body, says in (
        ("slow", b"\xff", "not UTF-8"),
        ("sums", b"12345678", "This model takes 2: a, b."),
    ):
        status, error, _ = plane.ask("POST", f"/v2/models/{path}/infer", body, **whole)
        assert (status, says in error["error"]) == (400, True)


def test_bf16_is_taken_where_fp32_would_be(curl):
    """1.5 and -2 in two bytes each, to columns of FP64."""
    named = [
        {"name": name, "shape": [2], "datatype": "BF16", "parameters": {"binary_data_size": 4}}
        for name in "ab"
    ]
    text = json.dumps({"inputs": named}).encode()
    data = text + struct.pack("<4H", 0x3FC0, 0xC000, 0x3FC0, 0xC000)
    options = ("--data-binary", "@-", "-H", f"Inference-Header-Content-Length: {len(text)}")
    status, _, body = curl("/v2/models/sums/infer", *options, data=data)
    assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [3.0, -4.0])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", b"", 404),
        ("GET", "/v3", b"", 404),
        ("GET", "/v2/models", b"", 404),
        ("GET", "/v2/models/nobody", b"", 404),
        ("GET", "/v2/models/sums/versions/9/ready", b"", 404),
        ("GET", "/v2/models/sums/stats", b"", 404),
        ("POST", "/v2/models/sums/versions/9/infer", b"{}", 404),
        ("POST", "/stagin/v2/models/sums/infer", b"{}", 404),
        ("GET", "/v2/models/sums/infer", b"", 405),
        ("DELETE", "/v2/models/sums", b"", 405),
        ("POST", "/v2/health/live", b"", 405),
        ("POST", "/metrics", b"", 405),
        ("POST", "/snapshots/production", b"", 405),
        ("GET", "/v2/repository/index", b"", 405),
        ("POST", "/v2/repository/index", b"[]", 400),
        ("POST", "/v2/repository/models/nobody/load", b"", 404),
        ("POST", "/v2/models/sums/infer", b"", 400),
        ("POST", "/v2/models/sums/infer", b"{}", 400),
        ("POST", "/v2/models/sums/infer", b"\xff", 400),
        ("POST", "/v2/models/sums/predict", b"3", 400),
        ("POST", "/v2/feedback", b"{}", 400),
        ("POST", "/v2/feedback", b"[" * 100_000, 400),
        ("GET", "/snapshots/production?version=x", b"", 400),
    ],
)
def test_every_error_is_an_object(plane, method, path, body, status):
    found, error, headers = plane.ask(method, path, body)
    assert (found, headers["content-type"]) == (status, "application/json")
    jsonschema.validate(error, ERROR)
    assert ("allow" in headers) == (status == 405)
