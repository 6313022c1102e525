"""Step 8: whatever uses bytes that are not those that were approved refuses, with both digests."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def played(world):
    return world.play("tamper")


def test_the_step_covered_wheel_pipeline_and_dataset(played):
    assert played.startswith("a byte flipped in wheel, pipeline, dataset file: each refused")


def test_a_run_that_reads_a_changed_file_fails_and_names_both_digests(world):
    """A version that no run has read: what runs have read lies in a cache of verified copies."""
    files = world.seamline("data", "show", "predictions@1")["files"]
    path = Path(files[-1]["path"])
    arguments = {"flights": "datasets://predictions@1"}
    with world.module.flipped(path):
        try:
            run = world.demo.submit("air-time-training@1.0.0", arguments, wait=True)
            said = run["sentence"]
        except world.module.Refusal as refusal:
            said = str(refusal)
    assert "expected sha256:" in said
    assert "found sha256:" in said
    assert files[-1]["sha256"] in said


def test_a_changed_wheel_is_not_handed_out_and_production_goes_on(world, digest_of):
    shown = world.seamline("model", "show", "late-arrival", "--version", "1.0.0")
    path = f"/pypi/production/files/{shown['wheel_digest'].removeprefix('sha256:')}"
    path += f"/{shown['filename']}"
    with world.module.flipped(Path(shown["path"])):
        status, _, body = world.ask(path)
        assert status >= 400, "changed bytes were handed out"
        assert shown["wheel_digest"] in body.decode()
        plane = world.module.DataPlane(world.address["serve_url"])
        with closing(plane.connection):
            day, rows = next(world.demo.year.days(date(2013, 9, 7), date(2013, 9, 8)))
            columns = world.module.late_columns(world.demo.year, day, rows)
            assert plane.infer("late-arrival", columns)["model_version"] == "1.0.0"
    status, _, body = world.ask(path)
    assert (status, digest_of(body)) == (200, shown["wheel_digest"])


def test_everything_is_whole_again(world):
    for model in ("late-arrival", "air-time"):
        world.seamline("model", "verify", model, "--version", "1.0.0")
    for dataset in ("flights@6", "weather@6", "predictions@1"):
        world.seamline("data", "verify", dataset)
