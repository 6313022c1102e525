"""An output of a run is one version, ever; an older run's never takes a newer one's place."""

# No postponed annotations here: the KFP SDK reads those of its components.
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp import compiler, dsl
from kfp.dsl import Dataset, Output

from seamline.app.data.commit_outputs import on_run_ended
from seamline.app.platform import Platform
from seamline.app.train.submit_run import submit_ir
from seamline.data.ingest import ingest
from seamline.data.versions import list_versions, read_version
from seamline.domain.clock import SystemClock
from seamline.domain.settings import Settings
from seamline.domain.states import is_terminal
from seamline.project.plan import apply_project
from seamline.server import ControlPlane, build_control_plane
from seamline.store.facts import RecordedFact, read_facts
from seamline.train.runs import run_state

PROJECT = """
project = "stock"
team = "stock"

[datasets.stock]
from_output = "count.Output"
mode = "replace"

[datasets.counted]
from_output = "count.Output"

[datasets.mistyped]
from_output = "count.Outputt"
"""


@dsl.component(base_image="python:3.11")
def write(pieces: int, table: Output[Dataset]):
    from pathlib import Path

    Path(table.path).write_text(f"shelf,pieces\n1,{pieces}\n")


@dsl.pipeline(name="count")
def count(pieces: int) -> Dataset:
    return write(pieces=pieces).outputs["table"]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    root = tmp_path_factory.mktemp("workspace")
    made = build_control_plane(Settings(workspace=root, slots=2), SystemClock())
    made.platform.engine.start()
    yield made
    made.platform.engine.close()
    made.platform.runner.close()
    made.platform.stores.db.close()


@pytest.fixture(scope="module")
def ends(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> dict[int, RecordedFact]:
    """By what they counted: the ends of runs, requested in this order; nobody has reacted."""
    platform = plane.platform
    path = tmp_path_factory.mktemp("compiled") / "count.yaml"
    compiler.Compiler().compile(count, str(path))
    made = {}
    for pieces in range(1, 6):
        run_id = submit_ir(platform, path.read_bytes(), arguments={"pieces": pieces}, by="ana")
        assert wait_for_end(platform, run_id)
        with platform.stores.db.read() as connection:
            (made[pieces],) = read_facts(connection, kinds=["run.ended"], subject=run_id)
    apply_project(platform.stores, PROJECT, "seamline.toml", by="ana")
    return made


def wait_for_end(platform: Platform, run_id: str) -> bool:
    return platform.changes.wait_until(lambda: is_terminal(run_state(platform.stores, run_id)), 120)


def tables(platform: Platform, dataset: str) -> list[list[int]]:
    versions = list_versions(platform.stores, dataset)
    return [read_version(platform.stores, one)["pieces"].to_list() for one in versions]


def refusals(platform: Platform, dataset: str) -> list[RecordedFact]:
    with platform.stores.db.read() as connection:
        kinds = ["dataset.delivery_refused"]
        return read_facts(connection, kinds=kinds, subject=dataset)


def test_an_output_is_one_version_whatever_came_since(
    plane: ControlPlane, ends: dict[int, RecordedFact]
) -> None:
    """As after kill -9 between the version's commit and the end of the outbox row, or when another
    reaction to the same end has to be tried again."""
    platform = plane.platform
    on_run_ended(platform, ends[1])
    on_run_ended(platform, ends[1])
    on_run_ended(platform, ends[2])
    on_run_ended(platform, ends[1])
    on_run_ended(platform, ends[2])
    assert tables(platform, "stock") == [[1], [2]]
    assert tables(platform, "counted") == [[1], [1, 2]]
    assert refusals(platform, "stock") == refusals(platform, "counted") == []


def test_what_ends_late_does_not_replace_what_is_newer(
    plane: ControlPlane, ends: dict[int, RecordedFact]
) -> None:
    """Run 3 was requested before run 4, and ends after it."""
    platform = plane.platform
    on_run_ended(platform, ends[4])
    for _ in range(2):
        on_run_ended(platform, ends[3])
    assert tables(platform, "stock")[-1] == [4]
    (told,) = refusals(platform, "stock")
    assert (told.caused_by, told.by) == (ends[3].id, "ana")
    (sentence,) = told.body["violations"]
    assert ends[3].body["run_id"] in sentence and ends[4].body["run_id"] in sentence
    # Rows that are added stand beside one another, in whatever order they come.
    assert tables(platform, "counted")[-1] == [1, 2, 4, 3]


def test_nor_what_was_sent_by_hand_since(
    plane: ControlPlane, ends: dict[int, RecordedFact], tmp_path: Path
) -> None:
    platform = plane.platform
    path = tmp_path / "corrected.csv"
    path.write_text("shelf,pieces\n1,40\n")
    declared = platform.declarations().dataset("stock")
    ingest(platform.stores, declared, path, source=path.name, by="ben")
    on_run_ended(platform, ends[5])
    assert tables(platform, "stock")[-1] == [40]
    told = refusals(platform, "stock")[-1]
    assert "corrected.csv, committed" in told.body["violations"][0]


def test_a_mistyped_output_is_told_once(plane: ControlPlane, ends: dict[int, RecordedFact]) -> None:
    platform = plane.platform
    for _ in range(2):
        on_run_ended(platform, ends[2])
    told = [one for one in refusals(platform, "mistyped") if one.caused_by == ends[2].id]
    assert len(told) == 1
    assert "no output" in told[0].body["violations"][0]
