"""One run over the rows of a dataset version, over a list, over a file's text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl

from seamline.app.train.scenarios import find_scenarios, submit_scenarios
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.domain.errors import InvalidInput, NotFound
from seamline.server import ControlPlane
from seamline.train.runs import show_run

QUERY = """
query:
  dataset: {dataset}
  select: SELECT origin, carrier, count(*) AS rows FROM flights GROUP BY origin, carrier
"""


@dsl.component(base_image="python:3.11")
def fit(origin: str, carrier: str, rows: int) -> int:
    return rows


@dsl.pipeline(name="fit-one")
def fit_one(origin: str, carrier: str = "AA", rows: int = 0):
    fit(origin=origin, carrier=carrier, rows=rows)


@pytest.fixture
def ir(tmp_path: Path) -> bytes:
    path = tmp_path / "one.yaml"
    compiler.Compiler().compile(fit_one, str(path))
    return path.read_bytes()


@pytest.fixture
def deliver(plane: ControlPlane, tmp_path: Path) -> Callable[[str], None]:
    def write(lines: str) -> None:
        path = tmp_path / "flights.csv"
        path.write_text("day,origin,carrier,flight\n" + lines)
        declaration = DatasetDeclaration("flights", time="day", keys=("day", "flight"))
        ingest(plane.platform.stores, declaration, path, source="flights.csv", by="ana")

    return write


@pytest.fixture
def flights(deliver: Callable[[str], None]) -> None:
    deliver("2013-01-01,JFK,AA,1\n2013-01-01,JFK,AA,2\n")
    deliver("2013-01-02,LGA,DL,3\n")


def looped(plane: ControlPlane, run_id: str) -> Any:
    """The compiled pipeline that the run runs."""
    stores = plane.platform.stores
    digest = show_run(stores, run_id)["pipeline_digest"]
    return yaml.safe_load(stores.blobs.get(digest, "pipeline"))


@pytest.mark.usefixtures("flights")
def test_a_query_reads_the_version_that_it_names(plane: ControlPlane) -> None:
    newest = (
        [
            {"origin": "JFK", "carrier": "AA", "rows": 2},
            {"origin": "LGA", "carrier": "DL", "rows": 1},
        ],
        "datasets://flights@2",
    )
    for dataset in ("flights", "flights@latest", "flights@2", "datasets://flights@2"):
        assert find_scenarios(plane.platform, QUERY.format(dataset=dataset)) == newest
    first = find_scenarios(plane.platform, QUERY.format(dataset="flights@1"))
    assert first == (newest[0][:1], "datasets://flights@1")
    with pytest.raises(NotFound, match="It has versions 1 to 2"):
        find_scenarios(plane.platform, QUERY.format(dataset="flights@3"))
    with pytest.raises(NotFound, match=r"Did you mean flights\?"):
        find_scenarios(plane.platform, QUERY.format(dataset="flighst"))


def test_text_that_is_no_text_is_refused(plane: ControlPlane) -> None:
    with pytest.raises(InvalidInput, match="neither YAML nor JSON"):
        find_scenarios(plane.platform, "list: \ud800")


@pytest.mark.usefixtures("flights")
def test_the_run_keeps_its_scenarios_and_where_they_come_from(
    plane: ControlPlane, ir: bytes
) -> None:
    run_id = submit_scenarios(
        plane.platform, ir, QUERY.format(dataset="flights@latest"), arguments={}, by="ana"
    )
    spec = looped(plane, run_id)
    assert spec["pipelineInfo"] == {
        "name": "fit-one",
        "description": "2 scenarios from datasets://flights@2.",
    }
    assert show_run(plane.platform.stores, run_id)["pipeline"] == "fit-one"


def test_arguments_are_those_of_the_whole_run(plane: ControlPlane, ir: bytes) -> None:
    scenarios = {"list": [{"origin": "JFK"}, {"origin": "LGA"}]}
    run_id = submit_scenarios(plane.platform, ir, scenarios, arguments={"rows": 7}, by="ana")
    run = show_run(plane.platform.stores, run_id)
    assert run["arguments"] == {"carrier": "AA", "rows": 7}
    with pytest.raises(InvalidInput, match="origin would be set twice"):
        submit_scenarios(plane.platform, ir, scenarios, arguments={"origin": "EWR"}, by="ana")
    with pytest.raises(InvalidInput, match="no parameter 'row'") as caught:
        submit_scenarios(plane.platform, ir, scenarios, arguments={"row": 1}, by="ana")
    assert caught.value.next_step == "Did you mean rows?"
