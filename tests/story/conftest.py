"""One world for the whole story: a server of its own, and the demo's steps, each played once."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = (
    "data",
    "train",
    "package",
    "aggregate",
    "prove",
    "promote",
    "serve",
    "tamper",
    "monitor",
    "audit",
)
PATIENCE_S = 240


@pytest.fixture(scope="session")
def demo_module() -> ModuleType:
    """examples/flights/demo.py, as its own program."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples/flights/demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class World:
    """The server, the demo that drives it, and what a visitor can see of both."""

    module: ModuleType
    demo: Any
    address: dict[str, Any]
    workspace: Path
    played: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return str(self.address["url"])

    @property
    def pid(self) -> int:
        return int(self.address["identity"]["pid"])

    def play(self, until: str) -> str:
        """Every step up to this one, each once; what this one said."""
        for step in STEPS[: STEPS.index(until) + 1]:
            if step not in self.played:
                self.played[step] = getattr(self.demo, step)()
        return self.played[until]

    def seamline(self, *arguments: object, who: str = "") -> Any:
        return self.demo.server.seamline(*map(str, arguments), who=who)

    def refusal(self, *arguments: object, who: str = "") -> str:
        with pytest.raises(self.module.Refusal) as caught:
            self.seamline(*arguments, who=who)
        return str(caught.value)

    def ask(
        self, path: str, body: Any = None, who: str = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Plain HTTP that follows no redirect: (status, headers, body)."""
        if body is None or isinstance(body, bytes):
            data = body
        else:
            data = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **headers}
        if who:
            headers["Authorization"] = f"Bearer {self.demo.server.tokens[who]}"
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.build_opener(_Stay).open(request, timeout=PATIENCE_S) as response:
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def get(self, path: str) -> Any:
        status, _, body = self.ask(path)
        assert status == 200, body
        return json.loads(body)

    def facts(self, kind: str) -> list[dict[str, Any]]:
        """Oldest first."""
        return list(reversed(self.get(f"/api/v1/facts?kind={kind}&limit=1000")))

    def wheel(self, environment: str, model: str, version: str) -> bytes:
        """As a package manager gets it: the file that the index' page links to."""
        module = model.replace("-", "_")
        page = f"/pypi/{environment}/simple/{model}/"
        status, _, html = self.ask(page)
        assert status == 200, html
        link = next(
            part.split('"')[0]
            for part in html.decode().split('href="')[1:]
            if f"{module}-{version}-" in part
        )
        path = urllib.parse.urljoin(page, link.split("#")[0])
        status, _, body = self.ask(path)
        assert status == 200
        return body

    def rows(self, reference: str) -> pl.DataFrame:
        """A dataset version's rows, read by a stock library from its files."""
        found = self.seamline("data", "show", reference)
        return pl.concat(
            [pl.read_parquet(one["path"], hive_partitioning=True) for one in found["files"]],
            how="diagonal_relaxed",
        )

    def csv(self, *months: int) -> list[dict[str, str]]:
        return [row for month in months for row in self.demo.year.flights[month]]


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Any]]:
    """Starts `seamline up` on a throwaway workspace; at the end each is ended whole."""
    started: list[tuple[subprocess.Popen[str], dict[str, Any]]] = []

    def start() -> tuple[dict[str, Any], Path]:
        workspace = tmp_path_factory.mktemp("story") / "workspace"
        command = [str(Path(sys.executable).with_name("seamline")), "--workspace", str(workspace)]
        environ = {key: value for key, value in os.environ.items() if "SEAMLINE" not in key}
        server = subprocess.Popen(
            [*command, "up", "--port", "0", "--serve-port", "0", "--json"],
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
            start_new_session=True,
        )
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line, "the server did not start"
        started.append((server, json.loads(line)))
        return started[-1][1], workspace

    yield start
    for server, address in started:
        _end(server, address)


def _end(server: subprocess.Popen[str], address: dict[str, Any]) -> None:
    """Politely; then nothing of it may be left: no process, no port."""
    plane = _listener(address["serve_url"])
    roots = [psutil.Process(pid) for pid in (server.pid, plane) if pid]
    family = [one for root in roots for one in (root, *root.children(recursive=True))]
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_S) == 0
    assert server.stdout is not None
    server.stdout.close()
    _, left = psutil.wait_procs(family, timeout=PATIENCE_S)
    for process in left:
        process.kill()
    assert not left, f"these outlived the server: {left}"
    for url in (address["url"], address["serve_url"]):
        with socket.socket() as probe:
            parts = urllib.parse.urlsplit(url)
            assert probe.connect_ex((parts.hostname or "", parts.port or 0)) != 0, url


def _listener(url: str) -> int | None:
    port = urllib.parse.urlsplit(url).port
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port:
            return one.pid
    return None


@dataclass
class Background:
    """The demo as a person runs it, going on beside the story's own steps."""

    process: subprocess.Popen[bytes]
    output: Path
    address: dict[str, Any]

    def result(self) -> tuple[int, str]:
        return self.process.wait(600), self.output.read_text()


@pytest.fixture(scope="session")
def swapped_demo(
    start_server: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Background]:
    """Started by its first user: two months swapped, against a server that was started by hand."""
    address, _ = start_server()
    output = tmp_path_factory.mktemp("swapped") / "output"
    environ = {**os.environ, "SEAMLINE_URL": address["url"]}
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, ROOT / "examples/flights/demo.py", "--swap", "2,5"],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
        )
    yield Background(process, output, address)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def world(
    start_server: Callable[[], Any],
    demo_module: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    address, workspace = start_server()
    work = tmp_path_factory.mktemp("demo")
    demo = demo_module.Demo(demo_module.Server(address["url"]), work, None)
    demo.year = demo_module.Year()
    # uv here; the whole demo, pip included, runs in test_flights_12_swapped.py
    demo.install_in_clean_environment = lambda requirement: install_with_uv(
        address["url"], work / "clean", requirement, "late-arrival==1.0.0"
    )
    yield World(demo_module, demo, address, workspace)
    demo.close()


def install_with_uv(url: str, folder: Path, *requirements: str) -> Path:
    """The interpreter of a clean environment that knows no index but ours."""
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = folder / "bin/python"
    index = ["--index-url", f"{url}/pypi/dataops/simple/"]
    command = [uv, "pip", "install", "--quiet", "--python", str(python), *index, *requirements]
    subprocess.run(command, check=True)
    return python


@pytest.fixture(scope="session")
def clean_python(world: World) -> Path:
    world.play("package")
    return Path(world.demo.work / "clean/bin/python")


@pytest.fixture(scope="session")
def digest_of() -> Callable[[bytes], str]:
    return lambda data: f"sha256:{hashlib.sha256(data).hexdigest()}"
