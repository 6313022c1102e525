"""The model that comes out of a wheel predicts what the estimator did, and only it."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from seamline.domain.digests import digest_of
from seamline.register.formats.scan import scan_model
from seamline.register.models import loading, package_task
from seamline.register.models.documents import packaging_task
from seamline.register.models.thin_wheels import build_thin_wheel
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.serve.workers.worker_main import WheelImporter

#: The loader as the first wheels carry it: one file.
ONE_FILE = Path(__file__).parent / "published" / "loader_one_file.txt"


class InMemory(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """As the data plane imports a wheel: from bytes that it has verified."""

    def __init__(self, wheel: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            self.files = {f"wheel:/{name}": archive.read(name) for name in archive.namelist()}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        base = "wheel:/" + fullname.replace(".", "/")
        for origin, is_package in ((f"{base}/__init__.py", True), (f"{base}.py", False)):
            if origin in self.files:
                spec = importlib.machinery.ModuleSpec(
                    fullname, self, origin=origin, is_package=is_package
                )
                spec.has_location = True
                return spec
        return None

    def get_source(self, fullname: str) -> str:
        spec = self.find_spec(fullname, None)
        assert spec is not None and spec.origin is not None
        return self.files[spec.origin].decode()

    def get_data(self, path: str) -> bytes:
        return self.files[path]


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "late_arrival"]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def model(late_wheel: bytes, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "meta_path", [InMemory(late_wheel), *sys.meta_path])
    return importlib.import_module("late_arrival").load()


def test_from_memory(model: Any, classifier: Any) -> None:
    expected = classifier.estimator.predict_proba(pl.DataFrame(classifier.rows))
    outputs = model.outputs(classifier.rows)
    assert model.version == "1.0.0"
    np.testing.assert_array_equal(outputs["score"], expected[:, 1])
    np.testing.assert_array_equal(outputs["label"], expected[:, 1] >= 0.5)
    assert (outputs["label"].dtype, outputs["score"].dtype) == (np.int64, np.float64)
    np.testing.assert_array_equal(model.predict(classifier.rows), outputs["label"])
    np.testing.assert_array_equal(model.predict_proba(classifier.rows), expected)
    assert classifier.described["samples"]["outputs"]["score"] == expected[:, 1].tolist()


def test_from_a_wheel_on_the_path_without_the_platform(late_wheel: bytes, tmp_path: Path) -> None:
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(late_wheel)
    program = """
import sys
sys.modules["seamline"] = None
sys.path.insert(0, sys.argv[1])
import json, pkgutil, late_arrival
samples = json.loads(pkgutil.get_data("late_arrival", "samples.json"))
outputs = late_arrival.load().outputs(samples["rows"])
assert {k: v.tolist() for k, v in outputs.items()} == samples["outputs"]
print(late_arrival.__version__)
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("1.0.0\n", "")


def test_wheels_of_before_go_on(
    late_wheel: bytes, model: Any, classifier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published wheels never change: their loader was one file, and has a thin twin, too."""
    expected = model.outputs(classifier.rows)["score"]
    before = as_before(late_wheel)
    importer = WheelImporter("late.whl", before)
    assert not any("/_loader/" in name for name in importer.files)
    for name in [name for name in sys.modules if name.split(".")[0] == "late_arrival"]:
        del sys.modules[name]
    monkeypatch.setattr(sys, "meta_path", [importer, *sys.meta_path])
    loaded = importlib.import_module("late_arrival").load()
    np.testing.assert_array_equal(loaded.outputs(classifier.rows)["score"], expected)
    assert build_thin_wheel(io.BytesIO(before)) is not None


def as_before(wheel: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if "/_loader/" not in name}
    files["late_arrival/_loader.py"] = ONE_FILE.read_bytes()
    files["late_arrival/__init__.py"] = b"""
from ._loader import Model, load_model
def load() -> Model:
    return load_model(__name__)
"""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_a_wheel_imports_what_its_format_needs(model: Any) -> None:
    """The frameworks of the other formats may not be there."""
    there = {name for name in sys.modules if name.startswith("late_arrival._loader.adapters.")}
    assert there == {"late_arrival._loader.adapters.skops"}


def test_rows_of_any_kind(model: Any, classifier: Any) -> None:
    rows = classifier.rows
    expected = model.outputs(rows)["score"]
    frame = pl.DataFrame(rows)
    columns = {name: frame[name].to_list() for name in frame.columns}
    arrays = {name: np.array(values) for name, values in columns.items() if name != "wind"}
    arrays["wind"] = frame["wind"].to_numpy()
    extra = [{**row, "unknown": object()} for row in rows]
    for given in (columns, arrays, frame, pd.DataFrame(rows), extra, iter(rows)):
        np.testing.assert_array_equal(model.outputs(given)["score"], expected)
    assert model.outputs([rows[0]])["score"].shape == (1,)
    assert model.outputs({name: [] for name in columns})["label"].shape == (0,)


def test_typed_arrays_are_taken_as_they_are(
    model: Any, classifier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server sends them: nothing is read value by value, and the answers are the same."""
    expected = model.outputs(classifier.rows)["score"]
    dtypes = {"INT64": np.int64, "FP64": np.float64, "BOOL": np.bool_}
    columns: dict[str, Any] = {}
    for declared in model.signature["inputs"]:
        values = [row[declared["name"]] for row in classifier.rows]
        if declared["datatype"] != "BYTES":
            filled = [np.nan if value is None else value for value in values]
            values = np.array(filled, dtypes[declared["datatype"]])
        columns[declared["name"]] = values
    loading = importlib.import_module("late_arrival._loader.model")
    monkeypatch.setattr(loading, "read_columns", None)
    np.testing.assert_array_equal(model.outputs(columns)["score"], expected)


def test_arrays_that_do_not_fit_are_read_closely(model: Any, classifier: Any) -> None:
    first = {name: [value] for name, value in classifier.rows[0].items()}
    for declared in model.signature["inputs"]:
        if declared["datatype"] == "FP64" and not declared["nullable"]:
            with pytest.raises(ValueError, match="null in a column without nulls"):
                model.outputs({**first, declared["name"]: np.array([np.nan])})
    name = next(c["name"] for c in model.signature["inputs"] if c["datatype"] == "INT64")
    with pytest.raises(ValueError, match="fractions"):
        model.outputs({**first, name: np.array([0.5])})
    assert model.outputs({**first, name: np.array([5.0])})["score"] == pytest.approx(
        model.outputs({**first, name: [5]})["score"]
    )


def test_columns_that_do_not_fit_are_named(model: Any, classifier: Any) -> None:
    row = classifier.rows[0]
    with pytest.raises(ValueError, match="Missing columns: hour, wind"):
        model.outputs([{"carrier": "UA", "is_weekend": True}])
    for column, value, why in (
        ("hour", "five", "hour .wanted INT64, got str"),
        ("hour", 5.5, "hour .wanted INT64, got fractions"),
        ("hour", True, "hour .wanted INT64, got bool"),
        ("hour", None, "hour .null"),
        ("carrier", 3, "carrier .wanted BYTES, got int"),
    ):
        with pytest.raises(ValueError, match=why):
            model.outputs([{**row, column: value}])
    columns = {name: [value] for name, value in row.items()}
    with pytest.raises(ValueError, match="different lengths"):
        model.outputs({**columns, "hour": [1, 2]})
    with pytest.raises(ValueError, match="mapping"):
        model.outputs([3])
    nulls = model.outputs([{**row, "wind": None}, {**row, "wind": float("nan")}])["score"]
    assert nulls[0] == nulls[1]


def test_signature(classifier: Any) -> None:
    assert classifier.described["signature"]["inputs"] == [
        {"name": "carrier", "datatype": "BYTES", "nullable": False},
        {"name": "hour", "datatype": "INT64", "nullable": False},
        {"name": "wind", "datatype": "FP64", "nullable": True},
        {"name": "is_weekend", "datatype": "BOOL", "nullable": False},
    ]
    assert classifier.described["frame"] == "polars"
    assert {pin.split("==")[0] for pin in classifier.described["requirements"]} == {
        "numpy",
        "polars",
        "scikit-learn",
        "skops",
    }


def test_a_regression_on_a_matrix(regressor: Any, spec_of: Callable[..., ModelWheelSpec]) -> None:
    document = spec_of(regressor, "air-time").document
    model = loading.open_model(document, regressor.payload)
    outputs = model.outputs(regressor.rows)
    expected = [row["hour"] * 3 + 1 for row in regressor.rows]
    np.testing.assert_allclose(outputs["prediction"], expected)
    with pytest.raises(TypeError, match="regression"):
        model.predict_proba(regressor.rows)


def test_an_altered_payload_is_not_opened(late_wheel: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(late_wheel)) as archive:
        archive.extractall(tmp_path)
    payload = tmp_path / "late_arrival/payload/model.skops"
    payload.write_bytes(payload.read_bytes() + b"\0")
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(ValueError, match=r"altered: expected sha256:.*found sha256:"):
            importlib.import_module("late_arrival").load()
    finally:
        sys.path.remove(str(tmp_path))


def test_another_framework_version_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"trained with scikit-learn 0\.1\.2; installed is"):
        loading.check_versions("m", ["numpy==1", "scikit-learn==0.1.2"])
    loading.check_versions("m", ["scikit-learn>=1"])


@pytest.mark.parametrize(
    ("pins", "installed", "why"),
    [
        (["xgboost==3.2.0"], "3.1.0", "trained with xgboost 3.2.0; installed is 3.1.0"),
        (["xgboost==3.2.0"], "3.2.1", None),
        (["xgboost==3.2.0"], "4.0.0", None),
        (["lightgbm==4.6.0"], "3.3.5", "trained with lightgbm"),
        (["onnxruntime==1.20.0"], "1.19.2", "trained with onnxruntime"),
        (["scikit-learn==1.9.1"], "1.10.0", "trained with scikit-learn 1.9.1"),
        (["cloudpickle==3.1.2"], "3.2.0", "trained with cloudpickle"),
        (["numpy==2.4.0"], "1.26.4", "trained with numpy"),
        (["polars==2.1.0", "numpy>=1"], "0.0.1", None),
    ],
)
def test_what_each_library_can_read(
    monkeypatch: pytest.MonkeyPatch, pins: list[str], installed: str, why: str | None
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: installed)
    if why is None:
        loading.check_versions("m", pins)
        return
    with pytest.raises(RuntimeError, match=why):
        loading.check_versions("m", pins)


def test_functions_by_value_are_read_by_their_own_python() -> None:
    document = {"name": "m", "format": "cloudpickle", "python": "3.8"}
    with pytest.raises(RuntimeError, match=r"was pickled by Python 3\.8 with its functions"):
        loading.check_python(document)
    loading.check_python({**document, "format": "pickle"})
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    loading.check_python({**document, "python": running})


def test_a_pickle_takes_only_what_was_recorded() -> None:
    """Were the bytes others: the digest says so first. Were the record another: this does."""
    document = {"name": "m", "format": "pickle", "loading": {"globals": ["builtins.list"]}}
    with pytest.raises(ValueError, match=r"asks for .*LogisticRegression, which was not recorded"):
        loading.open_estimator(document, pickle.dumps(LogisticRegression()))


def test_models_that_run_code_are_not_packaged(tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    samples.write_text('{"x": 1.0}\n')
    for content, why in (
        (skops.io.dumps(FunctionTransformer(np.load)), "arbitrary code: numpy.load"),
        (b"\x80\x04pickle", "not a skops file"),
    ):
        path = tmp_path / "model"
        path.write_bytes(content)
        _, payload = packaging_task(path, samples, requirements=[])
        with pytest.raises(ValueError, match=why):
            package_task.main(payload)


def test_only_the_bytes_that_were_scanned_are_opened(tmp_path: Path) -> None:
    path, samples = tmp_path / "model", tmp_path / "samples"
    samples.write_text('{"x": 1.0}\n')
    scanned = pickle.dumps(LogisticRegression().fit([[0.0], [1.0]], [0, 1]))
    path.write_bytes(pickle.dumps([print]))
    scan = scan_model(scanned)
    _, payload = packaging_task(
        path, samples, requirements=[], scan=scan, payload_digest=digest_of(scanned)
    )
    with pytest.raises(ValueError, match=r"altered: expected sha256:.*found sha256:"):
        package_task.main(payload)
    path.write_bytes(scanned)
    assert package_task.main(payload)["payload_digest"] == digest_of(scanned)


def test_models_that_cannot_be_described(train: Callable[..., Any]) -> None:
    rows: list[dict[str, Any]] = [{"x": float(i)} for i in range(4)]
    matrix = np.arange(4.0).reshape(-1, 1)
    words = LogisticRegression().fit(matrix, ["a", "b", "a", "b"])
    with pytest.raises(ValueError, match="train on 0 and 1"):
        train(words, rows)
    right = LogisticRegression().fit(matrix, [0, 0, 1, 1])
    with pytest.raises(ValueError, match="takes 1 columns"):
        train(right, [{"x": 1.0, "y": 2.0}])
    with pytest.raises(ValueError, match="column x"):
        train(right, [{"x": [1.0]}])
    with pytest.raises(ValueError, match="no sample rows"):
        train(right, [])
    named = LogisticRegression().fit(pd.DataFrame({"x": matrix[:, 0]}), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="lack what the model takes: x"):
        train(named, [{"y": 1.0}])
    assert train(right, rows, threshold=0.9, nullable=["x"]).described["signature"]["inputs"] == [
        {"name": "x", "datatype": "FP64", "nullable": True}
    ]


def test_the_script_runs_alone(tmp_path: Path, classifier: Any) -> None:
    """As the runtime runs it: a file's main, JSON in, JSON out, without the platform."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "anything.skops").write_bytes(classifier.payload)
    (tmp_path / "samples").write_text("".join(json.dumps(row) + "\n" for row in classifier.rows))
    script, payload = packaging_task(folder, tmp_path / "samples", requirements=["scikit-learn"])
    program = """
import json, runpy, sys
sys.modules["seamline"] = None
main = runpy.run_path(sys.argv[1])["main"]
print(json.dumps(main(json.load(sys.stdin)), allow_nan=False))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(script)],
        input=json.dumps(payload),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout) == classifier.described


def test_wheels_build_for_both_tasks(
    regressor: Any, spec_of: Callable[..., ModelWheelSpec]
) -> None:
    assert build_model_wheel(spec_of(regressor, "air-time"))[:2] == b"PK"
