"""kill -9 of the server in the middle of a training run: it resumes; predictions never stop."""

from __future__ import annotations


def test_the_run_resumes_and_predictions_never_stop(house, caller, tmp_path):
    gate = tmp_path / "gate"
    run = house.train(gate=str(gate))
    house.until(lambda: state_of(house, run, "train") == "running")
    plane, address = house.plane_pid(), house.address["serve_url"]
    before = house.infer(3.0)["model_version"]
    with caller:
        caller.await_more(5)
        house.kill()
        caller.await_more(20)
        gate.touch()
        assert house.up()["adopted"] is True
        caller.await_more(5)
        ended = house.until(lambda: house.run_ended(run))
    assert caller.errors == []
    assert set(caller.answers) == {before}
    assert (house.plane_pid(), house.address["serve_url"]) == (plane, address)
    assert ended["state"] == "succeeded"
    attempts = {task["name"]: task["attempt"] for task in ended["tasks"]}
    assert attempts == {"importer": 1, "prepare": 1, "train": 2}
    ends = [one["body"]["task"] for one in house.facts("task.ended") if one["subject"] == run]
    assert sorted(ends) == ["importer", "prepare", "train"]
    the_remaining_steps_work(house, run)


def the_remaining_steps_work(house, run):
    version = house.until(lambda: house.version_of(run))["version"]
    digest = house.release("resumed", version, ["line-training@1.0.0"])["digest"]
    house.until(lambda: (house.phase(digest, "development") or {}).get("phase") == "live")
    for environment in ("staging", "production"):
        house.promote(digest, environment)
    assert house.infer(3.0)["model_version"] == version
    assert house.ask("/audit/verify")["broken"] is None


def state_of(house, run, task):
    return next(one["state"] for one in house.ask(f"/runs/{run}")["tasks"] if one["name"] == task)
