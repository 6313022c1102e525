"""A small workspace with a model in production, whose server the tests kill and start again."""

# No postponed annotations here: the KFP SDK reads those of its components.
import contextlib
import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pytest
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Model, Output

PATIENCE_S = 300.0
NEEDS = [f"{name}=={version(name)}" for name in ("polars", "scikit-learn", "skops")]
PROJECT = """
project = "chaos"
team = "chaos"

[environments.dataops]

[environments.development]
after = "dataops"
gates = ["digests", "provenance"]
automatic = true

[environments.staging]
after = "development"
gates = ["digests", "provenance"]
approvals = { count = 1, not = [] }
soak = "0s"

[environments.production]
after = "staging"
gates = ["digests", "provenance"]
approvals = { count = 1, not = [] }
soak = "0s"

[datasets.numbers]
date = ["year", "month", "day"]
keys = ["year", "month", "day", "n"]

[models.line]
pipeline = "line-training"
output = "train.model"
samples = "train.samples"
version = "1.0.{n}"

[deployments.line]
model = "line"
"""


@dsl.component(base_image="python:3.11", packages_to_install=NEEDS)
def prepare(numbers: Input[Dataset], rows: Output[Dataset]):
    import polars as pl

    pl.read_parquet(f"{numbers.path}/**/*.parquet").select("x", "y").write_parquet(rows.path)


@dsl.component(base_image="python:3.11", packages_to_install=NEEDS)
def train(rows: Input[Dataset], gate: str, model: Output[Model], samples: Output[Dataset]):
    """Fits a line; with a gate, only once that file is there."""
    import time
    from pathlib import Path

    import polars as pl
    import skops.io
    from sklearn.linear_model import LinearRegression

    while gate and not Path(gate).exists():
        time.sleep(0.02)
    table = pl.read_parquet(rows.path)
    fitted = LinearRegression().fit(table.select("x").to_numpy(), table["y"].to_numpy())
    skops.io.dump(fitted, model.path)
    table.select("x").head(20).write_ndjson(samples.path)


@dsl.pipeline
def line_training(numbers: str = "datasets://numbers@1", gate: str = ""):
    read = dsl.importer(artifact_uri=numbers, artifact_class=dsl.Dataset, reimport=False)
    prepared = prepare(numbers=read.output)
    train(rows=prepared.outputs["rows"], gate=gate)


class House:
    """One workspace and the server that runs on it, when one does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = root / "workspace"
        self.address: dict[str, Any] = {}
        self._server: subprocess.Popen[str] | None = None

    def up(self) -> dict[str, Any]:
        program = str(Path(sys.executable).with_name("seamline"))
        command = [program, "--workspace", str(self.workspace), "up", "--json"]
        environ = {key: value for key, value in os.environ.items() if "SEAMLINE" not in key}
        self._server = subprocess.Popen(
            [*command, "--port", "0", "--serve-port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
            start_new_session=True,
        )
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the server did not start"
        self.address = json.loads(line)
        return self.address

    def kill(self) -> None:
        """As `kill -9 PID` does: this one process, at whatever instruction it is."""
        assert self._server is not None
        family = psutil.Process(self._server.pid).children(recursive=True)
        plane = self.plane_pid()
        self._server.kill()
        self._reap()
        mine = [one for one in family if one.pid != plane and not _is_below(one, plane)]
        _, left = psutil.wait_procs(mine, timeout=PATIENCE_S)
        assert not left, f"tasks outlived their server: {left}"

    def down(self) -> None:
        if self._server is None:
            self.up()
        assert self._server is not None
        self._server.send_signal(signal.SIGTERM)
        assert self._server.wait(PATIENCE_S) == 0
        self._reap()

    def _reap(self) -> None:
        assert self._server is not None
        self._server.wait(PATIENCE_S)
        assert self._server.stdout is not None
        self._server.stdout.close()
        self._server = None

    def plane_pid(self) -> int:
        return int(json.loads((self.workspace / "dataplane.json").read_text())["pid"])

    def ask(self, path: str, body: Any = None, file: bytes | None = None) -> Any:
        """The API's JSON; urllib's errors as they are."""
        data = file if body is None else json.dumps(body).encode()
        kind = "application/octet-stream" if file else "application/json"
        url = f"{self.address['url']}/api/v1{path}"
        request = urllib.request.Request(url, data, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return json.load(response)

    def infer(self, x: float) -> Any:
        columns = [{"name": "x0", "datatype": "FP64", "shape": [1], "data": [x]}]
        url = f"{self.address['serve_url']}/v2/models/line"
        if not hasattr(self, "_inputs"):
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
                self._inputs = json.load(response)["inputs"]
        columns[0]["name"] = self._inputs[0]["name"]
        data = json.dumps({"inputs": columns}).encode()
        with urllib.request.urlopen(f"{url}/infer", data, timeout=PATIENCE_S) as response:
            return json.load(response)

    def ready(self, environment: str) -> Any:
        """What the data plane says of itself there."""
        url = f"{self.address['serve_url']}/{environment}/v2/health/ready"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            return json.load(response)

    def until(self, found: Callable[[], Any]) -> Any:
        """Polls the API until it says so."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if result := found():
                return result
            time.sleep(0.02)
        raise AssertionError("it did not come to that")

    def facts(self, kind: str) -> list[dict[str, Any]]:
        """Oldest first; straight from the ledger, however long it is."""
        path = self.workspace / "seamline.db"
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE_S)) as database:
            rows = database.execute(
                "SELECT subject, body, id, caused_by FROM facts WHERE kind = ? ORDER BY seq",
                (kind,),
            ).fetchall()
        return [
            {"subject": subject, "body": json.loads(body), "id": fact, "caused_by": cause}
            for subject, body, fact, cause in rows
        ]

    def train(self, **arguments: str) -> str:
        """Trains, whatever has been trained before."""
        body = {"pipeline": "line-training@1.0.0", "arguments": arguments}
        run = self.ask("/runs", {**body, "options": {"enable_cache": False}})
        return str(run["id"])

    def run_ended(self, run_id: str) -> Any:
        run = self.ask(f"/runs/{run_id}")
        return run if run["state"] in ("succeeded", "failed", "partially_failed") else None

    def version_of(self, run_id: str) -> Any:
        found = [one for one in self.ask("/models") if one["run_id"] == run_id]
        return found[0] if found else None

    def release(self, alias: str, version: str, pipelines: list[str]) -> Any:
        body = {"alias": alias, "models": [f"line@{version}"], "pipelines": pipelines}
        return self.ask("/releases", body)

    def live(self, environment: str) -> str | None:
        board = self.ask("/board")["environments"]
        return next(one["release"] for one in board if one["name"] == environment)

    def phase(self, digest: str, environment: str) -> dict[str, Any] | None:
        """The newest promotion of this release there."""
        for one in self.ask("/promotions"):
            if (one["release"], one["environment"]) == (digest, environment):
                return dict(one)
        return None

    def promote(self, digest: str, environment: str) -> None:
        """Ask, approve, wait; whatever of it has been done before is not done again."""
        found = self.phase(digest, environment)
        if found is None:
            found = self.ask("/promotions", {"release": digest, "environment": environment})
        self.until(
            lambda: self.ask(f"/promotions/{found['id']}")["phase"] not in ("requested", "checking")
        )
        now = self.ask(f"/promotions/{found['id']}")
        if now["phase"] == "awaiting_approval" and not now["approvals"]:
            self.ask(f"/promotions/{found['id']}/approve", {"comment": ""})
        self.until(lambda: self.ask(f"/promotions/{found['id']}")["phase"] == "live")


def _is_below(process: psutil.Process, pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return any(one.pid == pid for one in process.parents())
    return False


def numbers(day: int, rows: int = 400) -> bytes:
    at = date(2024, 1, 1) + timedelta(days=day - 1)
    lines = ["year,month,day,n,x,y"]
    lines += [
        f"{at.year},{at.month},{at.day},{n},{n / 7:.3f},{2 * n / 7 + 1:.3f}" for n in range(rows)
    ]
    return "\n".join(lines).encode()


@pytest.fixture(scope="session")
def delivery() -> Callable[..., bytes]:
    return numbers


@pytest.fixture(scope="session")
def training_ir(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ir") / "line.yaml"
    compiler.Compiler().compile(line_training, str(path))
    return path.read_text()


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, training_ir: str) -> Iterator[House]:
    """Version 1.0.0 of `line` is live in production."""
    made = House(tmp_path_factory.mktemp("chaos"))
    try:
        made.up()
        made.ask("/project/apply", {"text": PROJECT, "file": "seamline.toml"})
        made.ask("/datasets/numbers/deliveries?source=day-1.csv", file=numbers(1))
        made.ask("/pipelines?tags=1.0.0", file=training_ir.encode())
        run = made.train()
        made.until(lambda: made.version_of(run))
        digest = made.release("first", "1.0.0", ["line-training@1.0.0"])["digest"]
        made.until(lambda: made.live("development") == digest)
        made.until(lambda: (made.phase(digest, "development") or {})["phase"] == "live")
        made.promote(digest, "staging")
        made.promote(digest, "production")
        yield made
    finally:
        made.down()


@pytest.fixture(scope="session")
def build_house() -> Callable[[Path], House]:
    """An empty workspace, for those that count all that is in it."""
    return House


class Caller:
    """Asks for predictions one after the other, from the start of the block to its end."""

    def __init__(self, house: House) -> None:
        self.answers: list[str] = []
        self.errors: list[BaseException] = []
        self._house = house
        self._more = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Caller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(0.01):
            try:
                answer = self._house.infer(3.0)["model_version"]
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.errors.append(error)
                answer = ""
            with self._more:
                self.answers.append(answer)
                self._more.notify_all()

    def await_more(self, count: int) -> None:
        """Until so many more have been answered from now on."""
        with self._more:
            goal = len(self.answers) + count
            assert self._more.wait_for(lambda: len(self.answers) >= goal, PATIENCE_S)


@pytest.fixture
def caller(house: House) -> Caller:
    return Caller(house)
