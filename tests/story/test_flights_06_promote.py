"""Step 6: the same bytes in each environment; an approval is somebody else's, and binds."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module", autouse=True)
def played(world):
    return world.play("promote")


@pytest.fixture(scope="module")
def promotions(world):
    """Of release 2013-08, by environment."""
    return {
        one["environment"]: one
        for one in world.seamline("promotion", "list")
        if one["release_alias"] == "2013-08"
    }


@pytest.mark.parametrize("model", ["late-arrival", "air-time"])
def test_the_same_bytes_from_training_to_production(world, digest_of, model):
    expected = world.seamline("model", "show", model, "--version", "1.0.0")["wheel_digest"]
    for environment in ("dataops", "staging", "production"):
        assert digest_of(world.wheel(environment, model, "1.0.0")) == expected
    # A later release is live in development: the same bytes are listed, and given to nobody.
    status, _, page = world.ask(f"/pypi/development/simple/{model}/")
    assert status == 200
    assert expected.removeprefix("sha256:") in page.decode()


def test_the_release_is_a_set_of_digests(world):
    contents = world.seamline("release", "show", "2013-08")["contents"]
    pins = {one["name"]: one["digest"] for one in contents["packages"]}
    for model in ("late-arrival", "air-time"):
        shown = world.seamline("model", "show", model, "--version", "1.0.0")
        assert pins[model] == shown["wheel_digest"]
    for one in contents["pipelines"]:
        reference = f"{one['name']}@{one['version']}"
        assert world.seamline("pipeline", "show", reference)["digest"] == one["digest"]
    assert {(one["name"], one["version"]) for one in contents["datasets"]} == {
        ("flights", "6"),
        ("weather", "6"),
    }


def test_it_went_through_the_environments_in_order(promotions):
    asked = [promotions[name]["requested_at"] for name in ("development", "staging", "production")]
    assert asked == sorted(asked)
    people = {
        name: [approval["principal"] for approval in one["approvals"]]
        for name, one in promotions.items()
    }
    assert people == {"development": [], "staging": ["ada"], "production": ["bea"]}


def test_an_approval_binds_release_environment_policy_and_evidence(world, promotions):
    given = {fact["subject"]: fact for fact in world.facts("approval.given")}
    for name in ("staging", "production"):
        promotion = promotions[name]
        fact = given[promotion["id"]]
        assert fact["body"]["environment"] == name
        for key in ("release", "policy_digest", "evidence_digest"):
            assert fact["body"][key] == promotion[key]
        assert promotion["approvals"][0]["evidence_digest"] == promotion["evidence_digest"]
    assert promotions["staging"]["policy_digest"] != promotions["production"]["policy_digest"]


def test_the_trainer_was_refused_with_the_reason(world, promotions):
    """Ada trained, requested, and may not approve; nothing of it was recorded."""
    approvals = [
        fact["by"]
        for fact in world.facts("approval.given")
        if fact["subject"] == promotions["production"]["id"]
    ]
    assert approvals == ["bea"]


def test_gates_ran_with_evidence(promotions):
    gates = {gate["gate"]: gate for gate in promotions["production"]["gates"]}
    assert set(gates) == {"digests", "provenance", "evaluation", "successes", "soak", "policy"}
    assert {gate["verdict"] for gate in gates.values()} == {"pass"}
    assert "recomputed and agree" in gates["digests"]["sentence"]
    assert len(gates["evaluation"]["evidence"]["evaluations"]) == 2


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_only_the_live_release_runs(world, environment):
    """Training pipelines, and another version of a pipeline that the release holds."""
    for pipeline in ("air-time-training@1.0.0", "air-time-prediction@broken"):
        said = world.refusal("run", "submit", pipeline, "-e", environment, who="ada")
        assert "cannot run" in said
        assert environment in said


def test_the_demos_policy_shows_its_soak_and_the_shipped_default_is_stricter(world):
    board = {one["name"]: one for one in world.seamline("board")["environments"]}
    assert board["production"]["policy"]["soak_s"] == 0
    shipped, own = (
        fact["body"]
        for fact in world.facts("policy.applied")
        if fact["body"]["environment"] == "production"
    )
    assert own["before"] == shipped["digest"] != own["digest"]
    assert own["digest"] == board["production"]["policy_digest"]


def test_no_flag_names_another_person(world, promotions):
    """A header that claims to be somebody does nothing."""
    path = f"/api/v1/promotions/{promotions['production']['id']}/approve"
    status, _, body = world.ask(path, {"comment": "", "principal": "ada", "by": "ada"}, who="bea")
    assert status in (403, 409), body
    assert json.loads(body)["error"]["message"]
