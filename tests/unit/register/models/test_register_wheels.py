from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.errors import DigestMismatch, InvalidInput, Refused
from seamline.register.models.documents import (
    LOADER,
    check_model_document,
    loader_files,
    module_of_model,
    packaging_task,
)
from seamline.register.models.loading import ADAPTERS
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.packages.wheel_check import check_wheel
from seamline.register.packages.wheel_pack import wheel_name

NAME = wheel_name("late-arrival", "1.0.0")


@pytest.fixture
def repacked(late_wheel: bytes) -> Callable[..., bytes]:
    """The wheel with entries replaced, added or left out (None)."""

    def _repacked(changes: dict[str, bytes | None]) -> bytes:
        with zipfile.ZipFile(io.BytesIO(late_wheel)) as archive:
            files: dict[str, bytes | None] = {
                name: archive.read(name) for name in archive.namelist()
            }
        files.update(changes)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in files.items():
                if data is not None:
                    archive.writestr(name, data)
        return buffer.getvalue()

    return _repacked


def test_same_inputs_same_bytes(
    classifier: Any, late_wheel: bytes, spec_of: Callable[..., ModelWheelSpec]
) -> None:
    spec = spec_of(classifier, "late-arrival")
    shuffled = dict(reversed(list(spec.document.items())))
    assert build_model_wheel(ModelWheelSpec(shuffled, spec.samples, spec.payload)) == late_wheel


BUILD = """
import json, os, sys
os.umask(0o077)
from seamline.register.models.loading import ADAPTERS
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
spec = json.load(open(sys.argv[1]))
payload = open(sys.argv[2], "rb").read()
wheel = build_model_wheel(ModelWheelSpec(spec["document"], spec["samples"], payload))
open(sys.argv[3], "wb").write(wheel)
"""


def test_another_machine_builds_the_same_bytes(
    classifier: Any, late_wheel: bytes, spec_of: Callable[..., ModelWheelSpec], tmp_path: Path
) -> None:
    """Another process, folder, user mask, time zone and hash seed; and another time of the day."""
    spec = spec_of(classifier, "late-arrival")
    document = tmp_path / "spec.json"
    document.write_text(json.dumps({"document": spec.document, "samples": spec.samples}))
    payload = tmp_path / "payload"
    payload.write_bytes(spec.payload)
    for number, (zone, seed) in enumerate([("Asia/Tokyo", "1"), ("America/New_York", "77")]):
        folder = tmp_path / f"place-{number}"
        folder.mkdir()
        subprocess.run(
            [sys.executable, "-c", BUILD, document, payload, folder / "built.whl"],
            cwd=folder,
            env={**os.environ, "TZ": zone, "PYTHONHASHSEED": seed, "HOME": str(folder)},
            check=True,
        )
        assert (folder / "built.whl").read_bytes() == late_wheel


def test_layout_and_metadata(late_wheel: bytes, classifier: Any) -> None:
    info = check_wheel(NAME, late_wheel)
    assert (info.name, info.version, info.requires_python) == ("late-arrival", "1.0.0", ">=3.11")
    with zipfile.ZipFile(io.BytesIO(late_wheel)) as archive:
        assert archive.namelist() == [
            "late_arrival/__init__.py",
            *[f"late_arrival/_loader/{path}" for path in loader_files(["skops"])],
            "late_arrival/model.json",
            "late_arrival/payload/model.skops",
            "late_arrival/samples.json",
            "late_arrival-1.0.0.dist-info/METADATA",
            "late_arrival-1.0.0.dist-info/RECORD",
            "late_arrival-1.0.0.dist-info/WHEEL",
        ]
        assert {item.date_time for item in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        for path, text in loader_files(["skops"]).items():
            assert archive.read(f"late_arrival/_loader/{path}").decode() == text
        document = json.loads(archive.read("late_arrival/model.json"))
    headers = BytesHeaderParser().parsebytes(info.metadata)
    assert headers.get_all("Requires-Dist") == document["requirements"]
    body = str(headers.get_payload())
    assert "Run: 019b76da" in body
    assert "Datasets: flights@7 (sha256:bbb" in body
    assert document["lineage"]["commit"] == "c0ffee"
    assert document["threshold"] == 0.5


def test_a_payload_that_was_not_described_is_no_wheel(
    classifier: Any, spec_of: Callable[..., ModelWheelSpec]
) -> None:
    spec = spec_of(classifier, "late-arrival")
    with pytest.raises(DigestMismatch, match="late-arrival"):
        build_model_wheel(ModelWheelSpec(spec.document, spec.samples, spec.payload + b"x"))


def test_documents_are_checked(classifier: Any, spec_of: Callable[..., ModelWheelSpec]) -> None:
    document = dict(spec_of(classifier, "late-arrival").document)
    with pytest.raises(Refused, match=r"arbitrary code: os\.system"):
        check_model_document({**document, "trusted_types": ["os.system"]})
    for key, wrong in {
        "schema": 2,
        "module": "other",
        "version": "1.0.0-beta",
        "task": "ranking",
        "format": "pickle",
        "payload_digest": "sha256:1",
        "requirements": ["late-arrival==1"],
        "lineage": {"run_id": ""},
        "signature": {"inputs": [{"name": "x", "datatype": "FP16"}], "outputs": []},
    }.items():
        with pytest.raises(InvalidInput):
            check_model_document({**document, key: wrong})
    del document["task"]
    with pytest.raises(InvalidInput, match="task"):
        check_model_document(document)


@pytest.mark.parametrize("name", ["Late", "json", "class", "a--b", "-a", "a_b", "", "a/b"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(InvalidInput):
        module_of_model(name)


def test_metadata_takes_no_new_lines(
    classifier: Any, spec_of: Callable[..., ModelWheelSpec]
) -> None:
    spec = spec_of(classifier, "late-arrival")
    lineage = {**spec.document["lineage"], "commit": "x\nRequires-Dist: evil"}
    with pytest.raises(InvalidInput, match="METADATA"):
        build_model_wheel(
            ModelWheelSpec({**spec.document, "lineage": lineage}, spec.samples, spec.payload)
        )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"../escape.py": b""}, "leaves the archive"),
        ({"/etc/x.py": b""}, "leaves the archive"),
        ({"C:/x.py": b""}, "leaves the archive"),
        ({"a\\b.py": b""}, "leaves the archive"),
        ({"late_arrival/extra.py": b""}, "RECORD"),
        ({"LATE_ARRIVAL/model.json": b""}, "twice"),
        ({"late_arrival/model.json": b"{}"}, "differs from its RECORD"),
        ({"late_arrival/samples.json": None}, "RECORD"),
        ({"late_arrival-1.0.0.dist-info/METADATA": None}, "no METADATA"),
        ({"other-2.dist-info/METADATA": b""}, "2 .dist-info"),
    ],
)
def test_unsound_wheels(
    changes: dict[str, bytes | None], why: str, repacked: Callable[..., bytes]
) -> None:
    with pytest.raises(InvalidInput, match=why):
        check_wheel(NAME, repacked(changes))


def test_file_names_and_archives(late_wheel: bytes) -> None:
    for filename in ("late_arrival-1.0.0.tar.gz", "../late_arrival-1.0.0-py3-none-any.whl", "x"):
        with pytest.raises(InvalidInput):
            check_wheel(filename, late_wheel)
    for filename in (wheel_name("other", "1.0.0"), wheel_name("late-arrival", "1.0.1")):
        with pytest.raises(InvalidInput, match="folder"):
            check_wheel(filename, late_wheel)
    for data in (b"", b"not a zip", late_wheel[: len(late_wheel) // 2]):
        with pytest.raises(InvalidInput, match="archive"):
            check_wheel(NAME, data)


def test_links_are_refused(late_wheel: bytes) -> None:
    buffer = io.BytesIO(late_wheel)
    with zipfile.ZipFile(buffer, "a") as archive:
        link = zipfile.ZipInfo("late_arrival/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InvalidInput, match="link"):
        check_wheel(NAME, buffer.getvalue())


def test_a_wheel_carries_the_adapters_that_it_needs() -> None:
    def adapters(*formats: str) -> set[str]:
        paths = loader_files(formats)
        assert "opening.py" in paths
        return {path for path in paths if path.startswith("adapters/")} - {"adapters/__init__.py"}

    assert adapters("skops") == {"adapters/skops.py"}
    assert adapters("xgboost", "onnx") == {
        f"adapters/{one}.py" for one in ("xgboost", "scores", "onnx")
    }
    assert adapters(*ADAPTERS) == {
        f"adapters/{path.name}" for path in (LOADER / "adapters").glob("[!_]*.py")
    }


def test_the_packaging_task_is_a_plain_script(tmp_path: Any) -> None:
    script, payload = packaging_task(tmp_path, tmp_path, requirements=["numpy"], nullable=["x"])
    assert script.name == "package_task.py"
    assert json.loads(json.dumps(payload))["nullable"] == ["x"]
    assert "seamline" not in script.read_text()
    assert "seamline" not in "".join(loader_files(ADAPTERS).values())
