"""One small kiosk with a served model, and a person at its command line who gets things wrong."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

PATIENCE_S = 240.0
SEAMLINE = str(Path(sys.executable).with_name("seamline"))

PROJECT = """\
project = "kiosk"
team = "kiosk"

[environments.dataops]
[environments.development]
after = "dataops"
automatic = true
[environments.staging]
after = "development"
gates = ["digests"]
approvals = { count = 2 }
[environments.production]
after = "staging"
approvals = { count = 1 }

[datasets.sales]
time = "day"
keys = ["day"]

[models.ice-cream]
pipeline = "sales-training"
output = "train.model"
samples = "train.samples"

[deployments.ice-cream]
model = "ice-cream"
"""

PIPELINE = """
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Model, Output

@dsl.component(base_image="python:3.11", packages_to_install=["polars", "scikit-learn", "skops"])
def train(sales: Input[Dataset], model: Output[Model], samples: Output[Dataset]):
    import polars as pl
    import skops.io
    from sklearn.linear_model import LinearRegression

    rows = pl.read_parquet(f"{sales.path}/**/*.parquet")
    inputs = rows.select(pl.col("temperature").cast(pl.Float64), pl.col("weekend").cast(pl.Int64))
    skops.io.dump(LinearRegression().fit(inputs, rows["sold"].to_numpy()), model.path)
    model.metadata["format"] = "skops"
    inputs.write_ndjson(samples.path)

@dsl.pipeline
def sales_training(sales: str = "datasets://sales"):
    rows = dsl.importer(artifact_uri=sales, artifact_class=dsl.Dataset, reimport=False)
    train(sales=rows.output)

compiler.Compiler().compile(sales_training, "training.yaml")
"""

HEADER = "day,temperature,weekend,sold\n"
MAY = HEADER + "".join(
    f"2026-05-{day:02},{12 + day / 2},{int(day % 7 > 4)},{60 + 5 * day}\n" for day in range(1, 15)
)


@dataclass(frozen=True)
class Said:
    """What a command answered; stderr without the note that no server runs."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Person:
    """Somebody at a shell, in a folder."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    def start(self, *words: str) -> subprocess.Popen[str]:
        base = {name: text for name, text in os.environ.items() if not name.startswith("SEAMLINE_")}
        base.pop("PYTHONDONTWRITEBYTECODE", None)
        return subprocess.Popen(
            [*self.prefix, SEAMLINE, *words],
            cwd=self.folder,
            env={**base, **self.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def types(self, *words: str) -> Said:
        """Whatever is typed, nobody is shown a traceback."""
        with self.start(*words) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE_S)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        assert "Traceback" not in out + err, out + err
        notes = [line for line in err.splitlines(True) if not line.startswith("no server runs on")]
        return Said(process.returncode, out, "".join(notes))

    def data(self, *words: str) -> Any:
        said = self.types(*words, "--json")
        assert said.code == 0, said.err
        return json.loads(said.out)

    def is_refused(self, *words: str) -> str:
        """Exit code 1, nothing on stdout, and the one message."""
        said = self.types(*words)
        assert (said.code, said.out) == (1, ""), said
        return said.err.strip()

    def with_token(self, token: str) -> Person:
        return Person(self.folder, {**self.environ, "SEAMLINE_TOKEN": token}, self.prefix)

    @contextmanager
    def serving(self, *words: str) -> Iterator[dict[str, Any]]:
        """`seamline up` until the block ends; yields what it announced."""
        process = self.start("up", "--port", "0", "--serve-port", "0", "--json", *words)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield json.loads(line)
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE_S)
            assert (process.returncode, err) == (0, "")


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def _send(
    url: str,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(
        address.hostname or "", address.port, timeout=PATIENCE_S
    )
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.read())
    finally:
        connection.close()


@dataclass(frozen=True)
class Kiosk:
    person: Person
    url: str
    serve_url: str
    #: The release that is live in development.
    release: str
    tokens: dict[str, str]

    @property
    def workspace(self) -> Path:
        return self.person.folder / ".seamline"

    def follow(self, holds: Callable[[], Any]) -> None:
        _follow(self.url, holds)

    def what_is_there(self) -> Any:
        """Everything that a half-done thing would show up in; not the facts of refusals."""
        nouns = ("datasets", "pipelines", "runs", "models", "releases", "promotions", "principals")
        found = {noun: _send(self.url, "GET", f"/api/v1/{noun}").json for noun in nouns}
        incoming = self.workspace / "incoming"
        found["incoming"] = sorted(map(str, incoming.iterdir())) if incoming.exists() else []
        return found

    @contextmanager
    def untouched(self) -> Iterator[None]:
        before = self.what_is_there()
        yield
        assert self.what_is_there() == before
        assert _send(self.url, "GET", "/api/v1/audit/verify").json["broken"] is None


@pytest.fixture(scope="session")
def send() -> Callable[..., Answer]:
    return _send


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """In an empty folder, without a server."""
    return Person(tmp_path)


@pytest.fixture(scope="session")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kiosk]:
    """A server with one dataset, one trained and packaged model, one release in development.

    `tess` trained; `rita` releases; `anna`, `bert` and `carl` may approve.
    """
    person = Person(tmp_path_factory.mktemp("kiosk"))
    folder = person.folder
    (folder / "seamline.toml").write_text(PROJECT)
    (folder / "may.csv").write_text(MAY)
    (folder / "training.py").write_text(PIPELINE)
    subprocess.run([sys.executable, "-W", "ignore", "training.py"], cwd=folder, check=True)
    with person.serving() as server:
        roles = {"tess": "developer", "rita": "releaser", "vera": "viewer"}
        people = {**roles, "anna": "approver", "bert": "approver", "carl": "approver"}
        more = {"tess": ["--role", "approver"], "rita": ["--role", "approver"]}
        tokens = {
            name: person.data("principal", "add", name, "--role", role, *more.get(name, []))[
                "token"
            ]
            for name, role in people.items()
        }
        person.data("apply")
        person.data("data", "ingest", "sales", "may.csv")
        tess, rita = person.with_token(tokens["tess"]), person.with_token(tokens["rita"])
        tess.data("pipeline", "push", "training.yaml", "--tag", "1.0.0")
        run = tess.data("run", "submit", "sales-training@1.0.0", "--wait")
        assert run["state"] == "succeeded"
        _follow(server["url"], lambda: _send(server["url"], "GET", "/api/v1/models").json)
        words = ("--model", "ice-cream", "--pipeline", "sales-training@1.0.0")
        release = rita.data("release", "create", "first", *words)["digest"]
        _follow(server["url"], lambda: _live_in_development(server["url"]))
        yield Kiosk(person, server["url"], server["serve_url"], release, tokens)


def _live_in_development(url: str) -> bool:
    found = _send(url, "GET", "/api/v1/promotions").json
    return bool(found) and found[0]["phase"] == "live"


def _follow(url: str, holds: Callable[[], Any]) -> None:
    """Ask until it holds: packaging offers no event to wait for."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"{url} never came to it"
        time.sleep(0.1)
