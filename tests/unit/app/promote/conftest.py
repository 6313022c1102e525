"""The control plane that nothing drives but the test, on each database; and one with two versions
of a pipeline, where a request is enough to go live."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from seamline.app.platform import Platform
from seamline.app.promote.make_release import make_release
from seamline.domain.clock import ManualClock
from seamline.domain.settings import Settings
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.promote.promotion import Promotion
from seamline.promote.requests import request_promotion
from seamline.register.models.catalogue import ModelVersion, list_model_versions
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane, build_control_plane
from seamline.store.facts import RecordedFact, read_facts
from seamline.store.stores import Stores


def pipeline_of(note: str, name: str = "score") -> bytes:
    executors = {"exec-do": {"container": {"image": f"i@sha256:{'0' * 64}", "command": [note]}}}
    task = {"taskInfo": {"name": "do"}, "componentRef": {"name": "comp-do"}, "inputs": {}}
    document = {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": name},
        "root": {"dag": {"tasks": {"do": task}}},
        "components": {"comp-do": {"executorLabel": "exec-do"}},
        "deploymentSpec": {"executors": executors},
    }
    return json.dumps(document).encode()


@dataclass
class House:
    plane: ControlPlane
    #: Published as score@1.0.0 and score@1.1.0.
    old: bytes
    new: bytes
    #: Of the model `late`.
    register: Callable[..., ModelVersion]

    @property
    def platform(self) -> Platform:
        return self.plane.platform

    @property
    def stores(self) -> Stores:
        return self.plane.platform.stores

    def pipeline(self, note: str, name: str = "score") -> bytes:
        return pipeline_of(note, name)

    def settle(self) -> None:
        while self.plane.loop.step():
            pass

    def ask(
        self, alias: str, *pipelines: str, models: tuple[str, ...] = (), to: str = "development"
    ) -> Promotion:
        made = make_release(self.platform, alias, models, pipelines, by="ann")
        return request_promotion(self.stores, made.digest, to, by="ann")

    def go_live(self, alias: str, *pipelines: str, models: tuple[str, ...] = ()) -> str:
        """In development; the release's digest."""
        asked = self.ask(alias, *pipelines, models=models)
        self.settle()
        return asked.release

    def facts(self, kind: str) -> list[RecordedFact]:
        with self.stores.db.read() as connection:
            return read_facts(connection, kinds=[kind])

    def wheels(self) -> list[ModelVersion]:
        return list_model_versions(self.stores, "late")


@pytest.fixture
def house(plane: ControlPlane, register_late: Callable[..., ModelVersion]) -> House:
    made = House(plane, pipeline_of("old"), pipeline_of("new"), register_late)
    publish_pipeline(made.stores, made.old, ["1.0.0"], by="ann")
    publish_pipeline(made.stores, made.new, ["1.1.0"], by="ann")
    plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    with made.stores.db.transaction() as tx:
        apply_policies(tx, made.stores.facts, tuple(plain), by="root")
    return made


@pytest.fixture
def plane(database_url: str | None, tmp_path: Path, clock: ManualClock) -> Iterator[ControlPlane]:
    settings = Settings(workspace=tmp_path / "workspace", database_url=database_url or "")
    made = build_control_plane(settings, clock)
    yield made
    made.platform.engine.close()
    made.platform.runner.close()
    made.platform.stores.db.close()
