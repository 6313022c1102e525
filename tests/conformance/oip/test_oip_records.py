"""Rows as plain records, and the OpenAPI document that describes them: used as it is written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest

PREDICT = "/v2/models/sums/predict"


def test_rows_by_name(plane):
    rows = [{"b": 2, "a": 1.5}, {"a": 1, "b": None}, {"a": 3}]
    status, answer, _ = plane.ask("POST", PREDICT, rows)
    assert status == 200
    assert (answer["model_name"], answer["model_version"]) == ("sums", "1.0.0")
    assert [row["outputs"]["sum"] for row in answer["rows"]] == [3.5, None, None]
    first = answer["prediction_id"]
    assert [row["prediction_id"] for row in answer["rows"]] == [f"{first}:{at}" for at in range(3)]


def test_one_record_and_the_callers_id(plane):
    status, answer, _ = plane.ask("POST", PREDICT, {"a": 1, "b": 2})
    assert (status, answer["rows"][0]["outputs"]) == (200, {"sum": 3.0})
    status, answer, _ = plane.ask("POST", PREDICT, {"rows": [{"a": 1, "b": 2}], "id": "mine"})
    assert (status, answer["id"]) == (200, "mine")
    status, answer, _ = plane.ask("POST", f"/staging{PREDICT}", [{"a": 1, "b": 2}])
    assert status == 200
    versioned = "/v2/models/sums/versions/1.0.0/predict"
    assert plane.ask("POST", versioned, [{"a": 1, "b": 2}])[0] == 200


def test_every_datatype(plane):
    numbers = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    row = dict.fromkeys(numbers, 7)
    row |= {"bool": True, "fp16": 0.5, "fp32": 0.25, "fp64": 1e300, "bytes": "Zürich"}
    status, answer, _ = plane.ask("POST", "/v2/models/echo/predict", [row, row])
    assert status == 200
    assert [one["outputs"] for one in answer["rows"]] == [row, row]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([{"a": 1, "bb": 2}], "Row 0: there is no input 'bb'. Did you mean b?"),
        ([{"a": 1}, {"b": 2}], "Row 1: 'a' is missing"),
        ([{"a": None}], "Row 0: 'a' is null"),
        ([{"a": 1}, {"a": "1"}], "Row 1: 'a' takes FP64; it is text '1'"),
        ([{"a": True}], "it is a boolean True"),
        ([{"a": [1]}], "it is a list [1]"),
        ([{"a": 1}, 3], "Row 1 is no record but a number"),
        ([{"a": 10**400}], "beyond FP64"),
        ([], "no rows"),
        ({"rows": []}, "no rows"),
        ({"rows": {"a": 1}}, "rows is an object"),
        ({"rows": [{"a": 1}], "idd": "x"}, "'idd' stands beside rows"),
        ({"rows": [{"a": 1}], "id": 3}, "id is a number"),
        ({}, "Row 0: 'a' is missing"),
        ("text", "The request is text"),
    ],
)
def test_what_is_wrong_is_named(plane, body, says):
    status, error, _ = plane.ask("POST", PREDICT, json.dumps(body).encode())
    assert status == 400
    assert says in error["error"]


def test_too_many(plane):
    body = json.dumps([{"a": 1}] * 65_537).encode()
    status, error, _ = plane.ask("POST", PREDICT, body)
    assert (status, "65536 are answered at once" in error["error"]) == (413, True)


@pytest.mark.parametrize("environment", ["", "/staging"])
def test_each_example_of_the_document_works_and_fits_its_schema(plane, environment):
    status, document, _ = plane.ask("GET", f"{environment}/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    names = {"sums"} if environment else {"sums", "echo", "slow"}
    posts = {path: ways["post"] for path, ways in document["paths"].items() if "post" in ways}
    assert {f"{environment}/v2/models/{name}/predict" for name in names} <= set(posts)
    for path, operation in posts.items():
        content = operation["requestBody"]["content"]["application/json"]
        jsonschema.validate(content["example"], content["schema"])
        status, answer, _ = plane.ask("POST", path, content["example"])
        assert status == 200, (path, answer)
        shape = operation["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(answer, shape)
    for path, ways in document["paths"].items():
        if "get" in ways:
            assert plane.ask("GET", path)[0] == 200, path


def test_where_nothing_is_served_the_document_has_no_models(plane):
    _, document, _ = plane.ask("GET", "/nowhere/openapi.json")
    assert [path for path in document["paths"] if "/models/" in path] == []


def test_schemathesis_finds_no_server_error(plane, environment, soak, tmp_path):
    """A sample here, more of it under soak."""
    tool = environment("schemathesis").with_name("schemathesis")
    checks = "not_a_server_error,response_schema_conformance,content_type_conformance"
    command = [tool, "run", f"http://{plane.http}/openapi.json", "--checks", checks]
    command += ["--max-examples", "1000" if soak else "10", "--no-color", "--continue-on-failure"]
    command += [] if soak else ["--seed", "1", "--phases", "examples,coverage,fuzzing"]
    ended = subprocess.run(
        [str(one) for one in command], capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
    assert "No issues found" in ended.stdout or "passed" in ended.stdout, ended.stdout[-3000:]
    assert not Path(plane.root / "plane.log").read_text().count("broke.")
