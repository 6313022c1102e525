"""Other package indexes, each in a virtual environment of its own, with the same packages."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uv
from bench.registries.servers import MANY, Server, Sizes, answers, free_port, process
from bench.registries.wheels import upload, write_wheel

PEERS = {
    "pypiserver": ("pypiserver[cache]==2.4.2", "waitress==3.0.2"),
    "devpi": ("devpi-server==6.20.3",),
}


#: One more version takes it seconds from here on, so that 2,000 would take hours.
DEVPI_VERSIONS = 500


def write_small_wheels(folder: Path, sizes: Sizes) -> None:
    folder.mkdir(parents=True)
    for number in range(sizes.names - 1):
        write_wheel(folder, f"bench-{number:04}", "1.0")
    for number in range(sizes.versions):
        write_wheel(folder, MANY, f"1.{number}")


def peer_python(cache: Path, name: str) -> Path:
    place = cache / name
    python, stamp = place / "bin" / "python", place / "bench-requirements.txt"
    wanted = "\n".join(PEERS[name])
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        binary = uv.find_uv_bin()
        make = [binary, "venv", "--quiet", "--python", sys.executable, str(place)]
        subprocess.run(make, check=True, cwd="/")
        install = [binary, "pip", "install", "--quiet", "--compile-bytecode", "--python"]
        subprocess.run([*install, str(python), *PEERS[name]], check=True, cwd="/")
        stamp.write_text(wanted)
    return python


@contextmanager
def pypiserver(root: Path, cache: Path, sizes: Sizes) -> Iterator[Server]:
    python, port = peer_python(cache, "pypiserver"), free_port()
    folder = root / "pypiserver"
    write_small_wheels(folder, sizes)
    url = f"http://127.0.0.1:{port}"
    command = [python.with_name("pypi-server"), "run", "-i", "127.0.0.1", "-p", port]
    command += ["--server", "auto", "--disable-fallback", folder]
    with process(command, answers(f"{url}/simple/"), cwd=root) as pid:
        yield Server("pypiserver", url, pid, "/simple/", f"/simple/{MANY}/")


@contextmanager
def devpi(root: Path, cache: Path, sizes: Sizes) -> Iterator[Server]:
    """Its state is made once by uploads, which takes ten minutes, and kept in the cache."""
    sizes = replace(sizes, versions=min(sizes.versions, DEVPI_VERSIONS))
    kept = cache / f"devpi-{sizes.names}-{sizes.versions}"
    if not kept.exists():
        _seed_devpi(root, cache, sizes, kept)
    with _devpi_server(root, cache, kept) as (url, pid):
        simple = "/root/bench/+simple/"
        yield Server("devpi", url, pid, simple, f"{simple}{MANY}/")


@contextmanager
def _devpi_server(root: Path, cache: Path, home: Path) -> Iterator[tuple[str, int]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = peer_python(cache, "devpi").with_name("devpi-server")
    command = [program, "--serverdir", home, "--port", port]
    with process(command, answers(f"{url}/+api"), cwd=root) as pid:
        yield url, pid


def _seed_devpi(root: Path, cache: Path, sizes: Sizes, kept: Path) -> None:
    folder, part = root / "devpi-wheels", kept.with_name(f"{kept.name}.part")
    write_small_wheels(folder, sizes)
    shutil.rmtree(part, ignore_errors=True)
    init = peer_python(cache, "devpi").with_name("devpi-init")
    command = [str(init), "--serverdir", str(part), "--no-root-pypi"]
    subprocess.run(command, check=True, capture_output=True, cwd=root)
    with _devpi_server(root, cache, part) as (url, _):
        token = _ask(f"{url}/+login", "POST", {"user": "root", "password": ""})["result"]
        secret = base64.b64encode(f"root:{token['password']}".encode()).decode()
        auth = {"X-Devpi-Auth": secret}
        _ask(f"{url}/root/bench", "PUT", {"type": "stage", "bases": []}, auth)
        for path in sorted(folder.iterdir()):
            upload(f"{url}/root/bench/", path, auth)
    part.rename(kept)


def _ask(url: str, method: str, body: object, headers: dict[str, str] | None = None) -> Any:
    given = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), given, method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)
