"""A pipeline whose dependency the server does not have: it lists, is scheduled, and runs; the
server itself imports neither that, nor kfp, nor the component."""

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

SEAMLINE = Path(sys.executable).with_name("seamline")
#: Of ours alone: it is in the package index of this one server.
PACKAGE = "seamline_probe_dep"
METADATA = f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dsl.component(base_image="python:3.11", packages_to_install=["seamline-probe-dep==1.0"])
def ask() -> str:
    import seamline_probe_dep

    return seamline_probe_dep.answer()


@dsl.pipeline
def probing() -> str:
    return ask().output


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(its address, the list of all that it imports)."""
    folder = tmp_path_factory.mktemp("probe")
    imports = folder / "imports.txt"
    with imports.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", SEAMLINE, "--workspace", folder / "workspace",
             "up", "--port", "0", "--serve-port", "0", "--json"],
            stdout=subprocess.PIPE, stderr=errors, start_new_session=True, cwd=folder,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"], imports
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(120)
            process.stdout.close()


def seamline(url: str, *words: str) -> str:
    done = subprocess.run(
        [SEAMLINE, "--url", url, *words], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def ask_server(server: tuple[str, Path]) -> Callable[..., Any]:
    def send(path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server[0]}/api/v1{path}", data, headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    return send


@pytest.fixture(scope="module")
def published(server: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    """The package in the index of dataops, by the stock client."""
    wheel = tmp_path_factory.mktemp("wheel") / f"{PACKAGE}-1.0-py3-none-any.whl"
    info = f"{PACKAGE}-1.0.dist-info"
    files = {
        f"{PACKAGE}.py": "def answer():\n    return 'forty-two'\n",
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": WHEEL,
    }
    lines = [f"{name},{_hash_of(text)},{len(text)}\n" for name, text in files.items()]
    files[f"{info}/RECORD"] = "".join([*lines, f"{info}/RECORD,,\n"])
    with zipfile.ZipFile(wheel, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    added = seamline(server[0], "principal", "add", "probe", "--role", "developer", "--json")
    twine = [sys.executable, "-m", "twine", "upload", "--non-interactive", "--disable-progress-bar"]
    index = ["-u", "__token__", "--repository-url", f"{server[0]}/pypi/dataops/upload/"]
    sent = subprocess.run(
        [*twine, *index, "-p", json.loads(added)["token"], wheel],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stdout + sent.stderr


def _hash_of(text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"


@pytest.mark.usefixtures("published")
def test_it_lists_is_scheduled_and_runs(
    server: tuple[str, Path], ask_server: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "probing.yaml"
    compiler.Compiler().compile(probing, str(path))
    ir = path.read_text()
    seamline(server[0], "pipeline", "push", str(path), "--tag", "1.0.0")
    assert any(one["package"] == "probing" for one in ask_server("/pipelines"))

    made = ask_server(
        "/schedules", {"name": "hourly", "pipeline": "probing@1.0.0", "cron": "0 0 * * * *"}
    )
    assert made["pipeline"]

    run = ask_server("/runs", {"ir": ir})
    while run["state"] in ("pending", "running"):
        run = ask_server(f"/runs/{run['id']}?wait_s=30")
    assert run["state"] == "succeeded", run["sentence"]
    assert run["outputs"]["parameters"]["Output"] == "forty-two"

    said = server[1].read_text()
    imported = set(re.findall(r"\|\s+([\w.]+)$", said, re.MULTILINE))
    assert "seamline.train.engine.engine" in {*imported}, "the list is what it is to be"
    foreign = ("kfp", PACKAGE, "ephemeral_component")
    assert not {name for name in imported if name.split(".")[0] in foreign}
