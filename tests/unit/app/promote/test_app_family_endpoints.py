"""One endpoint for all models of a family that the release holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from seamline.app.promote.endpoints import make_endpoints
from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput, NotFound
from seamline.project.plan import apply_project
from seamline.promote.release import Pin, Release, StoredRelease, record_release
from seamline.register.models.catalogue import ModelVersion, register_model_version
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.families import member_name
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.server import ControlPlane

DEPLOYED = """
project = "fares"
team = "fares"

[models.fares]
pipeline = "train"
output = "train.model"
samples = "train.samples"
per = ["route", "days"]

[deployments.fares]
model = "fares"
memory = "64Mi"
"""
Register = Callable[..., ModelVersion]


@pytest.fixture
def register(plane: ControlPlane) -> Register:
    """A member of the family, which nobody has trained."""

    def made(route: Any, days: Any, *inputs: str) -> ModelVersion:
        payload = f"payload {route} {days}".encode()
        scenario = {"route": route, "days": days}
        names = inputs or ("x",)
        described: dict[str, Any] = {
            "task": "regression",
            "format": "skops",
            "payload_digest": digest_of(payload),
            "threshold": 0.5,
            "signature": {
                "inputs": [{"name": name, "datatype": "FP64", "nullable": False} for name in names],
                "outputs": [{"name": "prediction", "datatype": "FP64"}],
            },
            "requirements": [],
            "requires_python": ">=3.11",
            "trusted_types": [],
            "frame": None,
        }
        lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
        name = member_name("fares", scenario)
        document = make_model_document(
            name, "1.0.1", described, lineage, family="fares", scenario=scenario
        )
        wheel = build_model_wheel(ModelWheelSpec(document, {"rows": [], "outputs": {}}, payload))
        platform = plane.platform
        return register_model_version(platform.stores, wheel, key=platform.key, by="ann")

    return made


def release_of(plane: ControlPlane, *models: ModelVersion) -> StoredRelease:
    pins = tuple(Pin(one.model, one.version, one.wheel_digest) for one in models)
    return record_release(plane.platform.stores, Release(packages=pins), "r1", by="ann")


def test_the_snapshot_names_each_member_by_its_key_and_digest(
    plane: ControlPlane, register: Register
) -> None:
    apply_project(plane.platform.stores, DEPLOYED, "seamline.toml", by="ann")
    models = [register("JFK", 1), register("LGA", 1), register("JFK", 2)]
    (spec,) = make_endpoints(plane.platform, release_of(plane, *models[:2]))
    family = spec.family
    assert family is not None
    assert {one.key: one.package_digest for one in family.members} == {
        ("JFK", 1): models[0].wheel_digest,
        ("LGA", 1): models[1].wheel_digest,
    }
    assert [(one.name, one.datatype) for one in spec.signature.inputs] == [
        ("route", "BYTES"), ("days", "INT64"), ("x", "FP64"),
    ]  # fmt: skip
    assert [one.name for one in family.inputs] == ["x"]
    assert family.memory_bytes == 64 << 20
    assert family.places_of({"route": ["LGA", "JFK"], "days": [1, 1]}) == [
        [one.model for one in family.members].index(name) for name in ("fares-lga-1", "fares-jfk-1")
    ]


def test_another_member_makes_another_identity(plane: ControlPlane, register: Register) -> None:
    """The plane keeps running what is named by the same digest."""
    apply_project(plane.platform.stores, DEPLOYED, "seamline.toml", by="ann")
    one, two = register("JFK", 1), register("LGA", 1)
    (small,) = make_endpoints(plane.platform, release_of(plane, one))
    pins = (Pin(one.model, "1.0.1", one.wheel_digest), Pin(two.model, "1.0.1", two.wheel_digest))
    stored = record_release(plane.platform.stores, Release(packages=pins), "r2", by="ann")
    (large,) = make_endpoints(plane.platform, stored)
    assert small.package_digest != large.package_digest


def test_a_key_that_the_models_take_too_keeps_their_type(
    plane: ControlPlane, register: Register
) -> None:
    apply_project(plane.platform.stores, DEPLOYED, "seamline.toml", by="ann")
    (spec,) = make_endpoints(plane.platform, release_of(plane, register("JFK", 1, "days", "x")))
    assert [(one.name, one.datatype) for one in spec.signature.inputs] == [
        ("route", "BYTES"), ("days", "FP64"), ("x", "FP64"),
    ]  # fmt: skip
    assert spec.family is not None
    assert spec.family.members[0].key == ("JFK", 1.0)


def test_members_that_cannot_stand_behind_one_name_are_refused(
    plane: ControlPlane, register: Register
) -> None:
    apply_project(plane.platform.stores, DEPLOYED, "seamline.toml", by="ann")
    mixed = release_of(plane, register("JFK", 1), register("LGA", 1, "x", "y"))
    with pytest.raises(InvalidInput, match=r"fares-lga-1 1\.0\.1 takes or gives other columns"):
        make_endpoints(plane.platform, mixed)


def test_a_default_has_to_be_in_the_release(plane: ControlPlane, register: Register) -> None:
    text = DEPLOYED + 'default = "fares-lga-1"\n'
    apply_project(plane.platform.stores, text, "seamline.toml", by="ann")
    with pytest.raises(NotFound, match="names the default 'fares-lga-1'"):
        make_endpoints(plane.platform, release_of(plane, register("JFK", 1)))
