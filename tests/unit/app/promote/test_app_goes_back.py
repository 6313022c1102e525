"""Everyone is a beginner: a bad model came in, with the pipeline that serves it. One command brings
back the model, the pipeline and its components: the very bytes, by digest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from seamline.app.promote.make_release import make_release
from seamline.app.train.resolve_uri import find_model_for
from seamline.app.train.submit_run import submit_pipeline
from seamline.domain.digests import digest_of
from seamline.domain.errors import Refused
from seamline.domain.states import PromotionPhase
from seamline.promote.environments import apply_policies, live_release
from seamline.promote.policy import DEFAULT_POLICIES, ApprovalRule
from seamline.promote.promotion import find_promotion
from seamline.promote.requests import request_promotion, request_rollback
from seamline.register.models.catalogue import ModelVersion
from seamline.register.packages.index import list_package_files
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.serve.snapshots.snapshot import read_snapshot, snapshot_path
from seamline.server import ControlPlane
from seamline.store.facts import read_facts

HERE = "development"


def pipeline(component: str) -> bytes:
    """One component, named by the digest of its image."""
    image = {"image": f"i@sha256:{component * 64}", "command": ["true"]}
    executors = {"exec-do": {"container": image}}
    task = {"taskInfo": {"name": "do"}, "componentRef": {"name": "comp-do"}, "inputs": {}}
    document = {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": "score"},
        "root": {"dag": {"tasks": {"do": task}}},
        "components": {"comp-do": {"executorLabel": "exec-do"}},
        "deploymentSpec": {"executors": executors},
    }
    return json.dumps(document).encode()


GOOD, BAD = pipeline("0"), pipeline("1")


def settle(plane: ControlPlane) -> None:
    while plane.loop.step():
        pass


def bring_in(plane: ControlPlane, alias: str) -> None:
    asked = request_promotion(plane.platform.stores, alias, HERE, by="ann")
    settle(plane)
    with plane.platform.stores.db.read() as connection:
        found = find_promotion(connection, asked.id)
    assert found.phase is PromotionPhase.LIVE, found.reason


@pytest.fixture
def models(
    plane: ControlPlane, register_late: Callable[..., ModelVersion]
) -> dict[str, ModelVersion]:
    """Releases good and bad, a model and a pipeline each; the bad one came in later."""
    stores, made = plane.platform.stores, {}
    plain = [replace(one, gates=("digests", "provenance"), soak_s=0.0, automatic=False,
                     approvals=ApprovalRule(0)) for one in DEFAULT_POLICIES]  # fmt: skip
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(plain), by="root")
    for alias, version, data in (("good", "1.0.0", GOOD), ("bad", "1.1.0", BAD)):
        publish_pipeline(stores, data, [version], by="ann")
        settle(plane)
        made[alias] = register_late(version)
        make_release(plane.platform, alias, [f"late@{version}"], [f"score@{version}"], by="ann")
        settle(plane)
        bring_in(plane, alias)
    return made


def check_serves(plane: ControlPlane, alias: str, model: ModelVersion, runs: str) -> None:
    """All that goes by the pointer: the release, what runs, what a task gets, what is served."""
    platform, other = plane.platform, {"1.0.0": "1.1.0", "1.1.0": "1.0.0"}[runs]
    with platform.stores.db.read() as connection:
        live = live_release(connection, HERE)
    assert live is not None
    assert live.alias == alias
    assert live.release.packages[0].digest == model.wheel_digest
    assert live.release.pipelines[0].digest == digest_of(GOOD if runs == "1.0.0" else BAD)
    submit_pipeline(platform, f"score@{runs}", arguments={}, environment=HERE, by="ann")
    with pytest.raises(Refused, match="does not hold it"):
        submit_pipeline(platform, f"score@{other}", arguments={}, environment=HERE, by="ann")
    assert find_model_for(platform.stores, "late", HERE).wheel_digest == model.wheel_digest
    path = snapshot_path(platform.stores.root, HERE)
    assert read_snapshot(path, platform.key.public).release == live.digest


def test_the_model_and_its_components_go_back_together(
    plane: ControlPlane, models: dict[str, ModelVersion]
) -> None:
    stores = plane.platform.stores
    check_serves(plane, "bad", models["bad"], "1.1.0")
    request_rollback(stores, HERE, "says 0 on Mondays", by="bea")
    settle(plane)
    check_serves(plane, "good", models["good"], "1.0.0")
    files = list_package_files(stores, HERE, "late")
    assert {one.digest for one in files} == {one.wheel_digest for one in models.values()}
    with pytest.raises(Refused, match="was rolled back in development by bea"):
        request_promotion(stores, "bad", HERE, by="ann")
    with stores.db.read() as connection:
        [asked] = read_facts(connection, kinds=["rollback.requested"])
        changed = read_facts(connection, kinds=["environment.changed"])
    assert (asked.by, asked.body["reason"]) == ("bea", "says 0 on Mondays")
    releases = [one.body["release"] for one in changed]
    assert releases[0] == releases[2] != releases[1]
