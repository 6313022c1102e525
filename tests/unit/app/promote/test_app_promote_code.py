"""An environment that takes over code, driven by hand: the test is the engine that runs and the
task that packages. tests/story/test_promote_code.py trains for real."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update

from seamline.app.promote.advance_promotion import on_promotion_moved
from seamline.app.promote.make_release import make_release
from seamline.app.train.submit_run import submit_pipeline
from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput, Refused
from seamline.domain.facts import RunEnded
from seamline.domain.states import PromotionPhase, Role
from seamline.project.plan import apply_project, plan_project
from seamline.promote.approvals import approve
from seamline.promote.code import find_by_code_run, training_run
from seamline.promote.environments import find_environment
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.release import find_release
from seamline.promote.requests import request_promotion, request_rollback
from seamline.register.models.catalogue import ModelVersion
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane
from seamline.store.facts import read_facts
from seamline.train.rows import RUNS
from seamline.trust.roles import Principal

BEA = Principal("bea", frozenset({Role.APPROVER}))
FILE = """
project = "late"
team = "late"

[models.late]
pipeline = "train"
output = "do.model"
samples = "do.samples"

[environments.dataops]

[environments.development]
after = "dataops"
gates = ["digests", "provenance"]
approvals = {{ count = 1 }}
promotes = "code"
data_root = "s3://development"
parameters = {{ until = "{until}", unasked = 3 }}

[environments.staging]
after = "development"

[environments.production]
after = "development"
promotes = "code"
"""


def ir(name: str) -> bytes:
    executors = {"exec-do": {"container": {"image": f"i@sha256:{'0' * 64}", "command": ["do"]}}}
    task = {"taskInfo": {"name": "do"}, "componentRef": {"name": "comp-do"}, "inputs": {}}
    text = {"parameterType": "STRING", "isOptional": True}
    document = {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": name},
        "root": {
            "inputDefinitions": {"parameters": {"until": text, "data_root": text, "other": text}},
            "dag": {"tasks": {"do": task}},
        },
        "components": {"comp-do": {"executorLabel": "exec-do"}},
        "deploymentSpec": {"executors": executors},
    }
    return json.dumps(document).encode()


TRAIN = ir("train")


def settle(plane: ControlPlane) -> None:
    while plane.loop.step():
        pass


def end(plane: ControlPlane, run_id: str, state: str = "succeeded") -> None:
    stores = plane.platform.stores
    with stores.db.transaction() as tx:
        tx.execute(update(RUNS).where(RUNS.c.id == run_id).values(state=state))
        fact = RunEnded(run_id, "development", "train", state, ())
        stores.facts.append(tx, fact, by="seamline")


def promotion_of(plane: ControlPlane, promotion_id: str) -> Promotion:
    with plane.platform.stores.db.read() as connection:
        return find_promotion(connection, promotion_id)


def runs(plane: ControlPlane) -> list[Any]:
    with plane.platform.stores.db.read() as connection:
        return list(connection.execute(select(RUNS)))


@pytest.fixture
def trained(register_late: Callable[..., ModelVersion]) -> Callable[..., ModelVersion]:
    """A version of `late`, by the run that trained it."""
    return partial(register_late, pipeline=digest_of(TRAIN))


@pytest.fixture
def house(plane: ControlPlane, trained: Callable[..., ModelVersion]) -> ControlPlane:
    """A release of a model and of the pipeline that trains it."""
    apply_project(plane.platform.stores, FILE.format(until="2026-05-20"), "seamline.toml", by="ann")
    publish_pipeline(plane.platform.stores, TRAIN, ["1.0.0"], by="eve")
    publish_pipeline(plane.platform.stores, ir("predict"), ["1.0.0"], by="eve")
    trained("1.0.0")
    make_release(plane.platform, "code", ["late@1.0.0"], ["train@1.0.0"], by="ann")
    return plane


def retrained(plane: ControlPlane, trained: Callable[..., ModelVersion], version: str) -> Promotion:
    """Promoted, trained as this version, approved and live."""
    stores = plane.platform.stores
    asked = request_promotion(stores, "code", "development", by="ada")
    settle(plane)
    run_id = training_run(asked.id, "train")
    trained(version, run_id=run_id)
    end(plane, run_id)
    settle(plane)
    assert promotion_of(plane, asked.id).phase is PromotionPhase.AWAITING_APPROVAL
    approve(stores, asked.id, BEA, {})
    settle(plane)
    return promotion_of(plane, asked.id)


def test_what_is_trained_there_takes_the_place_of_what_was_not(
    house: ControlPlane, trained: Callable[..., ModelVersion]
) -> None:
    stores = house.platform.stores
    asked = request_promotion(stores, "code", "development", by="ada")
    settle(house)
    run_id = training_run(asked.id, "train")
    (run,) = runs(house)
    assert (run.id, run.environment, run.requested_by) == (run_id, "development", "ada")
    # What the environment declares, where the pipeline takes it: no release holds it.
    arguments = {"until": "2026-05-20", "data_root": "s3://development"}
    assert json.loads(run.arguments) == arguments
    with stores.db.read() as connection:
        moved = [one for one in read_facts(connection, kinds=["promotion.moved"])
                 if one.body["after"] == "checking"]  # fmt: skip
        assert find_release(connection, run.release).alias == "code"
    on_promotion_moved(house.platform, moved[-1])
    assert len(runs(house)) == 1
    assert promotion_of(house, asked.id).phase is PromotionPhase.CHECKING
    trained("1.0.1", run_id=run_id)
    end(house, run_id)
    settle(house)
    waiting = promotion_of(house, asked.id)
    assert waiting.phase is PromotionPhase.AWAITING_APPROVAL, waiting.reason
    assert waiting.goes_live != waiting.release
    approve(stores, asked.id, BEA, {})
    settle(house)
    with stores.db.read() as connection:
        live = find_environment(connection, "development").release
        assert live == waiting.goes_live
        packages = find_release(connection, live or "").release.packages
        given = read_facts(connection, kinds=["approval.given"])[-1]
        assert find_by_code_run(connection, "development", run_id) is None
    assert [one.version for one in packages] == ["1.0.1"]
    assert given.body["release"] == live


def test_the_next_environment_takes_over_the_bytes_or_the_code(
    house: ControlPlane, trained: Callable[..., ModelVersion]
) -> None:
    stores = house.platform.stores
    first = retrained(house, trained, "1.0.1")
    assert first.phase is PromotionPhase.LIVE
    # The bytes of `code` were never live in development: those that were trained there are.
    with pytest.raises(Refused, match="has not been live in development"):
        request_promotion(stores, first.release, "staging", by="ada")
    request_promotion(stores, first.goes_live, "staging", by="ada")
    request_promotion(stores, first.release, "production", by="ada")


def test_a_rollback_goes_back_to_what_was_live_and_trains_nothing(
    house: ControlPlane, trained: Callable[..., ModelVersion]
) -> None:
    first, second = retrained(house, trained, "1.0.1"), retrained(house, trained, "1.0.2")
    assert first.goes_live != second.goes_live
    back = request_rollback(house.platform.stores, "development", "bad", by="bea")
    assert back.release == first.goes_live
    settle(house)
    assert promotion_of(house, back.id).phase is PromotionPhase.LIVE
    with house.platform.stores.db.read() as connection:
        assert find_environment(connection, "development").release == first.goes_live
    assert len(runs(house)) == 2


def test_a_failed_training_ends_the_promotion(house: ControlPlane) -> None:
    stores = house.platform.stores
    asked = request_promotion(stores, "code", "development", by="ada")
    settle(house)
    end(house, training_run(asked.id, "train"), "failed")
    settle(house)
    failed = promotion_of(house, asked.id)
    assert failed.phase is PromotionPhase.FAILED and "ended as failed" in failed.reason
    make_release(house.platform, "bytes", ["late@1.0.0"], ["predict@1.0.0"], by="ann")
    other = request_promotion(stores, "bytes", "development", by="ada")
    settle(house)
    assert "names no training pipeline" in promotion_of(house, other.id).reason


def test_parameters_go_behind_what_is_given_and_are_part_of_the_plan(
    house: ControlPlane, trained: Callable[..., ModelVersion]
) -> None:
    platform = house.platform
    retrained(house, trained, "1.0.1")
    run_id = submit_pipeline(
        platform,
        "train@1.0.0",
        arguments={"until": "2026-01-01"},
        environment="development",
        by="ada",
    )
    found = next(one for one in runs(house) if one.id == run_id)
    assert json.loads(found.arguments)["until"] == "2026-01-01"
    planned = plan_project(platform.stores, FILE.format(until="2026-06-01"), "seamline.toml")
    (change,) = planned.changes
    assert "2026-06-01" in change.detail and change.name == "development"
    with pytest.raises(InvalidInput, match="cannot be an argument"):
        text = FILE.format(until="x").replace("unasked = 3", "unasked = 2026-01-01")
        plan_project(platform.stores, text, "seamline.toml")
