"""PyTorch itself: a state and the source of its module become a wheel that says what they said.

PyTorch takes seconds to be imported, so each program here does its work for all models.
"""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamline.domain.digests import digest_of
from seamline.register.formats.model_code import SETTINGS
from seamline.register.formats.scan import Scan
from seamline.register.formats.torch_state import STATE, code_paths, scan_state
from seamline.register.models.catalogue import read_model_wheel
from seamline.register.models.documents import Lineage, make_model_document, packaging_task
from seamline.register.models.thin_wheels import build_thin_wheel
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.packages.wheel_pack import wheel_name
from seamline.serve.workers import worker_main

TASKS = {
    "net_number": "regression",
    "net_logit": "binary_classification",
    "tied_pair": "binary_classification",
}
PACKAGE = """
import json, runpy, sys
sys.modules["seamline"] = None
asked, done = json.load(sys.stdin), {}
main = runpy.run_path(asked["script"])["main"]
for name, payload in asked["payloads"].items():
    try:
        done[name] = main(payload)
    except ValueError as error:
        done[name] = str(error)
print(json.dumps(done, allow_nan=False))
"""
USE = """
import importlib, json, pkgutil, sys, types
sys.modules["seamline"] = None
asked, done = json.load(sys.stdin), {}
for name, wheel in asked["wheels"].items():
    sys.path.insert(0, wheel)
    samples = json.loads(pkgutil.get_data(name, "samples.json"))
    outputs = importlib.import_module(name).load().outputs(samples["rows"])
    done[name] = {name: column.tolist() for name, column in outputs.items()}

import numpy as np, torch
module = importlib.import_module("net_number")
torch.manual_seed(1)
wanted = torch.rand(1).item()
torch.manual_seed(1)
model = module.load()
done["random_numbers_go_on"] = torch.rand(1).item() == wanted
done["trains"] = model.estimator.module.training
rng = np.random.default_rng(0)
rows = {"hour": rng.integers(0, 24, 10_000), "wind": rng.normal(10, 3, 10_000)}
whole = model.predict(rows)
parts = [model.predict({k: v[at:at + 7] for k, v in rows.items()}) for at in range(0, 700, 7)]
done["batches_agree"] = bool(np.allclose(whole[:700], np.concatenate(parts), rtol=1e-5))
done["rows"] = [len(whole), len(model.predict({"hour": [], "wind": []}))]

sys.modules["seamline_loader"] = types.SimpleNamespace(load_thin=None)
for name in [one for one in sys.modules if one.partition(".")[0] == "net_logit"]:
    del sys.modules[name]
sys.path.insert(0, asked["thin"])
importlib.invalidate_caches()
loader = importlib.import_module("net_logit._loader")
model = loader.load_model("net_logit", lambda digest: open(asked["state"], "rb").read())
rows = json.loads(pkgutil.get_data("tied_pair", "samples.json"))["rows"]
done["thin"] = [loader.__file__.startswith(asked["thin"]), model.outputs(rows)["score"].tolist()]
print(json.dumps(done))
"""

SERVE = """
import json, runpy, sys
asked = json.load(sys.stdin)
worker = runpy.run_path(asked["script"], run_name="worker")["Worker"](asked["start"])
ready = worker.load()
columns = {"hour": worker.tensors.of_column([3, 20], "INT64")}
columns["wind"] = worker.tensors.of_column([9.5, 11.0], "FP64")
header, body = worker.answer(columns, 2)
print(json.dumps([ready["samples"], header["raw"]]))
"""


@dataclass(frozen=True)
class Torch:
    python: Path
    folder: Path
    #: Model → what the module said of the sample rows, right after it was trained.
    expected: dict[str, list[float]]
    #: Model → model.json and samples, or why it is none.
    described: dict[str, Any]

    def wheel(self, name: str) -> Path:
        return self.folder / wheel_name(name.replace("_", "-"), "1.0.0")

    def document(self, name: str) -> dict[str, Any]:
        with self.wheel(name).open("rb") as file:
            return read_model_wheel(file)[0]


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    """SEAMLINE_TEST_TORCH names one that has torch and safetensors already."""
    named = os.environ.get("SEAMLINE_TEST_TORCH")
    if named:
        return Path(named)
    found: Path = request.getfixturevalue("torch_environment").python
    return found


@pytest.fixture(scope="module")
def made(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Torch:
    """As app.package_model does it: scanned, described in another process, built."""
    folder = tmp_path_factory.mktemp("torch")
    expected = run(python, Path(__file__).with_name("train_torch.py").read_text(), folder)
    scans = {name: scan_folder(folder / name) for name in expected}
    payloads = {}
    for name, scan in scans.items():
        state, samples = folder / name / STATE, folder / f"{name}.samples"
        script, payloads[name] = packaging_task(state, samples, requirements=[], scan=scan)
    asked = {"script": str(script), "payloads": payloads}
    described = run(python, PACKAGE, stdin=json.dumps(asked))
    torch = Torch(python, folder, expected, described)
    for name in TASKS:
        assert isinstance(described[name], dict), described[name]
        code = scans[name].code
        assert code is not None
        lineage = Lineage("r", "p", "sha256:" + "a" * 64, (), None, "2026-01-01T00:00:00Z", None)
        document = make_model_document(name.replace("_", "-"), "1.0.0", described[name], lineage)
        payload = (folder / name / STATE).read_bytes()
        spec = ModelWheelSpec(document, described[name]["samples"], payload, code.files)
        torch.wheel(name).write_bytes(build_model_wheel(spec))
    return torch


@pytest.fixture(scope="module")
def used(made: Torch) -> dict[str, Any]:
    """What programs without Seamline get out of the wheels."""
    with made.wheel("net_logit").open("rb") as file:
        thin = build_thin_wheel(file)
    assert thin is not None
    (made.folder / "thin.whl").write_bytes(thin)
    asked = {
        "wheels": {name: str(made.wheel(name)) for name in TASKS},
        "thin": str(made.folder / "thin.whl"),
        "state": str(made.folder / "net_logit" / STATE),
    }
    found: dict[str, Any] = run(made.python, USE, stdin=json.dumps(asked))
    return found


def run(python: Path, program: str, *arguments: object, stdin: str = "") -> Any:
    command = [str(python), "-W", "ignore", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def scan_folder(folder: Path) -> Scan:
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    code = {path: (folder / path).read_bytes() for path in code_paths(paths)}
    with (folder / STATE).open("rb") as file:
        told = (folder / SETTINGS).read_bytes()
        return scan_state(file, (folder / STATE).stat().st_size, told, code)


@pytest.mark.parametrize("name", TASKS)
def test_a_wheel_answers_as_the_module_did(made: Torch, used: dict[str, Any], name: str) -> None:
    """Dropout and batch normalisation included: it predicts, it does not train."""
    assert used[name] == made.described[name]["samples"]["outputs"]
    said = used[name]["prediction" if TASKS[name] == "regression" else "score"]
    np.testing.assert_allclose(said, made.expected[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_a_wheel_says_what_it_is(made: Torch, name: str) -> None:
    document = made.document(name)
    assert (document["format"], document["task"]) == ("torch-state", TASKS[name])
    assert document["loading"] == {"verdict": "arbitrary code", "globals": ["torch"]}
    assert document["code"]["files"].keys() == set(code_paths(listed(made.folder / name)))
    assert [one["name"] for one in document["signature"]["inputs"]] == ["hour", "wind"]
    pins = {pin.partition("==")[0] for pin in document["requirements"]}
    assert {"torch", "safetensors"} <= pins
    assert not any("+" in pin for pin in document["requirements"])


def listed(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def test_what_the_module_is_built_with_are_the_parameters(made: Torch) -> None:
    document = made.document("net_number")
    assert document["parameters"] == {"width": 8}
    assert document["estimator"]["class"] == "model.Net"


def test_a_state_of_another_shape_is_refused(made: Torch) -> None:
    assert "does not fit the module that build_model gives" in made.described["net_unfit"]
    assert "inner.0.bias is float32 (8,), wanted float32 (9,)" in made.described["net_unfit"]


def test_logits_that_are_not_said_to_be_are_refused(made: Torch) -> None:
    assert "these are no probabilities" in made.described["net_unsaid"]
    assert '"score": "logit"' in made.described["net_unsaid"]


def test_loading_leaves_the_callers_random_numbers_alone(used: dict[str, Any]) -> None:
    assert used["random_numbers_go_on"]
    assert not used["trains"]


def test_many_rows_go_in_batches_and_none_go_too(used: dict[str, Any]) -> None:
    assert used["rows"] == [10_000, 0]
    assert used["batches_agree"]


def test_a_thin_wheel_carries_the_source(made: Torch, used: dict[str, Any]) -> None:
    """And not the state, which comes from elsewhere."""
    is_thin, scores = used["thin"]
    assert is_thin
    assert scores == used["net_logit"]["score"]
    names = zipfile.ZipFile(made.folder / "thin.whl").namelist()
    assert "net_logit/code/layers/dense.py" in names
    assert not [name for name in names if "/payload/" in name]


def test_a_worker_of_the_data_plane_proves_and_answers(made: Torch) -> None:
    """Out of memory, from the verified wheel, against what was said when it was packaged."""
    wheel = made.wheel("net_logit")
    start = {
        "wheel_path": str(wheel),
        "package_digest": digest_of(wheel.read_bytes()),
        "module": "net_logit",
        "inputs": [["hour", "INT64"], ["wind", "FP64"]],
        "outputs": [["label", "INT64"], ["score", "FP64"]],
    }
    asked = {"script": worker_main.__file__, "start": start}
    samples, raw = run(made.python, SERVE, stdin=json.dumps(asked))
    assert samples == 50
    assert [(name, kind) for name, kind, *_ in raw] == [("label", "INT64"), ("score", "FP64")]


def test_source_that_was_altered_is_refused(made: Torch) -> None:
    """After the wheel was unpacked, where no index looks any more."""
    place = made.folder / "unpacked"
    zipfile.ZipFile(made.wheel("net_number")).extractall(place)
    source = place / "net_number" / "code" / "model.py"
    source.write_text("print('it ran')\n" + source.read_text())
    program = f"import sys; sys.path.insert(0, {str(place)!r}); import net_number as m; m.load()"
    done = subprocess.run([made.python, "-c", program], capture_output=True, text=True)
    assert "model.py was altered" in done.stderr
    assert "it ran" not in done.stdout
