"""Lightweight components in an image: the same outputs as forked, whatever the image lacks."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import shutil
import textwrap
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.digests import digest_of
from seamline.runtime import component_main
from seamline.runtime.component_main import index_variables
from seamline.runtime.container_engine import ContainerEngine
from seamline.runtime.containers import Mount
from seamline.runtime.environments import EnvironmentCache, PythonEnvironment
from seamline.runtime.image_components import ComponentImage, component_run
from seamline.runtime.outcomes import TaskEnd, TaskOutcome
from seamline.runtime.tasks import Limits, TaskKind, TaskRunner, TaskSpec

pytest.importorskip("kfp")

KFP = ("kfp>=2.14,<3",)
PROLOGUE = "\nimport kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n\n"
TRAIN = """
def train(rows: int, weights: dict, name: str, model: Output[Model], scores: Output[Metrics],
          data: Input[Dataset], folder: OutputPath("Text")) -> NamedTuple("Out", [
              ("n", int), ("share", float), ("names", list), ("text", str), ("yes", bool)]):
    import inspect, logging, os
    from collections import namedtuple
    logging.info("training on %s rows", rows)
    assert os.environ["_KFP_RUNTIME"] == "true"
    with open(model.path, "w") as file:
        file.write(open(data.path).read() * rows)
    with open(folder, "w") as file:
        file.write(os.environ["COLOUR"])
    model.metadata["rows"] = rows
    scores.log_metric("auc", 0.75)
    line = inspect.getsource(train).splitlines()[0]
    here = os.path.basename(os.getcwd())
    Out = namedtuple("Out", ["n", "share", "names", "text", "yes"])
    return Out(rows + 1, weights["b"] / 3, [name, here, data.metadata["source"]], line, True)
"""


@pytest.fixture(scope="session")
def kfp_dir(tmp_path_factory: pytest.TempPathFactory, host: PythonEnvironment) -> Path:
    return EnvironmentCache(tmp_path_factory.mktemp("packages"), host.python).ensure_folder(KFP)


def test_the_mounted_folder_holds_our_kfp_and_nothing_else(
    kfp_dir: Path, host: PythonEnvironment
) -> None:
    (version,) = (line.partition("==")[2] for line in host.lock if line.startswith("kfp=="))
    names = {path.name for path in kfp_dir.iterdir()} - {"bin", ".lock"}
    assert names == {"kfp", f"kfp-{version}.dist-info"}
    said: list[str] = []
    again = EnvironmentCache(kfp_dir.parent, host.python).ensure_folder(
        KFP, on_progress=said.append
    )
    assert (again, said) == (kfp_dir, [])


@dataclass(frozen=True)
class Bench:
    """Runs the same component forked and in its image."""

    engine: ContainerEngine
    image: str
    kfp_dir: Path
    runner: TaskRunner
    host: PythonEnvironment
    root: Path

    def specify(
        self,
        folder: Path,
        source: str,
        inputs: Mapping[str, Any],
        artifacts: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> TaskSpec:
        (folder / "tmp").mkdir(parents=True)
        (folder / "data.csv").write_text("a,b\n")
        text = (PROLOGUE + textwrap.dedent(source)).encode()
        (folder / "ephemeral_component.py").write_bytes(text)
        data = artifact(folder / "data.csv", "Dataset", {"source": "s3"})
        given = {"data": {"artifacts": [data]}} if artifacts else {}
        executor_input = {
            "inputs": {"parameterValues": dict(inputs), "artifacts": given},
            "outputs": {
                "parameters": {
                    name: {"outputFile": str(folder / name)}
                    for name in ("Output", "n", "share", "names", "text", "yes", "folder")
                },
                "artifacts": {
                    name: {"artifacts": [artifact(folder / name, kind, {})]}
                    for name, kind in (artifacts or {}).items()
                },
                "outputFile": str(folder / "executor_output.json"),
            },
        }
        (folder / "executor_input.json").write_text(json.dumps(executor_input))
        standard = {
            "task_id": str(folder),
            "kind": TaskKind.KFP,
            "source": folder / "ephemeral_component.py",
            "source_digest": digest_of(text),
            "input_path": folder / "executor_input.json",
            "work_dir": folder,
            "log_path": folder / "log.txt",
            "environment": self.host,
            "function": textwrap.dedent(source).partition("def ")[2].partition("(")[0],
        }
        return TaskSpec(**{**standard, **fields})

    def contained(self, spec: TaskSpec, **fields: Any) -> TaskOutcome:
        image = ComponentImage(**{"image": self.image, **fields})
        run = component_run(spec, image, self.kfp_dir)
        client = self.engine.container_task(
            spec.task_id,
            run,
            work_dir=spec.work_dir,
            log_path=spec.log_path,
            host=self.host,
            timeout_s=spec.limits.timeout_s,
        )
        return self.engine.settle(run, self.runner.start(client).result(), client)


def artifact(path: Path, kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"schemaTitle": f"system.{kind}", "schemaVersion": "0.0.1"}
    return {"name": path.name, "type": schema, "uri": str(path), "metadata": dict(metadata)}


@pytest.fixture
def bench(
    container_engine: ContainerEngine,
    python_image: str,
    kfp_dir: Path,
    runner: TaskRunner,
    host: PythonEnvironment,
    tmp_path: Path,
) -> Bench:
    return Bench(container_engine, python_image, kfp_dir, runner, host, tmp_path)


def test_outputs_are_those_of_a_forked_task(bench: Bench) -> None:
    inputs = {"rows": 3, "weights": {"a": 1, "b": 2.5}, "name": 'it\'s "é"\n'}
    artifacts = {"model": "Model", "scores": "Metrics"}
    # The same folder both times, since the outputs hold paths.
    folder, found = bench.root / "task", {}
    for way in ("forked", "contained"):
        spec = bench.specify(folder, TRAIN, inputs, artifacts, env={"COLOUR": "two\nlines"})
        run = bench.contained if way == "contained" else lambda s: bench.runner.start(s).result()
        outcome = run(spec)
        assert outcome.succeeded, (way, spec.log_path.read_text())
        assert "training on 3 rows" in spec.log_path.read_text()
        output = json.loads((folder / "executor_output.json").read_text())
        files = [(folder / name).read_text() for name in ("model", "folder")]
        found[way] = (output, files)
        shutil.rmtree(folder)
    assert found["contained"] == found["forked"]
    output, files = found["contained"]
    assert output["parameterValues"]["n"] == 4
    assert output["parameterValues"]["names"] == [inputs["name"], "task", "s3"]
    assert output["artifacts"]["model"]["artifacts"][0]["metadata"] == {"rows": 3}
    assert files == ["a,b\n" * 3, "two\nlines"]


def test_it_is_the_images_python_that_runs(bench: Bench) -> None:
    source = """
    def look() -> list:
        import os, sys, kfp
        try:
            import numpy
        except ImportError:
            numpy = None
        return [sys.prefix, kfp.__file__, numpy is None, sys.argv, sys.path[0], os.getpid()]
    """
    spec = bench.specify(bench.root / "t", source, {})
    assert bench.contained(spec).succeeded, spec.log_path.read_text()
    prefix, kfp, has_no_numpy, argv, first, pid = output_of(spec)
    assert prefix != str(bench.host.python.parent.parent)
    assert kfp.startswith("/seamline/packages/")
    assert has_no_numpy
    assert (argv, first) == ([str(spec.source)], str(spec.work_dir))
    assert pid == 1


def test_an_image_that_has_kfp_keeps_its_own(bench: Bench) -> None:
    own = bench.root / "own"
    shutil.copytree(bench.kfp_dir, own)
    with (own / "kfp" / "dsl" / "executor.py").open("a") as file:
        file.write("\nOF_THE_IMAGE = True\n")
    source = """
    def look() -> list:
        import kfp.dsl.executor
        return [kfp.__file__, kfp.dsl.executor.OF_THE_IMAGE]
    """
    spec = bench.specify(bench.root / "t", source, {}, env={"PYTHONPATH": "/own"})
    outcome = bench.contained(spec, mounts=(Mount(own, Path("/own"), is_read_only=True),))
    assert outcome.succeeded, spec.log_path.read_text()
    assert output_of(spec) == ["/own/kfp/__init__.py", True]


def test_scripts_that_go_into_images_are_for_their_python() -> None:
    for name in ("component_main", "task_main", "task_kernel", "task_sources"):
        path = Path(component_main.__file__).with_name(f"{name}.py")
        ast.parse(path.read_text(), feature_version=(3, 9))


def output_of(spec: TaskSpec) -> Any:
    written = json.loads((spec.work_dir / "executor_output.json").read_text())
    return written["parameterValues"]["Output"]


def test_errors_are_those_of_a_forked_task(bench: Bench) -> None:
    sources = {
        "raises": "def f(x: int) -> int:\n    raise ValueError(f'{x} is too few')\n",
        "exits": "def f(x: int) -> int:\n    import sys\n    sys.exit(x)\n",
        "breaks": "def f(x: int) -> int:\n    return {}['a']['b'\n",
    }
    for name, source in sources.items():
        forked = bench.specify(bench.root / name / "a", source, {"x": 2})
        contained = bench.specify(bench.root / name / "b", source, {"x": 2})
        one, other = bench.runner.start(forked).result(), bench.contained(contained)
        assert (one.end, one.exit_code) == (other.end, other.exit_code)
        assert one.error is not None
        assert other.error is not None
        if name == "exits":
            assert other.error.message.endswith("exited with code 2.")
            continue
        assert (one.error.type, one.error.message) == (other.error.type, other.error.message)
        if name == "raises":
            assert one.error.traceback.replace("/a/", "/b/") == other.error.traceback
            assert "raise ValueError(f'{x} is too few')" in other.error.traceback


def test_worker_processes_of_a_component_find_it(bench: Bench) -> None:
    source = """
    def spread(n: int) -> int:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return sum(pool.map(square, range(n)))

    def square(x):
        return x * x
    """
    spec = bench.specify(bench.root / "t", source, {"n": 4})
    assert bench.contained(spec).succeeded, spec.log_path.read_text()
    assert output_of(spec) == 14


def test_50_megabytes_of_input_and_an_input_elsewhere(bench: Bench) -> None:
    elsewhere = bench.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "table").write_text("there")
    source = f"""
    def measure(text: str) -> str:
        try:
            open("{elsewhere}/new", "w")
        except OSError:
            return f"{{len(text)}} " + open("{elsewhere}/table").read()
        return "it could write"
    """
    spec = bench.specify(bench.root / "t", source, {"text": "x" * (50 << 20)})
    assert bench.contained(spec, inputs=(elsewhere,)).succeeded, spec.log_path.read_text()
    assert output_of(spec) == f"{50 << 20} there"


def test_limits_of_a_task_are_limits_of_its_container(bench: Bench) -> None:
    grow = "def grow(x: int) -> int:\n    return len(bytearray(x << 20))\n"
    spec = bench.specify(
        bench.root / "memory", grow, {"x": 640}, limits=Limits(memory_bytes=128 << 20)
    )
    outcome = bench.contained(spec)
    assert outcome.error is not None
    assert outcome.error.type == "OutOfMemory"
    wait = "def wait(x: int) -> int:\n    import time\n    time.sleep(600)\n    return x\n"
    spec = bench.specify(bench.root / "time", wait, {"x": 1}, limits=Limits(timeout_s=2))
    assert bench.contained(spec).end is TaskEnd.TIMED_OUT


def test_an_altered_source_is_not_run(bench: Bench) -> None:
    spec = bench.specify(bench.root / "t", "def f() -> int:\n    return 1\n", {})
    outcome = bench.contained(replace(spec, source_digest=digest_of(b"another")))
    assert outcome.error is not None
    assert f"expected {digest_of(b'another')}" in outcome.error.message


def test_an_image_without_python_says_so(bench: Bench, plain_image: str) -> None:
    spec = bench.specify(bench.root / "t", "def f() -> int:\n    return 1\n", {})
    outcome = bench.contained(spec, image=plain_image)
    assert outcome.error is not None
    assert outcome.error.type == "ContainerNotStarted"
    assert "python3" in outcome.error.message


# -- packages ----------------------------------------------------------------------------------


def write_wheel(folder: Path, name: str, version: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{path},sha256={digest.decode()},{len(text)}\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """(address of a package index with `seatest` 1.0 and 2.0, what it was asked for)."""
    for version in ("1.0", "2.0"):
        write_wheel(tmp_path / "index" / "simple" / "seatest", "seatest", version)
    handler = partial(Handler, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple", server.asked  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


USE = "def use() -> str:\n    import seatest\n    return seatest.VERSION\n"


def test_packages_are_installed_from_the_index_that_was_given(
    bench: Bench, index: tuple[str, list[str]]
) -> None:
    address, asked = index
    spec = bench.specify(bench.root / "t", USE, {})
    outcome = bench.contained(spec, requirements=("seatest<2",), index_urls=(address,))
    assert outcome.succeeded, spec.log_path.read_text()
    assert output_of(spec) == "1.0"
    assert "/simple/seatest/" in asked
    settings = spec.work_dir / "tmp" / "component.json"
    assert settings.stat().st_mode & 0o777 == 0o600


def test_what_the_image_has_is_not_installed(bench: Bench, index: tuple[str, list[str]]) -> None:
    address, asked = index
    source = "def use() -> str:\n    import pip\n    return pip.__version__\n"
    spec = bench.specify(bench.root / "t", source, {})
    met = ("pip>=20", "never; python_version < '3'")
    outcome = bench.contained(spec, requirements=met, index_urls=(address,))
    assert outcome.succeeded, spec.log_path.read_text()
    assert asked == []


def test_a_package_that_cannot_be_installed_shows_the_last_lines(
    bench: Bench, index: tuple[str, list[str]]
) -> None:
    address, _ = index
    spec = bench.specify(bench.root / "t", USE, {})
    secret = address.replace("//", "//user:hunter2@")
    outcome = bench.contained(spec, requirements=("seatest>=3",), index_urls=(secret,))
    assert outcome.end is TaskEnd.FAILED
    assert outcome.error is not None
    assert outcome.error.type == "CannotInstall"
    assert "seatest>=3 cannot be installed in the image" in outcome.error.message
    assert "No matching distribution found for seatest>=3" in outcome.error.message
    assert "hunter2" not in spec.log_path.read_text() + outcome.error.message


def test_hosts_are_trusted_as_the_sdk_does() -> None:
    urls = ["http://a:1/simple", "http://u:p@b/simple"]
    assert index_variables(urls, None)["PIP_TRUSTED_HOST"] == "a:1 b"
    assert "PIP_TRUSTED_HOST" not in index_variables(urls, [])
    assert index_variables(urls, ["c"])["PIP_TRUSTED_HOST"] == "c"
