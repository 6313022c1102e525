"""The twin alone, where there is ONNX Runtime and nothing else; and where it comes from."""

from __future__ import annotations

import io
import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamline.domain.errors import DigestMismatch, InvalidInput, NotFound
from seamline.register.models.catalogue import (
    ModelVersion,
    read_model_wheel,
    register_model_version,
    verify_model_version,
)
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.thin_wheels import find_payload, list_thin_wheels
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.packages.index import read_package_file
from seamline.trust.signing import find_statements

LINEAGE = Lineage("r", "p", "sha256:" + "a" * 64, (), None, "2026-01-01T00:00:00Z", None)
LOADER = Path(__file__).parents[3] / "loader" / "src"
TWIN = "late_arrival/payload/twin.onnx"

#: As docs/howto/edge-devices.md has it: the file, numpy and ONNX Runtime.
RAW = """
import importlib.util, json, sys
assert importlib.util.find_spec("sklearn") is None and importlib.util.find_spec("seamline") is None
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
rows = json.load(sys.stdin)
feed = {}
for name in rows[0]:
    values = [row[name] for row in rows]
    if any(isinstance(value, str) for value in values):
        feed[name] = np.array([value or "" for value in values], object).reshape(-1, 1)
    else:
        feed[name] = np.array(values, np.float64).astype(np.float32).reshape(-1, 1)
label, probabilities = session.run(None, feed)
print(json.dumps({"score": probabilities[:, 1].tolist()}))
"""
LOADED = """
import importlib.util, json, sys
assert importlib.util.find_spec("sklearn") is None
sys.path.insert(0, sys.argv[1])
import late_arrival
outputs = late_arrival.load_twin().outputs(json.load(sys.stdin))
print(json.dumps({name: values.tolist() for name, values in outputs.items()}))
"""


@pytest.fixture(scope="module")
def spec(workshop: Any, describe: Any) -> ModelWheelSpec:
    one = describe("logistic.skops")
    twin = workshop.twin(one, "edge")
    document = make_model_document(
        "late-arrival", "1.0.0", {**one.described, "twin": twin}, LINEAGE
    )
    graph = workshop.platform.stores.blobs.get(twin["digest"])
    payload = one.path.read_bytes()
    return ModelWheelSpec(document, one.described["samples"], payload, twin=graph)


@pytest.fixture(scope="module")
def registered(workshop: Any, spec: ModelWheelSpec) -> ModelVersion:
    platform = workshop.platform
    wheel = build_model_wheel(spec)
    return register_model_version(platform.stores, wheel, key=platform.key, by="ada")


def run_on(python: Path, program: str, path: Path, rows: Any, **environ: str) -> dict[str, Any]:
    ran = subprocess.run(
        [python, "-c", program, path],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("program", [RAW, LOADED], ids=["onnxruntime", "load_twin"])
def test_a_device_needs_nothing_of_ours_or_of_scikit_learn(
    program: str, spec: ModelWheelSpec, describe: Any, device: Path, tmp_path: Path
) -> None:
    wheel = build_model_wheel(spec)
    path = tmp_path / ("x.whl" if program is LOADED else "twin.onnx")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        path.write_bytes(wheel if program is LOADED else archive.read(TWIN))
    one = describe("logistic.skops")
    said = run_on(device, program, path, one.rows)
    np.testing.assert_allclose(said["score"], one.answers, atol=1e-3)
    if program is LOADED:
        labels = np.array(one.answers) >= one.described["threshold"]
        assert (np.array(said["label"]) == labels).mean() >= 0.999


def test_a_thin_wheel_fetches_the_twin_alone(
    workshop: Any, registered: ModelVersion, describe: Any, device: Path, tmp_path: Path
) -> None:
    stores = workshop.platform.stores
    [thin] = list_thin_wheels(stores, "dataops", "late-arrival")
    path, cache = tmp_path / "thin.whl", tmp_path / "cache"
    path.write_bytes(read_package_file(stores, thin))
    one = describe("logistic.skops")
    said = run_on(
        device,
        LOADED,
        path,
        one.rows[:20],
        PYTHONPATH=str(LOADER),
        SEAMLINE_PAYLOADS=str(stores.root / "blobs"),
        SEAMLINE_PAYLOAD_CACHE=str(cache),
    )
    np.testing.assert_allclose(said["score"], one.answers[:20], atol=1e-3)
    kept = [path.name for path in (cache / "sha256").iterdir() if len(path.name) == 64]
    assert [f"sha256:{name}" for name in kept] == [registered.document["twin"]["digest"]]


def test_fat_thin_and_statement_know_it(workshop: Any, registered: ModelVersion) -> None:
    stores, digest = workshop.platform.stores, registered.document["twin"]["digest"]
    fat = stores.blobs.get(registered.wheel_digest)
    with zipfile.ZipFile(io.BytesIO(fat)) as archive:
        assert find_payload(stores, "dataops", digest) == archive.getinfo(TWIN).file_size
    [thin] = list_thin_wheels(stores, "dataops", "late-arrival")
    with zipfile.ZipFile(io.BytesIO(read_package_file(stores, thin))) as archive:
        assert not [name for name in archive.namelist() if "payload" in name]
        assert b"load_thin_twin" in archive.read("late_arrival/__init__.py")
        assert json.loads(archive.read("late_arrival/model.json"))["twin"]["digest"] == digest
    with stores.db.read() as connection:
        [stated] = find_statements(connection, digest)
    assert stated.statement == registered.statement_digest
    with pytest.raises(NotFound, match="staging"):
        find_payload(stores, "staging", digest)
    verify_model_version(stores, "late-arrival", "1.0.0", workshop.platform.key.public)


def test_an_altered_twin_is_refused(spec: ModelWheelSpec) -> None:
    wheel = build_model_wheel(spec)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(wheel)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (b"\0" if name == TWIN else b""))
    with pytest.raises(DigestMismatch, match="late-arrival"):
        read_model_wheel(buffer)
    with pytest.raises(DigestMismatch):
        build_model_wheel(ModelWheelSpec(spec.document, spec.samples, spec.payload, twin=b"\x08"))
    with pytest.raises(InvalidInput, match="without its twin"):
        build_model_wheel(ModelWheelSpec(spec.document, spec.samples, spec.payload))
