"""The real libraries in an environment of their own, made as that of a task is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.errors import SeamlineError
from seamline.register.formats.scan import Scan, check_findings, scan_model
from seamline.register.models.documents import Lineage, make_model_document, packaging_task
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.packages.wheel_pack import wheel_name
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.requirements import RequirementSet

#: A program for the libraries' environment: they are not in that of the tests.
collect_ignore = ["train_models.py", "train_torch.py"]
REQUIREMENTS = (
    "cloudpickle",
    "joblib",
    "lightgbm",
    "onnxruntime",
    "pandas",
    "polars",
    "protobuf<7",  # skl2onnx 1.20 does not work with 7
    "scikit-learn",
    "skl2onnx",
    "skops",
    "xgboost-cpu",
)
#: PyTorch for the processor alone: a tenth of what comes with CUDA. Only where that is to be had
#: does the sample of tests run; `make soak` takes whatever `torch` is.
TORCH, WHOLE_TORCH = "torch==2.13.0+cpu", "torch"
RUN = """
import json, runpy, sys
sys.modules["seamline"] = None
print(json.dumps(runpy.run_path(sys.argv[1])["main"](json.load(sys.stdin)), allow_nan=False))
"""
USE = """
import sys
sys.modules["seamline"] = None
sys.path.insert(0, sys.argv[1])
import importlib, json, pkgutil
module = importlib.import_module(sys.argv[2])
samples = json.loads(pkgutil.get_data(sys.argv[2], "samples.json"))
outputs = module.load().outputs(samples["rows"])
print(json.dumps({name: column.tolist() for name, column in outputs.items()}))
"""


@dataclass(frozen=True)
class Packaged:
    scan: Scan
    described: dict[str, Any]
    document: dict[str, Any]
    wheel: Path


@dataclass(frozen=True)
class Laboratory:
    python: Path
    folder: Path
    #: Model → what its own library says of the sample rows.
    expected: dict[str, list[float]]

    def run(self, program: str, *arguments: object, stdin: str = "") -> Any:
        command = [str(self.python), "-W", "ignore", "-c", program, *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def package(self, name: str, **options: Any) -> Packaged:
        """As app.package_model does it: scanned, described in a process of its own, built."""
        path = self.folder / name
        scan = scan_model(path.read_bytes())
        check_findings(scan, name)
        samples = self.folder / f"{name}.samples"
        script, payload = packaging_task(path, samples, requirements=[], scan=scan, **options)
        described = self.run(RUN, script, stdin=json.dumps(payload))
        lineage = Lineage("r", "p", "sha256:" + "a" * 64, (), None, "2026-01-01T00:00:00Z", None)
        model = name.replace(".", "-").replace("_", "-")
        document = make_model_document(model, "1.0.0", described, lineage)
        spec = ModelWheelSpec(document, described["samples"], path.read_bytes())
        wheel = self.folder / wheel_name(model, "1.0.0")
        wheel.write_bytes(build_model_wheel(spec))
        return Packaged(scan, described, document, wheel)

    def use(self, packaged: Packaged) -> dict[str, list[float]]:
        found: dict[str, list[float]] = self.run(USE, packaged.wheel, packaged.document["module"])
        return found


@dataclass(frozen=True)
class TorchEnvironment:
    requirement: str
    python: Path


@pytest.fixture(scope="session")
def torch_environment(tmp_path_factory: pytest.TempPathFactory, soak: bool) -> TorchEnvironment:
    cache = EnvironmentCache(tmp_path_factory.mktemp("torch-libraries"), Path(sys.executable))
    wanted = WHOLE_TORCH if soak else TORCH
    try:
        made = cache.ensure(RequirementSet.of([wanted, "safetensors", "numpy"]))
    except SeamlineError as error:
        pytest.skip(
            f"PyTorch for the processor alone is not to be had here ({error}): make soak takes "
            "any, and SEAMLINE_TEST_TORCH=PYTHON one that is there"
        )
    return TorchEnvironment(wanted, made.python)


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    folder = tmp_path_factory.mktemp("formats")
    cache = EnvironmentCache(folder / "environments", Path(sys.executable))
    try:
        made = cache.ensure(RequirementSet.of(REQUIREMENTS))
    except SeamlineError as error:
        pytest.skip(f"the libraries cannot be installed here: {error}")
    train = Path(__file__).with_name("train_models.py")
    laboratory = Laboratory(made.python, folder, {})
    laboratory.expected.update(laboratory.run(train.read_text(), folder))
    return laboratory


@pytest.fixture(scope="session")
def package(laboratory: Laboratory) -> Callable[[str], Packaged]:
    done: dict[str, Packaged] = {}

    def once(name: str) -> Packaged:
        if name not in done:
            done[name] = laboratory.package(name)
        return done[name]

    return once
