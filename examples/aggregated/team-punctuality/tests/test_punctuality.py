"""The pipeline on flights whose answer is known, and what others count on."""

import csv
from pathlib import Path
from types import SimpleNamespace

import punctuality
import pytest
import yaml
from kfp import compiler

FLIGHTS = """origin,carrier,arr_delay
JFK,AA,16
JFK,AA,15
JFK,B6,-3
JFK,B6,NA
EWR,UA,90
"""
PARAMS = {"origin": "JFK", "late_after_min": 15, "prior_flights": 3}


@pytest.fixture
def flights(tmp_path):
    file = tmp_path / "flights.csv"
    file.write_text(FLIGHTS)
    return SimpleNamespace(path=str(file))


def test_late_is_more_than_the_limit_and_what_never_arrived_does_not_count(flights):
    assert punctuality.count.python_func(flights, PARAMS) == {"AA": [2, 1], "B6": [1, 0]}


def test_an_airport_without_arrivals_is_named(flights):
    with pytest.raises(ValueError, match="no flight from ORD"):
        punctuality.count.python_func(flights, PARAMS | {"origin": "ORD"})


def test_few_flights_are_drawn_towards_what_is_usual(tmp_path):
    made = SimpleNamespace(path=str(tmp_path / "punctuality.csv"), metadata={})
    punctuality.rank.python_func({"AA": [2, 1], "B6": [1, 0]}, PARAMS, made)
    with Path(made.path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    # One of three is late: (0 + 3/3) / (1 + 3) and (1 + 3/3) / (2 + 3).
    assert [(row["carrier"], row["late_share"]) for row in rows] == [("B6", "0.25"), ("AA", "0.4")]
    assert made.metadata == {"carriers": 2}


def test_what_others_count_on_is_there(tmp_path):
    """Another name or type here is a new major version."""
    file = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(punctuality.punctuality_pipeline, str(file))
    document = yaml.safe_load(file.read_text())
    inputs = document["root"]["inputDefinitions"]["parameters"]
    outputs = document["root"]["outputDefinitions"]["artifacts"]
    assert document["pipelineInfo"]["name"] == "punctuality-pipeline"
    assert {name: one["parameterType"] for name, one in inputs.items()} == {
        "flights": "STRING",
        "params": "STRUCT",
    }
    assert outputs == {
        "punctuality": {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    }
