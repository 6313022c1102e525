"""An output that is a folder of files, as Spark writes one, becomes a version of a dataset."""

# No postponed annotations here: the KFP SDK reads those of its components.
from collections.abc import Iterator
from datetime import date

import pytest
from kfp import compiler, dsl
from kfp.dsl import Dataset, Output

from seamline.app.data.commit_outputs import on_run_ended
from seamline.app.platform import Platform
from seamline.app.train.submit_run import submit_ir
from seamline.data.versions import DatasetVersion, find_version, list_versions, read_version
from seamline.domain.clock import SystemClock
from seamline.domain.settings import Settings
from seamline.domain.states import is_terminal
from seamline.project.plan import apply_project
from seamline.server import ControlPlane, build_control_plane
from seamline.store.facts import read_facts
from seamline.train.runs import run_state

PROJECT = """
project = "hubs"
team = "hubs"

[datasets.hours]
time = "day"
keys = ["hub", "day"]
from_output = "hours.Output"
mode = "replace"
"""


@dsl.component(base_image="python:3.11")
def prepare(planned: int, stray: str, table: Output[Dataset]):
    from pathlib import Path

    for hub in ("EWR", "JFK"):
        folder = Path(table.path, f"hub={hub}")
        folder.mkdir(parents=True)
        row = '{"day": "2026-03-0%d", "planned": %d}\n'
        text = "".join(row % (day, planned) for day in (1, 2))
        Path(folder, "part-00000-c000.jsonl").write_text(text)
        Path(folder, ".part-00000-c000.jsonl.crc").write_bytes(b"crc")
    Path(table.path, "_SUCCESS").write_bytes(b"")
    if stray:
        Path(table.path, stray).write_text("day,planned,hub\n2026-03-01,1,LGA\n")


@dsl.pipeline(name="hours")
def hours(planned: int = 5, stray: str = "") -> Dataset:
    return prepare(planned=planned, stray=stray).outputs["table"]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    root = tmp_path_factory.mktemp("with 100% # odd") / "workspace"
    made = build_control_plane(Settings(workspace=root, slots=2), SystemClock())
    made.platform.engine.start()
    apply_project(made.platform.stores, PROJECT, "seamline.toml", by="ana")
    yield made
    made.platform.engine.close()
    made.platform.runner.close()
    made.platform.stores.db.close()


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("compiled") / "hours.yaml"
    compiler.Compiler().compile(hours, str(path))
    return path.read_bytes()


def run(plane: ControlPlane, ir: bytes, **arguments: object) -> str:
    platform = plane.platform
    run_id = submit_ir(platform, ir, arguments=arguments, by="ana")
    ended = platform.changes.wait_until(
        lambda: is_terminal(run_state(platform.stores, run_id)), 120
    )
    assert ended
    while plane.loop.step():
        pass
    return run_id


def versions(platform: Platform) -> list[DatasetVersion]:
    return list(list_versions(platform.stores, "hours"))


def test_a_folder_becomes_a_version_once(plane: ControlPlane, ir: bytes) -> None:
    platform = plane.platform
    run_id = run(plane, ir)
    version = find_version(platform.stores, "hours@1")
    assert (version.run_id, version.source, version.rows) == (run_id, f"run {run_id}", 4)
    rows = read_version(platform.stores, version).sort("hub", "day")
    assert rows.select("hub", "day", "planned").rows() == [
        ("EWR", date(2026, 3, 1), 5),
        ("EWR", date(2026, 3, 2), 5),
        ("JFK", date(2026, 3, 1), 5),
        ("JFK", date(2026, 3, 2), 5),
    ]
    with platform.stores.db.read() as connection:
        (ended,) = read_facts(connection, kinds=["run.ended"])
    on_run_ended(platform, ended)  # as after a crash
    assert len(versions(platform)) == 1
    assert list((platform.root / "incoming").iterdir()) == []


def test_the_next_run_replaces_it(plane: ControlPlane, ir: bytes) -> None:
    run_id = run(plane, ir, planned=7)
    (_, version) = versions(plane.platform)
    assert (version.version, version.run_id) == (2, run_id)
    rows = read_version(plane.platform.stores, version)
    assert rows["planned"].to_list() == [7, 7, 7, 7]


def test_a_folder_that_is_no_table_is_no_version(
    plane: ControlPlane, ir: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """And what follows in the line of reactions is not held up."""
    run_id = run(plane, ir, stray="stray.csv")
    assert len(versions(plane.platform)) == 2
    assert f"the output of run {run_id} is no version of hours" in caplog.text
    assert "of another kind of format" in caplog.text
