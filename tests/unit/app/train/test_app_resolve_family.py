"""A family for a task: which of its models, by whose word, and as which bytes."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from seamline.app.promote.make_release import make_release
from seamline.app.train.resolve_uri import resolve_uri
from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch, Refused
from seamline.register.models.catalogue import ModelVersion, register_model_version
from seamline.server import ControlPlane
from seamline.train.context import ResolvedArtifact, RunContext

FELT = Path(__file__).parents[2] / "components" / "felt_wheel.py"
Register = Callable[[str, str], ModelVersion]
HERE = RunContext("run", "dataops", "answering", "ann", "importer")


@pytest.fixture
def register(plane: ControlPlane) -> Register:
    make = runpy.run_path(str(FELT))["model_wheel"]

    def one(station: str, version: str) -> ModelVersion:
        wheel = make(3.5, f"breeze-{station}", version, 1.0, {"station": station})
        stores, key = plane.platform.stores, plane.platform.key
        return register_model_version(stores, wheel, key=key, by="ann")

    return one


def release(plane: ControlPlane, name: str, *models: ModelVersion) -> RunContext:
    """A run that it admits, in production."""
    held = [f"{one.model}@{one.version}" for one in models]
    made = make_release(plane.platform, name, held, [], by="ann")
    return RunContext("run", "production", "answering", "ann", "importer", made.release.digest)


def versions(found: ResolvedArtifact) -> dict[str, str]:
    listed = json.loads((found.path / "family.json").read_text())
    assert listed["keys"] == ["station"]
    for one in listed["models"]:
        assert digest_of((found.path / one["file"]).read_bytes()) == one["digest"]
    return {one["key"][0]: one["version"] for one in listed["models"]}


def test_in_dataops_the_newest_of_each_and_elsewhere_the_releases(
    plane: ControlPlane, register: Register
) -> None:
    stores = plane.platform.stores
    old = [register(station, "1.0.0") for station in "ab"]
    production = release(plane, "spring", *old)
    register("b", "1.0.1")
    register("c", "1.0.0")
    newest = resolve_uri(stores, "models://breeze", HERE)
    assert versions(newest) == {"a": "1.0.0", "b": "1.0.1", "c": "1.0.0"}
    held = resolve_uri(stores, "models://breeze", production)
    assert versions(held) == {"a": "1.0.0", "b": "1.0.0"}
    assert resolve_uri(stores, held.uri, production) == held, "it is pinned"
    assert versions(resolve_uri(stores, held.uri, HERE)) == versions(held)
    with pytest.raises(Refused, match=r"release spring does not hold breeze-b 1\.0\.1 and 1 more"):
        resolve_uri(stores, newest.uri, production)


def test_one_of_a_family_is_a_model_by_itself(plane: ControlPlane, register: Register) -> None:
    register("a", "1.0.0")
    found = resolve_uri(plane.platform.stores, "models://breeze-a", HERE)
    assert found.path.name == "breeze_a-1.0.0-py3-none-any.whl"
    assert found.metadata["module"] == "breeze_a"


def test_a_package_that_was_altered_is_refused(plane: ControlPlane, register: Register) -> None:
    stores = plane.platform.stores
    made = register("a", "1.0.0")
    register("b", "1.0.0")
    found = resolve_uri(stores, "models://breeze", HERE)
    (found.path / made.filename).write_bytes(b"altered by a task")
    assert versions(resolve_uri(stores, found.uri, HERE)) == {"a": "1.0.0", "b": "1.0.0"}
    stores.blobs.path_of(made.wheel_digest).chmod(0o600)
    stores.blobs.path_of(made.wheel_digest).write_bytes(b"altered in the store")
    with pytest.raises(DigestMismatch, match=r"package breeze-a 1\.0\.0"):
        resolve_uri(stores, found.uri, HERE)
