"""What the data plane is told to keep warm, as promotions go their way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seamline.app.promote.environment_snapshot import keep_warm
from seamline.domain.clock import SystemClock
from seamline.domain.settings import Settings
from seamline.domain.states import PromotionPhase, Role
from seamline.project.plan import apply_project
from seamline.promote.approvals import approve, reject
from seamline.promote.environments import apply_policies, find_environment
from seamline.promote.policy import DEFAULT_POLICIES, ApprovalRule, EnvironmentPolicy
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.release import Pin, Release, find_release, record_release
from seamline.promote.requests import request_promotion, request_rollback
from seamline.register.models.catalogue import ModelVersion
from seamline.serve.snapshots.snapshot import ServingSnapshot, read_snapshot, snapshot_path
from seamline.server import ControlPlane, build_control_plane
from seamline.store.facts import read_facts
from seamline.trust.roles import Principal

DEPLOYED = """
project = "late"
team = "late"

[models.late]
pipeline = "train"
output = "train.model"
samples = "train.samples"

[deployments.late]
model = "late"
"""
BEA = Principal("bea", frozenset({Role.APPROVER}))
ENVIRONMENT = "development"
Told = tuple[str, list[str]]


@pytest.fixture
def served(plane: ControlPlane, register_late: Callable[..., ModelVersion]) -> ControlPlane:
    """Three releases of one model each, a deployment of it, and one approval for development."""
    apply_project(plane.platform.stores, DEPLOYED, "seamline.toml", by="ann")
    set_policy(plane, approvals=ApprovalRule(count=1, exclude=()))
    for number in (1, 2, 3):
        model = register_late(f"1.0.{number}")
        pins = Release(packages=(Pin("late", model.version, model.wheel_digest),))
        record_release(plane.platform.stores, pins, f"r{number}", by="ann")
    return plane


def set_policy(plane: ControlPlane, **changes: Any) -> None:
    stores = plane.platform.stores
    with stores.db.transaction() as tx:
        old = find_environment(tx, ENVIRONMENT).policy
        plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
        plain[1] = replace(plain[1], **{"approvals": old.approvals, **changes})
        apply_policies(tx, stores.facts, tuple(plain), by="root")


def settle(plane: ControlPlane) -> None:
    while plane.loop.step():
        pass


def ask(plane: ControlPlane, alias: str) -> Promotion:
    asked = request_promotion(plane.platform.stores, alias, ENVIRONMENT, by="ann")
    settle(plane)
    return asked


def go_live(plane: ControlPlane, alias: str) -> None:
    approve(plane.platform.stores, ask(plane, alias).id, BEA, {})
    settle(plane)


def snapshot(plane: ControlPlane) -> ServingSnapshot:
    path = snapshot_path(plane.platform.root, ENVIRONMENT)
    return read_snapshot(path, plane.platform.key.public)


def told(plane: ControlPlane) -> Told:
    """(what is live, what stands by), by alias, as the endpoints say."""
    found = snapshot(plane)
    for one in found.standbys:
        assert [f"r{spec.model_version[-1]}" for spec in one.endpoints] == [one.release_alias]
    return found.release_alias, [one.release_alias for one in found.standbys]


def phase(plane: ControlPlane, promotion: Promotion) -> PromotionPhase:
    with plane.platform.stores.db.read() as connection:
        return find_promotion(connection, promotion.id).phase


def test_what_waits_and_what_was_live_before_stand_by(served: ControlPlane) -> None:
    asked = ask(served, "r1")
    assert told(served) == ("", ["r1"])
    assert snapshot(served).endpoints == ()
    approve(served.platform.stores, asked.id, BEA, {})
    settle(served)
    assert told(served) == ("r1", [])
    ask(served, "r2")
    assert told(served) == ("r1", ["r2"])
    go_live(served, "r3")  # takes over from r2, which never was live
    assert told(served) == ("r3", ["r1"])


def test_a_candidate_that_is_turned_down_is_let_go(served: ControlPlane) -> None:
    go_live(served, "r1")
    asked = ask(served, "r2")
    assert told(served) == ("r1", ["r2"])
    reject(served.platform.stores, asked.id, BEA, "no")
    settle(served)
    assert told(served) == ("r1", [])


def test_going_back_swaps_and_then_lets_the_bad_one_go(served: ControlPlane) -> None:
    go_live(served, "r1")
    go_live(served, "r2")
    assert told(served) == ("r2", ["r1"])
    before = snapshot(served).standbys[0].endpoints
    request_rollback(served.platform.stores, ENVIRONMENT, "bad", by="bea")
    seen = []
    while served.loop.step():
        seen.append(told(served))
    assert seen[-1] == ("r1", [])
    # Until the rollback is verified, a way back to what it took over from stays warm.
    assert ("r1", ["r2"]) in seen
    assert snapshot(served).endpoints == before


@pytest.mark.parametrize(("warm", "kept"), [(0, []), (1, ["r1"]), (2, ["r1", "r3"])])
def test_no_more_than_the_policy_allows(served: ControlPlane, warm: int, kept: list[str]) -> None:
    set_policy(served, warm=warm)
    go_live(served, "r1")
    go_live(served, "r2")
    ask(served, "r3")
    assert told(served) == ("r2", kept)


def test_a_candidate_whose_bytes_do_not_hold_is_not_told_of(served: ControlPlane) -> None:
    go_live(served, "r1")
    stores = served.platform.stores
    with stores.db.read() as connection:
        [pin] = find_release(connection, "r2").release.packages
    path = stores.blobs.path_of(pin.digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")
    asked = ask(served, "r2")
    assert told(served) == ("r1", [])
    approve(stores, asked.id, BEA, {})
    settle(served)
    assert phase(served, asked) is PromotionPhase.FAILED
    assert told(served) == ("r1", [])


def test_a_live_release_is_told_of_as_it_was_though_its_bytes_are_gone(
    served: ControlPlane,
) -> None:
    """To warm another one must not touch what answers: it holds its bytes."""
    go_live(served, "r1")
    live = snapshot(served).endpoints
    Path(live[0].wheel_path).unlink()
    ask(served, "r2")
    assert told(served) == ("r1", ["r2"])
    assert snapshot(served).endpoints == live


def test_a_snapshot_that_is_not_what_is_live_is_not_written_on(served: ControlPlane) -> None:
    """Whoever lost it must not be told that nothing is live."""
    go_live(served, "r1")
    path = snapshot_path(served.platform.root, ENVIRONMENT)
    path.unlink()
    ask(served, "r2")
    assert not path.exists()


def test_a_standby_that_was_altered_since_is_not_applied(served: ControlPlane) -> None:
    """Its worker has the bytes that were approved; what starts after it would not."""
    go_live(served, "r1")
    asked = ask(served, "r2")
    path = Path(snapshot(served).standbys[0].endpoints[0].wheel_path)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")
    approve(served.platform.stores, asked.id, BEA, {})
    settle(served)
    assert phase(served, asked) is PromotionPhase.FAILED
    assert told(served) == ("r1", [])


def test_a_server_started_again_writes_nothing_twice(served: ControlPlane) -> None:
    go_live(served, "r1")
    ask(served, "r2")
    before = snapshot(served)
    stores = served.platform.stores
    again = build_control_plane(Settings(workspace=stores.root), SystemClock())
    with stores.db.read() as connection:
        moved = read_facts(connection, kinds=["promotion.moved"])
    for fact in moved:
        keep_warm(again.platform, fact)
    assert snapshot(served) == before
    again.platform.engine.close()
    again.platform.runner.close()
    again.platform.stores.db.close()


def test_the_file_says_how_many(served: ControlPlane) -> None:
    stores = served.platform.stores
    text = '[environments.dataops]\n[environments.development]\nafter = "dataops"\nwarm = 1\n'
    apply_project(stores, f'project = "p"\nteam = "p"\n{text}', "platform.toml", by="ann")
    with stores.db.read() as connection:
        found = find_environment(connection, ENVIRONMENT).policy
        assert (found.warm, EnvironmentPolicy.from_json(found.to_json())) == (1, found)
        assert "warm" not in find_environment(connection, "dataops").policy.to_json()


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        # A column that the model takes by now: an input, and no context any more.
        ('context = ["x", "y"]', ["r2"]),
        # It can never be served: what waits behind it goes on all the same.
        ('event_time = "nowhere"', []),
    ],
)
def test_what_its_deployment_says_of_columns_holds_up_nothing(
    served: ControlPlane, line: str, kept: list[str]
) -> None:
    go_live(served, "r1")
    apply_project(served.platform.stores, f"{DEPLOYED}{line}\n", "seamline.toml", by="ann")
    asked = ask(served, "r2")
    assert phase(served, asked) is PromotionPhase.AWAITING_APPROVAL
    assert told(served) == ("r1", kept)
    for standby in snapshot(served).standbys:
        assert [one.name for spec in standby.endpoints for one in spec.context] == ["y"]
