"""A real workspace, and engines that know nothing of it, each in an environment of its own."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

#: A program for the engines' environments.
collect_ignore = ["peer.py"]
PEER = Path(__file__).with_name("peer.py")
PROGRAM = str(Path(sys.executable).with_name("seamline"))
DUCKDB = ("duckdb==1.5.5", "duckdb-extension-delta==1.5.5", "pyarrow")
SAIL = ("pysail==0.7.2", "pyspark-client==4.2.0", "pandas<3", "pyarrow")
SPARK = ("pyspark==4.0.5", "pyarrow")
WAIT_S = 60
#: Apache Spark has to start before it answers the first time.
ANSWER_S = 300


class EngineError(Exception):
    """What the engine said."""


@dataclass
class Peer:
    """An engine that is asked one thing after another."""

    process: subprocess.Popen[str]
    log: Path

    def ask(self, do: str, table: Path | str, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps({"do": do, "table": str(table), **order}), file=self.process.stdin)
        self.process.stdin.flush()
        answered, _, _ = select.select([self.process.stdout], [], [], ANSWER_S)
        line = self.process.stdout.readline() if answered else ""
        assert line, self.log.read_text(errors="replace")[-4000:]
        told: dict[str, Any] = json.loads(line)
        if "error" in told:
            raise EngineError(told["error"])
        return told

    def rows(self, do: str, table: Path | str, **order: Any) -> list[dict[str, Any]]:
        """By id."""
        found: list[dict[str, Any]] = self.ask(do, table, **order)["rows"]
        return sorted(found, key=lambda row: row["id"])


@contextmanager
def peer(folder: Path, engine: str, python: Path) -> Iterator[Peer]:
    log = folder / f"{engine.replace('/', '-')}.log"
    environ = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": str(python)}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [python, PEER, engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environ,
            cwd=folder,
            start_new_session=True,
        )
    try:
        yield Peer(process, log)
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(WAIT_S)
        finally:
            end(process)
            process.stdout.close()


def end(process: subprocess.Popen[Any]) -> None:
    """With all that it started: Spark's own processes are in its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(WAIT_S)


@pytest.fixture(scope="session")
def open_peer() -> Callable[[Path, str, Path], AbstractContextManager[Peer]]:
    """open_peer(folder, engine, interpreter), in a `with`."""
    return peer


@pytest.fixture(scope="session")
def duckdb_reader(
    environment: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    with peer(tmp_path_factory.mktemp("duckdb"), "duckdb", environment(*DUCKDB)) as opened:
        yield opened


@pytest.fixture(scope="session")
def sail(
    environment: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    """Sail, behind Spark Connect: it is not Apache Spark, whose Delta jars come by Maven alone."""
    with peer(tmp_path_factory.mktemp("sail"), "sail", environment(*SAIL)) as opened:
        yield opened


@pytest.fixture(scope="session")
def spark_python(soak: bool, environment: Callable[..., Path]) -> Path:
    """An interpreter with Apache Spark. Its session takes a minute on a busy machine."""
    if not soak:
        pytest.skip("Apache Spark takes minutes to install and to start: run with --soak")
    if shutil.which("java") is None:
        pytest.skip("Apache Spark needs Java 17 or 21, which is not installed here")
    return environment(*SPARK)


@pytest.fixture(scope="session")
def spark_master(spark_python: Path) -> Iterator[str]:
    """spark://… of a standalone master with one worker, all on loopback."""
    folder = Path(tempfile.mkdtemp(prefix="seamline-spark-"))
    (home,) = spark_python.parent.parent.glob("lib/python*/site-packages/pyspark")
    run = [str(home / "bin" / "spark-class"), "org.apache.spark.deploy"]
    port = free_port()
    url = f"spark://127.0.0.1:{port}"
    environ = {
        **os.environ,
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_WORKER_DIR": str(folder / "work"),
    }
    at = ["--host", "127.0.0.1", "--webui-port", "0"]
    commands = [
        [run[0], f"{run[1]}.master.Master", *at, "--port", str(port)],
        [run[0], f"{run[1]}.worker.Worker", *at, "--cores", "1", "--memory", "1g", url],
    ]
    started = []
    try:
        for number, command in enumerate(commands):
            log = folder / f"{number}.log"
            with log.open("w") as file:
                process = subprocess.Popen(
                    command,
                    stdout=file,
                    stderr=file,
                    env=environ,
                    cwd=folder,
                    start_new_session=True,
                )
            started.append(process)
        yield url  # whoever asks for a session waits until both are there
    finally:
        for process in started:
            end(process)
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- the workspace -----------------------------------------------------------------------------

PROJECT = """
project = "calls"
team = "support"

[datasets.calls]
time = "began"
zone = "America/New_York"
keys = ["id"]
source = "file://{folder}/calls"

[datasets.plans]
keys = ["id"]
source = "file://{folder}/plans"
mode = "replace"

[datasets.from-sail]
time = "began"
keys = ["id"]
source = "file://{folder}/sail"

[datasets.from-spark-local]
time = "began"
keys = ["id"]
source = "file://{folder}/spark-local"

[datasets.from-spark-standalone]
time = "began"
keys = ["id"]
source = "file://{folder}/spark-standalone"
"""


@contextmanager
def serve(folder: Path, root: Path) -> Iterator[str]:
    """The address of a server of its own, started in `folder`."""
    environ = {key: value for key, value in os.environ.items() if "SEAMLINE" not in key}
    environ["SPARK_LOCAL_IP"] = "127.0.0.1"  # for what its tasks run
    words = ["--workspace", str(root), "up", "--port", "0", "--serve-port", "0", "--json"]
    server = subprocess.Popen(
        [PROGRAM, *words],
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
        cwd=folder,
        start_new_session=True,
    )
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        assert line, "the server did not start"
        yield str(json.loads(line)["url"])
    finally:
        subprocess.run([PROGRAM, "--workspace", str(root), "down"], check=False, env=environ)
        end(server)
        server.stdout.close()


@pytest.fixture(scope="session")
def serving() -> Callable[[Path, Path], AbstractContextManager[str]]:
    return serve


@dataclass
class Workspace:
    """A server of its own, which the stock program speaks to."""

    url: str
    root: Path
    folder: Path
    #: Version of `calls` → its rows, as they were delivered.
    expected: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def seamline(self, *words: str | Path) -> dict[str, Any]:
        command = [PROGRAM, "--url", self.url, *map(str, words), "--json"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def table(self, dataset: str) -> Path:
        return self.root / "tables" / dataset

    def delta_version(self, reference: str) -> int:
        return int(self.seamline("data", "show", reference)["delta_version"])

    def read(self, reference: str) -> pl.DataFrame:
        path = self.folder / f"{reference}.parquet"
        self.seamline("data", "export", reference, "--to", path)
        return pl.read_parquet(path)


def calls(*ids: int) -> list[dict[str, Any]]:
    """Rows of every type with its awkward values; the id-th call is 11 hours after the one before,
    so some lie on another day in New York than in UTC."""
    names = ["Ada", "Łucja", None, 'O\'Neil, "Jr"', "100% / a=b", "日本", "-"]
    minutes = [3.5, None, -0.25, 1e300, 5e-324, 0.1, 2.0]
    return [
        {
            "id": one,
            "began": datetime(2026, 3, 1, 1, 30, 0, 123_456, UTC) + timedelta(hours=11 * one),
            "minutes": minutes[one % 7],
            "who": names[one % 7],
            "paid": None if one % 5 == 4 else one % 2 == 0,
            "born": None if one % 6 == 5 else date(1960 + one, 2, 28),
            "cents": None if one % 4 == 3 else (-1) ** one * (2**53 + one),
        }
        for one in ids
    ]


def as_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema_overrides={"began": pl.Datetime("us", "UTC")})


def as_told(rows: list[dict[str, Any]], *, zone: timedelta) -> list[dict[str, Any]]:
    """With the day that the row lies by, and times as text."""
    told = []
    for row in rows:
        texts = {k: v.isoformat() if isinstance(v, date) else v for k, v in row.items()}
        told.append({**texts, "ds": (row["began"] + zone).date().isoformat()})
    return told


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """calls@1 to calls@3, which grew; plans@2 took the place of plans@1."""
    folder = tmp_path_factory.mktemp("interop")
    root = folder / "workspace"
    for name in ("calls", "plans"):
        (folder / name).mkdir()
    (folder / "seamline.toml").write_text(PROJECT.format(folder=folder))
    with serve(folder, root) as url:
        made = Workspace(url, root, folder)
        made.seamline("apply", folder / "seamline.toml")
        new_york = timedelta(hours=-5)  # before summer time, which begins on the 8th
        delivered: list[dict[str, Any]] = []
        for version, ids in enumerate((range(6), range(6, 9), range(9, 14)), 1):
            as_frame(calls(*ids)).write_parquet(folder / "calls" / f"{version}.parquet")
            assert made.seamline("data", "ingest", "calls")["version"] == version
            delivered = [*delivered, *calls(*ids)]
            made.expected[version] = as_told(delivered, zone=new_york)
        for version in (1, 2):
            rows = pl.DataFrame({"id": [1, 2, version + 2], "price": [5.0 * version, 7.5, None]})
            rows.write_parquet(folder / "plans" / "plans.parquet")
            assert made.seamline("data", "ingest", "plans")["version"] == version
        yield made
