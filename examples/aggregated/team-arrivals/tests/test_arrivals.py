"""The pipeline on flights whose answer is known, and what others count on."""

import csv
from pathlib import Path
from types import SimpleNamespace

import arrivals
import pytest
import yaml
from kfp import compiler

#: Miles and minutes on one line: 20 minutes, and one more for each 10 miles.
FLIGHTS = """origin,dest,distance,air_time
JFK,BOS,200,40
JFK,LAX,2500,270
JFK,MIA,1000,NA
EWR,BOS,200,1
"""


@pytest.fixture
def flights(tmp_path):
    file = tmp_path / "flights.csv"
    file.write_text(FLIGHTS)
    return SimpleNamespace(path=str(file))


def test_the_line_goes_through_the_airport_s_own_flights(flights):
    line = arrivals.learn.python_func(flights, {"origin": "JFK"})
    assert line == {"per_mile": pytest.approx(0.1), "minutes": pytest.approx(20), "flights": 2}


def test_an_airport_without_flights_is_named(flights):
    with pytest.raises(ValueError, match="ORD has 0 flights"):
        arrivals.learn.python_func(flights, {"origin": "ORD"})


def test_each_destination_is_forecast_also_where_nobody_arrived(flights, tmp_path):
    made = SimpleNamespace(path=str(tmp_path / "arrivals.csv"), metadata={})
    line = {"per_mile": 0.1, "minutes": 20.0, "flights": 2}
    arrivals.forecast.python_func(flights, line, {"origin": "JFK"}, made)
    with Path(made.path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    minutes = {row["dest"]: float(row["expected_minutes"]) for row in rows}
    assert minutes == {"BOS": 40, "LAX": 270, "MIA": 120}
    assert made.metadata == {"destinations": 3}


def test_what_others_count_on_is_there(tmp_path):
    """Another name or type here is a new major version."""
    file = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(arrivals.arrivals_pipeline, str(file))
    document = yaml.safe_load(file.read_text())
    inputs = document["root"]["inputDefinitions"]["parameters"]
    outputs = document["root"]["outputDefinitions"]["artifacts"]
    assert document["pipelineInfo"]["name"] == "arrivals-pipeline"
    assert {name: one["parameterType"] for name, one in inputs.items()} == {
        "flights": "STRING",
        "params": "STRUCT",
    }
    assert outputs == {
        "arrivals": {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    }
