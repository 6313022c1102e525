"""Requests of the wrong shape to the data plane: one sentence each, and it goes on answering."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

MODEL = "/development/v2/models/ice-cream"
JSON = {"Content-Type": "application/json"}


def tensor(name: str, datatype: str, data: Any, shape: Any = None) -> dict[str, Any]:
    shape = [len(data)] if shape is None else shape
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


TEMPERATURE = tensor("temperature", "FP64", [20.0])
WEEKEND = tensor("weekend", "INT64", [0])
GOOD = {"inputs": [TEMPERATURE, WEEKEND]}

SHAPES: dict[str, Any] = {
    "nothing": b"",
    "half": b'{"inputs": [',
    "binary": bytes(range(256)),
    "deep": b"[" * 100_000,
    "null": None,
    "list": [],
    "text": "hello",
    "no inputs": {},
    "inputs null": {"inputs": None},
    "inputs empty": {"inputs": []},
    "inputs object": {"inputs": {"temperature": [1.0]}},
    "inputs of numbers": {"inputs": [1, 2]},
    "one missing": {"inputs": [TEMPERATURE]},
    "one twice": {"inputs": [TEMPERATURE, TEMPERATURE, WEEKEND]},
    "one too many": {"inputs": [TEMPERATURE, WEEKEND, tensor("rain", "FP64", [0.0])]},
    "mistyped": {"inputs": [tensor("temprature", "FP64", [20.0]), WEEKEND]},
    "text for a number": {"inputs": [tensor("temperature", "BYTES", ["warm"]), WEEKEND]},
    "text in a number": {"inputs": [tensor("temperature", "FP64", ["warm"]), WEEKEND]},
    "fraction in an integer": {"inputs": [TEMPERATURE, tensor("weekend", "INT64", [0.5])]},
    "integer too big": {"inputs": [TEMPERATURE, tensor("weekend", "INT64", [1 << 70])]},
    "no such datatype": {"inputs": [tensor("temperature", "FP65", [20.0]), WEEKEND]},
    "shape too long": {"inputs": [tensor("temperature", "FP64", [20.0], [2]), WEEKEND]},
    "shape negative": {"inputs": [tensor("temperature", "FP64", [20.0], [-1]), WEEKEND]},
    "shape huge": {"inputs": [tensor("temperature", "FP64", [20.0], [1 << 62]), WEEKEND]},
    "shape of text": {"inputs": [tensor("temperature", "FP64", [20.0], ["1"]), WEEKEND]},
    "no shape": {"inputs": [{"name": "temperature", "datatype": "FP64", "data": [1.0]}, WEEKEND]},
    "no data": {"inputs": [{"name": "temperature", "datatype": "FP64", "shape": [1]}, WEEKEND]},
    "rows differ": {"inputs": [tensor("temperature", "FP64", [1.0, 2.0]), WEEKEND]},
    "no rows": {"inputs": [tensor("temperature", "FP64", []), tensor("weekend", "INT64", [])]},
    "null in it": {"inputs": [tensor("temperature", "FP64", [None]), WEEKEND]},
    "output unknown": {**GOOD, "outputs": [{"name": "soldd"}]},
    "id is a list": {**GOOD, "id": [1]},
    "parameters is text": {**GOOD, "parameters": "x"},
}


@pytest.fixture
def infer(kiosk: Any, send: Callable[..., Any]) -> Callable[..., Any]:
    def ask(body: Any, path: str = MODEL + "/infer", headers: dict[str, str] = JSON) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return send(kiosk.serve_url, "POST", path, data, headers)

    return ask


def test_bad_input_requests_of_the_wrong_shape(infer: Callable[..., Any]) -> None:
    assert infer(GOOD).status == 200
    for name, body in SHAPES.items():
        answer = infer(body)
        assert answer.status == 400, (name, answer)
        assert list(answer.json) == ["error"], (name, answer)
        assert 10 < len(answer.json["error"]) < 400, (name, answer)
    assert infer(GOOD).status == 200


SENTENCES = {
    "one missing": "weekend",
    "mistyped": "temperature",
    "text in a number": "temperature",
    "rows differ": "weekend",
    "no such datatype": "FP65",
    "output unknown": "soldd",
}


@pytest.mark.parametrize("name", SENTENCES)
def test_bad_input_the_sentence_names_what_is_wrong(infer: Callable[..., Any], name: str) -> None:
    assert SENTENCES[name] in infer(SHAPES[name]).json["error"]


PATHS = {
    "/development/v2/models/ice-crem/infer": (404, "Did you mean ice-cream?"),
    "/developmet/v2/models/ice-cream/infer": (404, "developmet"),
    "/v2/models/ice-cream/infer": (404, "production"),
    MODEL + "/versions/9.9.9/infer": (404, "9.9.9"),
    MODEL + "/infr": (404, ""),
    "/development/v2/models/..%2f..%2fetc/infer": (404, ""),
    "/development/v2/models/%00/infer": (404, ""),
    "/": (404, ""),
}


@pytest.mark.parametrize("path", PATHS)
def test_bad_input_paths_where_nothing_is(infer: Callable[..., Any], path: str) -> None:
    answer = infer(GOOD, path)
    status, sentence = PATHS[path]
    assert answer.status == status, answer
    assert sentence in answer.json["error"]


def test_bad_input_headers_and_methods(
    kiosk: Any, send: Callable[..., Any], infer: Callable[..., Any]
) -> None:
    assert send(kiosk.serve_url, "GET", MODEL + "/infer").status == 405
    assert infer(GOOD, headers={**JSON, "Content-Encoding": "gzip"}).status == 400
    assert infer(GOOD, headers={**JSON, "Content-Encoding": "br"}).status == 400
    for length in ("-1", "x", "99999999"):
        headers = {**JSON, "Inference-Header-Content-Length": length}
        assert infer(GOOD, headers=headers).status == 400, length
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        assert infer(GOOD, headers={**JSON, **headers}).status == 403
    assert infer(b" " * (17 << 20)).status == 413


FEEDBACK = (
    b"",
    b"[",
    None,
    [],
    {},
    {"id": 1},
    {"id": "nope"},
    {"feedback": "x"},
    {"feedback": []},
    {"feedback": [{"truth": 1}]},
    {"feedback": [1]},
)


@pytest.mark.parametrize("body", FEEDBACK, ids=range(len(FEEDBACK)))
def test_bad_input_feedback_of_the_wrong_shape(infer: Callable[..., Any], body: Any) -> None:
    for path in ("/development/v2/feedback", "/v2/feedback", MODEL + "/feedback"):
        answer = infer(body, path)
        assert 400 <= answer.status < 500, answer
        assert answer.json["error"]
