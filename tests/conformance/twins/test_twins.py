"""A twin says what its model says, or there is none, and model.json says why."""

from __future__ import annotations

from typing import Any

import pytest

AGREE = {
    "logistic.skops": "columns",
    "strict.skops": "columns",
    "trees.skops": "columns",
    "line.skops": "matrix",
    "picked.skops": "columns",
    "boosted.ubj": "matrix",
    "leaves.txt": "matrix",
}


@pytest.mark.parametrize("name", AGREE)
def test_a_twin_agrees(workshop: Any, describe: Any, name: str) -> None:
    found = workshop.twin(describe(name))
    assert found["reason"] == "", found
    assert found["inputs"] == AGREE[name]
    compared = found["compared"]
    assert compared["rows"] >= 1000 and compared["edge_rows"] >= 9
    assert (compared["flips"], compared["beyond"], compared["disputed"]) == (0, 0, 0)
    assert workshop.platform.stores.blobs.holds(found["digest"])
    assert {pin.partition("==")[0] for pin in found["converters"]} >= {"onnx", "onnxruntime"}


def test_the_same_model_has_the_same_twin(workshop: Any, describe: Any) -> None:
    """So that a wheel can be built again, byte for byte."""
    for name in ("trees.skops", "boosted.ubj", "leaves.txt"):
        first, again = (workshop.twin(describe(name), f"{name}-{n}") for n in range(2))
        assert first == again


@pytest.mark.parametrize("name", ["trees.skops", "logistic.skops"])
def test_whatever_the_process_hashes_by(convert: Any, describe: Any, name: str) -> None:
    """Tasks of one zygote share that; after a kill another one goes on."""
    assert len({convert(describe(name), seed) for seed in range(4)}) == 1


def test_native_categories_convert_without_an_error_and_flip_labels(
    workshop: Any, describe: Any
) -> None:
    """Categories by number become thresholds: 4,710 of August's 28,756 labels, when this was
    written (by how much depends on what was trained on, and where the threshold lies)."""
    found = workshop.twin(describe("native.pickle", max_rows=30_000))
    assert found["digest"] is None
    assert found["compared"]["rows"] == 28_756
    assert found["compared"]["flips"] > 2000
    total = 28_756 + found["compared"]["edge_rows"]
    assert found["reason"] == f"flips {found['compared']['flips']:,} of {total:,} labels"
    assert found["converters"]


def test_edges_are_compared_and_refusals_too(workshop: Any, describe: Any) -> None:
    """A category that training had not seen is refused by the strict model and by its twin."""
    logistic, strict = describe("logistic.skops"), describe("strict.skops")
    values = {row["carrier"] for row in logistic.rows}
    assert "a category that was never seen" in values
    assert None in {row["dep_delay"] for row in logistic.rows}
    assert None not in logistic.answers
    refused = [row for row, said in zip(strict.rows, strict.answers, strict=True) if said is None]
    assert len(refused) == 3  # carrier, origin and destination


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("few.skops", "only 999 rows to compare by; 1,000 are needed"),
        ("own.cloudpickle", "it does not convert: "),
    ],
)
def test_no_twin_and_why(workshop: Any, describe: Any, name: str, reason: str) -> None:
    found = workshop.twin(describe(name))
    assert found["digest"] is None
    assert found["reason"].startswith(reason)


def test_a_model_that_is_onnx_is_its_own_twin(workshop: Any, describe: Any) -> None:
    described = describe("line.onnx")
    digest = described.described["payload_digest"]
    assert workshop.twin(described) == {"digest": digest, "reason": ""}


def test_libraries_that_no_converter_fits_beside(workshop: Any, describe: Any) -> None:
    described = describe("line.skops")
    pins = [*described.described["requirements"], "protobuf>=7"]
    found = workshop.twin(described, "newer", requirements=pins)
    assert found["digest"] is None
    assert found["reason"].startswith("the converters cannot be installed beside the model's")


def test_a_model_whose_bytes_changed_since_is_not_converted(workshop: Any, describe: Any) -> None:
    found = workshop.twin(describe("line.skops"), "other", payload_digest="sha256:" + "0" * 64)
    assert found["digest"] is None
    assert found["reason"].startswith("the conversion failed: expected sha256:000")
