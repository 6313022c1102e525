"""A control plane with two versions of a pipeline, where a request is enough to go live."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from seamline.app.platform import Platform
from seamline.app.promote.make_release import make_release
from seamline.domain.digests import digest_of
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.promote.promotion import Promotion
from seamline.promote.requests import request_promotion
from seamline.register.models.catalogue import ModelVersion, register_model_version
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane
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

    def register(self, version: str) -> ModelVersion:
        """Of the model `late`."""
        payload = f"payload {version}".encode()
        described: dict[str, Any] = {
            "task": "binary_classification",
            "format": "skops",
            "payload_digest": digest_of(payload),
            "threshold": 0.5,
            "signature": {
                "inputs": [{"name": "x", "datatype": "FP64", "nullable": False}],
                "outputs": [{"name": "label", "datatype": "INT64"}],
            },
            "requirements": ["scikit-learn==1.9.1", "skops==0.16.0"],
            "requires_python": ">=3.11",
            "trusted_types": [],
            "frame": None,
        }
        lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
        document = make_model_document("late", version, described, lineage)
        wheel = build_model_wheel(ModelWheelSpec(document, {"rows": [], "outputs": {}}, payload))
        return register_model_version(self.stores, wheel, key=self.platform.key, by="ann")


@pytest.fixture
def house(plane: ControlPlane) -> House:
    made = House(plane, pipeline_of("old"), pipeline_of("new"))
    publish_pipeline(made.stores, made.old, ["1.0.0"], by="ann")
    publish_pipeline(made.stores, made.new, ["1.1.0"], by="ann")
    plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    with made.stores.db.transaction() as tx:
        apply_policies(tx, made.stores.facts, tuple(plain), by="root")
    return made
