"""Models, packaged as the platform packages them, and a workspace that serves them."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uv

from seamline.domain.clock import SystemClock
from seamline.register.models import loading, package_task, twin_rows, twin_task
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.serve.snapshots.snapshot import (
    Column,
    EndpointSpec,
    ServingSnapshot,
    Signature,
    TwinPolicy,
    snapshot_path,
    write_snapshot,
)
from seamline.store.blobs import Blobs
from seamline.trust.keys import load_or_create_key

RELEASE = "sha256:" + "be" * 32
LIBRARIES = (
    "scikit-learn==1.9.1", "skops", "joblib", "skl2onnx", "onnx", "onnxruntime", "protobuf<7",
    "uvicorn[standard]", "msgspec",
)  # fmt: skip
TRAINER = Path(__file__).with_name("train_models.py")


@dataclass(frozen=True)
class Model:
    name: str
    folder: Path
    described: dict[str, Any]


def default_cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "seamline-bench" / "serving"


def interpreter(cache: Path) -> Path:
    """One that has the models' libraries and the converters, made once."""
    python = cache / "venv" / "bin" / "python"
    if not python.exists():
        program = uv.find_uv_bin()
        subprocess.run([program, "venv", "-q", str(cache / "venv")], check=True)
        command = [program, "pip", "install", "-q", "--compile-bytecode", "--python", str(python)]
        subprocess.run([*command, *LIBRARIES], check=True)
    return python


def train(folder: Path, python: Path) -> dict[str, Model]:
    """Trained once; `python` is the interpreter that has the models' libraries."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("lr", "rf")
    if not all((folder / name / "described.json").exists() for name in names):
        scripts = {
            "loader_path": str(Path(loading.__file__).parent),
            "rows_script": str(twin_rows.__file__),
        }
        command = [str(python), str(TRAINER), str(folder)]
        command += [str(package_task.__file__), str(twin_task.__file__)]
        subprocess.run(command, input=json.dumps(scripts), text=True, check=True)
    return {
        name: Model(name, folder / name, json.loads((folder / name / "described.json").read_text()))
        for name in names
    }


def deploy(root: Path, model: Model, python: Path, twin: TwinPolicy) -> Path:
    """A workspace that serves this model alone as `bench` in production; the path of its wheel."""
    described = dict(model.described)
    samples = described.pop("samples")
    lineage = Lineage("bench", "bench", "sha256:" + "0" * 64, (), None, "2026-01-01", None)
    document = make_model_document("bench-model", "1.0.0", described, lineage)
    wheel = build_model_wheel(
        ModelWheelSpec(
            document,
            samples,
            (model.folder / "model.skops").read_bytes(),
            twin=(model.folder / "twin.onnx").read_bytes(),
        )
    )
    blobs = Blobs(root / "blobs", SystemClock())
    digest = blobs.put(wheel)

    def columns(part: str) -> tuple[Column, ...]:
        return tuple(
            Column(one["name"], one["datatype"], one.get("nullable", False))
            for one in document["signature"][part]
        )

    spec = EndpointSpec(
        endpoint="bench",
        model="bench-model",
        model_version="1.0.0",
        package_digest=digest,
        payload_digest=document["payload_digest"],
        wheel_path=str(blobs.path_of(digest)),
        wheel_name="bench_model-1.0.0-py3-none-any.whl",
        module=document["module"],
        task=document["task"],
        signature=Signature(columns("inputs"), columns("outputs")),
        python=str(python),
        twin=twin,
    )
    snapshot = ServingSnapshot("production", 1, RELEASE, "bench-1", "2026-01-01", (spec,))
    write_snapshot(snapshot_path(root, "production"), snapshot, load_or_create_key(root / "keys"))
    return blobs.path_of(digest)
