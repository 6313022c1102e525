"""Wheels of a state and its source, built and taken apart without PyTorch."""

from __future__ import annotations

import inspect
import io
import json
import struct
import sys
import traceback
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from seamline.app.register.model_output import read_output
from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch, InvalidInput, Refused, SeamlineError
from seamline.register.formats.scan import Scan
from seamline.register.formats.torch_state import scan_state
from seamline.register.models.catalogue import register_model_version
from seamline.register.models.documents import Lineage, make_model_document, packaging_task
from seamline.register.models.loading.adapters.source import import_sources, verified_sources
from seamline.register.models.loading.opening import open_model
from seamline.register.models.thin_wheels import build_thin_wheel
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.packages.wheel_pack import pack_wheel
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact, store_path
from seamline.trust.keys import SigningKey

HEADER = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
STATE = struct.pack("<Q", len(HEADER)) + HEADER + bytes(8)
CODE = {
    "model.py": b"from torch.nn import Linear\n\n\ndef build_model(): return Linear(2, 1)\n",
    "layers/dense.py": b"import math\n",
}
SETTINGS = b'{"task": "regression", "inputs": ["x"]}'
LINEAGE = Lineage("r", "p", "sha256:" + "a" * 64, (), None, "2026-01-01T00:00:00Z", None)


def scanned(code: Mapping[str, bytes] = CODE) -> Scan:
    return scan_state(io.BytesIO(STATE), len(STATE), SETTINGS, code)


def described(scan: Scan) -> dict[str, Any]:
    """As the packaging task would say, where there is PyTorch."""
    assert scan.code is not None
    return {
        "task": "regression",
        "format": "torch-state",
        "payload_digest": digest_of(STATE),
        "threshold": None,
        "signature": {
            "inputs": [{"name": "x", "datatype": "FP64", "nullable": False}],
            "outputs": [{"name": "prediction", "datatype": "FP64"}],
        },
        "requirements": ["torch==2.13.0"],
        "requires_python": ">=3.11",
        "trusted_types": [],
        "frame": None,
        "loading": scan.to_json(),
        "code": scan.code.to_json(),
    }


@pytest.fixture(scope="module")
def spec() -> ModelWheelSpec:
    document = make_model_document("delay", "1.0.0", described(scanned()), LINEAGE)
    return ModelWheelSpec(document, {"rows": [], "outputs": {}}, STATE, CODE)


@pytest.fixture(scope="module")
def wheel(spec: ModelWheelSpec) -> bytes:
    return build_model_wheel(spec)


def changed(wheel: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Packed again, with a RECORD that says the same."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        files: dict[str, Any] = {name: archive.read(name) for name in archive.namelist()}
    del files["delay-1.0.0.dist-info/RECORD"]
    change(files)
    return pack_wheel(files, "delay-1.0.0.dist-info")


def test_source_lies_in_the_wheel_as_files(wheel: bytes, spec: ModelWheelSpec) -> None:
    assert wheel == build_model_wheel(spec)
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        assert archive.read("delay/code/layers/dense.py") == CODE["layers/dense.py"]
        assert archive.read("delay/payload/state.safetensors") == STATE
        document = json.loads(archive.read("delay/model.json"))
        metadata = archive.read("delay-1.0.0.dist-info/METADATA").decode()
    assert document["code"]["files"]["model.py"] == digest_of(CODE["model.py"])
    assert document["loading"]["globals"] == ["math", "torch.nn"]
    assert "Format: torch-state (arbitrary code)" in metadata


def test_a_thin_wheel_lacks_the_state_alone(wheel: bytes) -> None:
    thin = build_thin_wheel(io.BytesIO(wheel))
    assert thin is not None
    with zipfile.ZipFile(io.BytesIO(thin)) as archive:
        names = archive.namelist()
        assert archive.read("delay/code/model.py") == CODE["model.py"]
    assert not [name for name in names if name.startswith("delay/payload/")]


def test_a_wheel_comes_in_where_the_policy_admits_it(
    sqlite_stores: Stores, key: SigningKey, wheel: bytes
) -> None:
    with pytest.raises(Refused, match="it is a torch-state file, and the policy of dataops"):
        register_model_version(sqlite_stores, wheel, key=key, by="ada")
    made = register_model_version(sqlite_stores, wheel, key=key, by="ada", admitted=["torch-state"])
    assert made.document["loading"]["verdict"] == "arbitrary code"


def _edit_document(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def edit(files: dict[str, Any]) -> None:
        document = json.loads(files["delay/model.json"])
        files["delay/model.json"] = json.dumps({**document, **changes}).encode()

    return edit


EVIL = b"import os\n\n\ndef build_model(): return os.getpid()\n"
TAMPERED: dict[str, tuple[Callable[[dict[str, Any]], object], type[SeamlineError], str]] = {
    "source": (
        lambda files: files.update({"delay/code/model.py": EVIL}),
        DigestMismatch,
        r"model\.py",
    ),
    "more": (
        lambda files: files.update({"delay/code/more.py": b""}),
        InvalidInput,
        r"differ in its code: more\.py",
    ),
    "less": (
        lambda files: files.pop("delay/code/layers/dense.py"),
        InvalidInput,
        r"differ in its code: layers/dense\.py",
    ),
    "elsewhere": (
        lambda files: files.update({"delay/code/../model.py": b""}),
        InvalidInput,
        "differ in its code",
    ),
    "large": (
        lambda files: files.update({"delay/code/large.py": b"#" * (1 << 20)}),
        InvalidInput,
        "which is too much",
    ),
    "verdict": (
        _edit_document(loading={"verdict": "data", "globals": ["math", "torch.nn"]}),
        InvalidInput,
        "says of a torch-state file that loading it is 'data'",
    ),
    "imports": (
        _edit_document(loading={"verdict": "arbitrary code", "globals": []}),
        InvalidInput,
        r"does not describe its code, which imports math, torch\.nn",
    ),
    "nothing_said": (_edit_document(code=None), InvalidInput, "neither files nor settings"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_wheel_that_says_something_else_is_refused(
    sqlite_stores: Stores, key: SigningKey, wheel: bytes, name: str
) -> None:
    change, error, said = TAMPERED[name]
    with pytest.raises(error, match=said):
        register_model_version(
            sqlite_stores, changed(wheel, change), key=key, by="ada", admitted=["torch-state"]
        )


def test_source_by_its_right_digest_is_looked_at_all_the_same(
    sqlite_stores: Stores, key: SigningKey, wheel: bytes, spec: ModelWheelSpec
) -> None:
    """Whoever can write model.json can write digests, too."""

    def change(files: dict[str, Any]) -> None:
        files["delay/code/model.py"] = EVIL
        named = {**spec.document["code"]["files"], "model.py": digest_of(EVIL)}
        _edit_document(code={**spec.document["code"], "files": named})(files)

    with pytest.raises(Refused, match=r"holds: model\.py line 1 imports os\."):
        register_model_version(
            sqlite_stores, changed(wheel, change), key=key, by="ada", admitted=["torch-state"]
        )


def test_a_wheel_is_not_built_of_other_source(spec: ModelWheelSpec) -> None:
    other = ModelWheelSpec(spec.document, spec.samples, STATE, {**CODE, "model.py": EVIL})
    with pytest.raises(DigestMismatch, match=r"model\.py"):
        build_model_wheel(other)


def test_the_task_gets_the_very_text_that_was_looked_at(tmp_path: Any) -> None:
    _, payload = packaging_task(tmp_path, tmp_path, requirements=[], scan=scanned())
    assert payload["code"]["texts"] == {path: text.decode() for path, text in CODE.items()}
    assert payload["code"]["described"]["files"].keys() == CODE.keys()
    assert json.dumps(payload)


def test_altered_source_is_refused_before_the_framework_is_there(spec: ModelWheelSpec) -> None:
    with pytest.raises(ValueError, match=r"model\.py was altered: expected sha256:"):
        open_model(spec.document, STATE, {**CODE, "model.py": EVIL})


def kept(stores: Stores, folder: Any) -> Artifact:
    stored = store_path(stores.blobs, folder)
    return Artifact(
        "a",
        "model",
        "system.Model",
        stored.digest,
        stored.size_bytes,
        stored.is_directory,
        is_blob=True,
        uri="u",
    )


def test_a_runs_folder_is_read_as_one_model(sqlite_stores: Stores, tmp_path: Any) -> None:
    folder = tmp_path / "model"
    for path, data in {**CODE, "state.safetensors": STATE, "settings.json": SETTINGS}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    blobs = sqlite_stores.blobs
    output = read_output(blobs, kept(sqlite_stores, folder), "delay", "delay of run r")
    assert output.digest == digest_of(STATE)
    assert output.scan == scanned()
    (folder / "settings.json").write_bytes(b" " * (1 << 20) + SETTINGS)
    with pytest.raises(InvalidInput, match=r"up to settings\.json: 1,048,576 is the limit"):
        read_output(blobs, kept(sqlite_stores, folder), "delay", "delay of run r")
    (folder / "state.safetensors").unlink()
    with pytest.raises(InvalidInput, match=r"or, with PyTorch, state\.safetensors beside"):
        read_output(blobs, kept(sqlite_stores, folder), "delay", "delay of run r")


NESTED = {
    "model.py": b"from .parts import inner\nfrom .parts.inner import twice\nVALUE = twice(4)\n",
    "parts/inner.py": b"from ..numbers import FACTOR\n\n\ndef twice(n):\n    return n * FACTOR\n",
    "numbers.py": b"FACTOR = 2\n",
}


def digests(code: Mapping[str, bytes]) -> dict[str, str]:
    return {path: digest_of(data) for path, data in code.items()}


def test_modules_come_out_of_memory_and_two_versions_stand_side_by_side() -> None:
    """Folders need no __init__.py, and the name `numbers` is not that of the standard library."""
    newer = {**NESTED, "numbers.py": b"FACTOR = 3\n"}
    found = [
        import_sources(verified_sources(digests(code), code), "model")
        for code in (NESTED, newer, NESTED)
    ]
    assert [one.VALUE for one in found] == [8, 12, 8]
    assert found[0] is found[2]
    assert sys.modules["numbers"].__name__ == "numbers"
    assert not hasattr(sys.modules["numbers"], "FACTOR")


def test_tracebacks_show_the_lines_of_source() -> None:
    module = import_sources({"model.py": "def fail():\n    raise KeyError('here')\n"}, "model")
    assert "raise KeyError" in inspect.getsource(module.fail)
    try:
        module.fail()
    except KeyError:
        said = traceback.format_exc()
    assert "raise KeyError('here')" in said and "/model.py" in said
