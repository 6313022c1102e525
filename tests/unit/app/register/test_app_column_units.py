"""Units of columns: declared of a dataset or a model, told by model.json, shown and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from seamline.app.declarations import Declarations, ModelDeclaration
from seamline.app.register.column_units import Measured, decide_units, with_units
from seamline.app.register.compare_models import differences
from seamline.cli.model_text import say_diff, say_model
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.domain.errors import InvalidInput
from seamline.project.file import read_project_file
from seamline.register.models.documents import DatasetVersionRef
from seamline.store.stores import Stores

PROJECT = """
project = "p"
team = "t"

[datasets.flights]
time = "day"
keys = ["day"]
units = { distance = "mi" }

[models.delay]
pipeline = "train"
output = "train.model"
samples = "train.samples"

[models.delay.units]
prediction = "min"
"""
SIGNATURE = {
    "inputs": [
        {"name": "distance", "datatype": "FP64", "nullable": False},
        {"name": "hour", "datatype": "INT64", "nullable": True},
    ],
    "outputs": [{"name": "prediction", "datatype": "FP64"}],
}
FLIGHTS = Measured(["day", "distance"], {"distance": "mi", "hour": "h"})


def test_declared_in_the_project_file() -> None:
    declared = read_project_file(PROJECT).declarations
    assert declared.datasets["flights"].units == {"distance": "mi"}
    assert declared.models["delay"].units == {"prediction": "min"}


@pytest.mark.parametrize("unit", ["a\\nb", " mi", "m" * 33])
def test_a_unit_that_cannot_be_printed_is_refused_with_its_line(unit: str) -> None:
    with pytest.raises(InvalidInput, match=r"seamline\.toml:5: .* cannot be the unit of distance"):
        read_project_file(PROJECT.replace('"mi"', f'"{unit}"'))
    with pytest.raises(InvalidInput, match=r"seamline\.toml:10: .* cannot be the unit of predicti"):
        read_project_file(PROJECT.replace('"min"', f'"{unit}"'))


def test_the_declaration_is_kept_and_old_ones_keep_their_spelling() -> None:
    with_units = DatasetDeclaration("flights", time="day", units={"distance": "mi"})
    assert DatasetDeclaration.from_json(with_units.to_json()) == with_units
    assert "units" not in DatasetDeclaration("flights", time="day").to_json()


def decided(own: Mapping[str, str], *datasets: Measured) -> dict[str, str]:
    return decide_units("delay", ["distance", "hour"], ["prediction"], own, datasets)


def test_a_dataset_speaks_for_its_own_columns() -> None:
    """`hour` has a unit there, and is no column of the version that was read."""
    assert decided({}, FLIGHTS) == {"distance": "mi"}


def test_datasets_that_differ_say_nothing() -> None:
    assert decided({}, FLIGHTS, Measured(["distance"], {"distance": "km"})) == {}
    assert decided({}, FLIGHTS, Measured(["distance"], {})) == {"distance": "mi"}


def test_the_model_goes_first_and_can_say_none() -> None:
    assert decided({"distance": "km", "prediction": "min"}, FLIGHTS) == {
        "distance": "km",
        "prediction": "min",
    }
    assert decided({"distance": ""}, FLIGHTS) == {}


def test_a_mistyped_column_is_named() -> None:
    with pytest.raises(InvalidInput, match="Did you mean distance"):
        decided({"distanse": "km"}, FLIGHTS)


@pytest.fixture
def flights(sqlite_stores: Stores, tmp_path: Path) -> Callable[[DatasetDeclaration], str]:
    def deliver(declaration: DatasetDeclaration) -> str:
        path = tmp_path / "flights.csv"
        path.write_text("day,distance\n2013-01-01,200\n")
        ingest(sqlite_stores, declaration, path, source="flights.csv", by="ana")
        return declaration.name

    return deliver


def test_the_signature_says_what_the_training_data_say(
    sqlite_stores: Stores, flights: Callable[[DatasetDeclaration], str]
) -> None:
    declared = read_project_file(PROJECT).declarations
    flights(declared.datasets["flights"])
    read = [DatasetVersionRef("flights", 1, "sha256:" + "a" * 64)]
    found = with_units(sqlite_stores, declared, declared.models["delay"], read, SIGNATURE)
    assert [one.get("unit") for one in found["inputs"]] == ["mi", None]
    assert found["outputs"] == [{"name": "prediction", "datatype": "FP64", "unit": "min"}]
    bare = ModelDeclaration("delay", "train", "train.model", "train.samples")
    assert with_units(sqlite_stores, Declarations(), bare, read, SIGNATURE) == SIGNATURE


def test_a_unit_of_no_column_is_found_when_data_come(
    flights: Callable[[DatasetDeclaration], str],
) -> None:
    with pytest.raises(InvalidInput, match="Did you mean distance"):
        flights(DatasetDeclaration("flights", time="day", units={"distanse": "mi"}))


def shown(signature: Mapping[str, Any]) -> str:
    document = {
        "format": "skops",
        "signature": signature,
        "parameters": {},
        "metrics": {},
        "requirements": [],
        "lineage": {"run_id": "r", "trained_at": "t", "arguments": {}, "dataset_versions": []},
    }
    return say_model({"model": "delay", "version": "1.0.0", "document": document})


def test_people_read_units_where_there_are_any() -> None:
    assert "unit" not in shown(SIGNATURE)
    distance, hour = SIGNATURE["inputs"]
    said = shown({**SIGNATURE, "inputs": [{**distance, "unit": "mi"}, hour]})
    assert "name        datatype  nullable  unit  as" in said
    assert "  mi    input" in said


def test_a_changed_unit_is_a_difference() -> None:
    distance = SIGNATURE["inputs"][0]
    inputs = differences(
        {"distance": {**distance, "unit": "mi"}}, {"distance": {**distance, "unit": "km"}}
    )
    sections = ("model", "parameters", "outputs", "code", "arguments", "lineage", "splits")
    nothing: dict[str, Any] = {one: {} for one in (*sections, "components", "lock", "metrics")}
    ends = {"before": "delay==1.0.0", "after": "delay==1.0.1", "same_payload": False}
    said = say_diff({**nothing, **ends, "datasets": {}, "inputs": inputs})
    assert "distance  FP64 mi  FP64 km" in said
