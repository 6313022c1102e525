"""One airport's report: of both parts, of one, of none."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import report


@pytest.fixture
def summary(tmp_path):
    return SimpleNamespace(path=str(tmp_path / "summary.json"), metadata={})


@pytest.fixture
def part(tmp_path):
    file = tmp_path / "part.csv"
    file.write_text("dest,expected_minutes\nBOS,40\n")
    return SimpleNamespace(path=str(file))


def test_what_is_there_is_reported_and_what_is_missing_is_named(summary, part):
    report.summarise.python_func("JFK", summary, arrivals=part)
    assert json.loads(Path(summary.path).read_text()) == {
        "origin": "JFK",
        "arrivals": [{"dest": "BOS", "expected_minutes": "40"}],
        "punctuality": None,
    }
    assert summary.metadata == {"origin": "JFK", "missing": ["punctuality"]}


def test_without_any_part_it_fails(summary):
    with pytest.raises(ValueError, match="JFK: neither arrivals nor punctuality"):
        report.summarise.python_func("JFK", summary)


def test_there_is_no_pipeline_of_nothing():
    with pytest.raises(ValueError, match="arrivals-pipeline, punctuality-pipeline"):
        report.compose({})
