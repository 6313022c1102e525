"""What a twin is compared by, when there is one, and what is said of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import skops.io

from seamline.domain.errors import InvalidInput
from seamline.register.models import loading, package_task
from seamline.register.models.documents import (
    check_model_document,
    packaging_task,
    payload_files,
)
from seamline.register.models.twin_rows import UNSEEN, answers, edge_rows, is_fitting
from seamline.register.models.twin_task import compare
from seamline.register.models.twins import check_plan, decide_twin, say_twin, why_none

COMPARED: dict[str, Any] = {
    "rows": 1999,
    "edge_rows": 1,
    "flips": 0,
    "beyond": 0,
    "disputed": 0,
    "max_delta": 1e-7,
    "tolerance": 1e-3,
}
DIGEST = "sha256:" + "c" * 64


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({}, ""),
        ({"flips": 2}, ""),  # 99.9 % of 2,000
        ({"flips": 3}, "flips 3 of 2,000 labels"),
        (
            {"beyond": 1, "max_delta": 0.25},
            "differs by more than 0.001 in 1 of 2,000 rows, by up to 0.25",
        ),
        ({"beyond": 7, "max_delta": None}, "differs by more than 0.001 in 7 of 2,000 rows"),
        ({"disputed": 1}, "only one of the two answers 1 of 2,000 rows"),
        ({"rows": 999}, "only 999 rows to compare by; 1,000 are needed"),
    ],
)
def test_when_there_is_a_twin(found: dict[str, Any], reason: str) -> None:
    assert decide_twin({**COMPARED, **found}) == reason


def test_what_is_not_tried() -> None:
    assert why_none("skops", 1000) == ""
    assert why_none("torch-state", 5000) == "a torch-state model has no converter"


def test_values_that_are_no_numbers_are_answers_too() -> None:
    nan, infinite = float("nan"), float("inf")
    assert compare([nan, 1.0], [nan, 1.0], None)["beyond"] == 0
    found = compare([nan, 1.0, 2.0], [1.0, infinite, 2.0], None)
    assert (found["beyond"], found["max_delta"]) == (2, None)
    json.dumps(found, allow_nan=False)


def test_a_regression_is_compared_by_what_its_predictions_span() -> None:
    """Whatever the unit is, and wherever its zero lies."""
    for zero in (0.0, 300.0):
        expected = [zero, zero + 50.0, zero + 100.0]
        said = [expected[0], expected[1] + 0.2, expected[2] + 0.05]
        found = compare(expected, said, None)
        assert (found["tolerance"], found["beyond"], found["flips"]) == (0.1, 1, 0)
    assert compare([5e6, 5e6], [5e6, 5e6 + 2], None)["beyond"] == 0  # in 32 bits it is the same


def test_edges_column_by_column() -> None:
    inputs = [
        {"name": "carrier", "datatype": "BYTES", "nullable": True},
        {"name": "hour", "datatype": "INT64", "nullable": False},
        {"name": "wind", "datatype": "FP64", "nullable": True},
        {"name": "is_weekend", "datatype": "BOOL", "nullable": False},
    ]
    rows = [
        {"carrier": "UA", "hour": 5, "wind": 1.5, "is_weekend": False},
        {"carrier": "AA", "hour": 22, "wind": None, "is_weekend": True},
        {"carrier": None, "hour": 9, "wind": -2.0, "is_weekend": True},
    ]
    found = edge_rows(rows, inputs)
    changed = [next((k, v) for k, v in row.items() if row[k] != rows[1][k]) if row != rows[1]
               else None for row in found]  # fmt: skip
    assert [one for one in changed if one and one[0] == "carrier"] == [
        ("carrier", "UA"),
        ("carrier", None),
        ("carrier", UNSEEN),
    ]
    assert [row["hour"] for row in found if row["hour"] != 22] == [5, 23]
    assert [row["wind"] for row in found[6:10]] == [None, -2.0, 1.5, None]
    assert found[-2]["is_weekend"] is False
    assert not is_fitting({**rows[0], "hour": 5.5}, inputs)
    assert not is_fitting({**rows[0], "hour": True}, inputs)


def test_a_row_that_is_refused_is_no_answer() -> None:
    class Picky:
        def outputs(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
            if any(row["x"] < 0 for row in rows):
                raise ValueError("negative")
            return {"prediction": pl.Series([row["x"] * 2 for row in rows]).to_numpy()}

    assert answers(Picky(), [{"x": 1.0}, {"x": -1.0}, {"x": 3.0}]) == [2.0, None, 6.0]


def test_the_packaging_task_writes_what_to_compare_by(classifier: Any, tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(skops.io.dumps(classifier.estimator))
    rows = [*classifier.rows, *({**row, "hour": None} for row in classifier.rows)]
    (tmp_path / "samples").write_text("".join(json.dumps(row) + "\n" for row in classifier.rows))
    (tmp_path / "rows").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, payload = packaging_task(
        tmp_path / "model.skops",
        tmp_path / "samples",
        requirements=["scikit-learn"],
        check=check_plan(tmp_path / "check.json", tmp_path / "rows"),
    )
    described = package_task.main(payload)
    check = json.loads((tmp_path / "check.json").read_text())
    # The hour is never missing in the sample rows, so the signature refuses the others.
    assert described["check_rows"] == len(check["rows"]) == 2 * len(classifier.rows)
    assert len(check["answers"]) == len(check["rows"]) + len(check["edge_rows"])
    assert check["answers"][: len(classifier.rows)] == described["samples"]["outputs"]["score"]
    # OrdinalEncoder() refuses a carrier that it has not seen.
    unseen = [row["carrier"] for row in check["edge_rows"]].index(UNSEEN)
    assert check["answers"][len(check["rows"]) + unseen] is None


def test_model_json_names_the_twin(classifier: Any, spec_of: Any) -> None:
    document = dict(spec_of(classifier, "late-arrival").document)
    payload = {"late_arrival/payload/model.skops": document["payload_digest"]}
    assert payload_files(document) == payload
    document["twin"] = {"digest": DIGEST, "reason": "", "compared": COMPARED}
    check_model_document(document)
    assert payload_files(document) == {**payload, "late_arrival/payload/twin.onnx": DIGEST}
    assert say_twin(document) == (
        f"agrees on 2,000 rows: 0 labels differ, scores by 1e-07 at most ({DIGEST})"
    )
    itself = {**document, "twin": {"digest": document["payload_digest"], "reason": ""}}
    assert payload_files(itself) == payload
    with pytest.raises(InvalidInput):
        check_model_document({**document, "twin": {"digest": "sha256:1", "reason": ""}})


def test_a_wheel_without_a_twin_says_why(classifier: Any, spec_of: Any, tmp_path: Path) -> None:
    document = dict(spec_of(classifier, "late-arrival").document)
    package = tmp_path / "late_arrival_twinless"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for twin, why in (
        ({}, "it was packaged before there were any"),
        ({"twin": {"digest": None, "reason": "flips 3 of 2,000 labels"}}, "flips 3 of 2,000"),
    ):
        (package / "model.json").write_text(json.dumps({**document, **twin}))
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(tmp_path)
            with pytest.raises(LookupError, match=why):
                loading.load_twin("late_arrival_twinless")


def test_a_twin_without_its_runtime_says_what_to_install(
    classifier: Any, spec_of: Any, tmp_path: Path
) -> None:
    document = dict(spec_of(classifier, "late-arrival").document)
    package = tmp_path / "late_arrival_without_runtime"
    package.mkdir()
    (package / "__init__.py").write_text("")
    twin = {"twin": {"digest": DIGEST, "reason": "", "compared": COMPARED}}
    (package / "model.json").write_text(json.dumps({**document, **twin}))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        patch.setitem(sys.modules, "onnxruntime", None)  # as Python says that there is none
        with pytest.raises(ImportError, match=r"ONNX twin of late-arrival needs onnxruntime"):
            loading.load_twin("late_arrival_without_runtime")
