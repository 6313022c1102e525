"""Everyone is a beginner: what came in at night goes back in the morning, model and pipeline by
digest, and what is altered on the way back comes nowhere."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from kfp.registry import RegistryClient

PIPELINE = "air-time-prediction"


@pytest.fixture(scope="module", autouse=True)
def played(world):
    return world.play("audit")


@pytest.fixture(scope="module")
def before(world):
    """What production answers by, before the night."""
    return production(world)


@pytest.fixture(scope="module")
def night(world, before):
    """A new model and a new pipeline, past approvals and gates, under broken glass."""
    (source,) = [
        path
        for path in Path(world.demo.work).glob("*-prediction.yaml")
        if f"name: {PIPELINE}\n" in path.read_text()
    ]
    changed = source.with_name("changed.yaml")
    changed.write_text(f"{source.read_text()}# one day later\n")
    world.seamline("pipeline", "push", changed, "--tag", "1.1.0", who="ada")
    made = world.seamline(
        *("release", "create", "night", "--model", "late-arrival@1.0.0"),
        *("--model", "air-time@1.0.1", "--pipeline", "flight-outlook@1.0.0"),
        *("--pipeline", "late-arrival-prediction@1.0.0", "--pipeline", f"{PIPELINE}@1.1.0"),
        who="ada",
    )
    world.demo.await_live("development", made["digest"])
    world.seamline("glass", "break", "production", "--reason", "the tower calls", "--for", "10m")
    world.seamline("promote", "night", "--to", "production", "--emergency")
    world.demo.await_live("production", made["digest"])
    world.seamline("glass", "mend", "production")
    return made


def production(world) -> dict[str, str]:
    board = world.seamline("board")["environments"]
    (live,) = [one["live"] for one in board if one["name"] == "production"]
    return {
        "release": live["digest"],
        "answers": answering(world),
        "model": world.seamline("model", "show", "air-time@production")["wheel_digest"],
        "pipeline": world.seamline("pipeline", "show", f"{PIPELINE}@production")["digest"],
    }


def answering(world) -> str:
    plane = world.module.DataPlane(world.address["serve_url"])
    with closing(plane.connection):
        day, rows = next(world.demo.year.days(date(2013, 9, 7), date(2013, 9, 8)))
        answer = plane.infer("air-time", world.module.air_columns(day, rows))
    return answer["model_version"]


def test_it_came_in_and_everything_followed(world, before, night):
    now = production(world)
    assert now["release"] == night["digest"]
    assert (before["answers"], now["answers"]) == ("1.0.0", "1.0.1")
    assert now["model"] != before["model"]
    assert now["pipeline"] != before["pipeline"]
    (broken,) = world.facts("glass.broken")
    assert broken["body"]["reason"] == "the tower calls"


def test_what_was_altered_meanwhile_does_not_come_back(world, before, night):
    wheel = world.seamline("model", "show", "air-time", "--version", "1.0.0")
    with world.module.flipped(Path(wheel["path"])):
        said = world.refusal("rollback", "production", "--reason", "it says nothing at night")
        assert wheel["wheel_digest"] in said
        assert production(world)["answers"] == "1.0.1"
    world.seamline("hold", "lift", "production", "--reason", "the bytes are whole again")


def test_one_command_goes_back(world, before, night, tmp_path, digest_of):
    reason = "it says nothing at night"
    world.seamline("rollback", "production", "--reason", reason, who="bea")
    world.demo.await_live("production", before["release"])
    assert production(world) == before
    assert digest_of(world.wheel("production", "air-time", "1.0.0")) == before["model"]
    # As the stock client gets it, by the tag that nobody moves by hand.
    client = RegistryClient(host=f"{world.url}/kfp/registry/default/main")
    path = tmp_path / "pipeline.yaml"
    client.download_pipeline(PIPELINE, tag="production", file_name=str(path))
    assert digest_of(path.read_bytes()) == before["pipeline"]
    (asked,) = [one for one in world.facts("rollback.requested") if one["by"] == "bea"]
    assert asked["body"]["reason"] == reason


def test_it_is_held_until_somebody_says_otherwise(world, before, night):
    (hold,) = [one for one in world.seamline("hold", "list") if one["environment"] == "production"]
    assert hold["release"] == night["digest"]
    world.seamline("audit", "verify")
