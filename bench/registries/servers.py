"""Ours, and static file servers: each a process of its own on a free port of the loopback."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.registries.wheels import PIECE, upload

from seamline.domain.clock import SystemClock
from seamline.register.packages.index import PackageFile, enter_package
from seamline.register.rows import PACKAGE_NAMES
from seamline.store.stores import open_stores

SEAMLINE = str(Path(sys.executable).with_name("seamline"))
#: The name that has many versions, and the one whose wheel is large.
MANY, LARGE = "bench-many", "bench-wheel"


@dataclass(frozen=True)
class Sizes:
    names: int
    versions: int
    wheel_bytes: int
    large_bytes: int
    requests: int


FULL = Sizes(5_000, 2_000, 50 << 20, 2 << 30, 200)
QUICK = Sizes(500, 200, 50 << 20, 200 << 20, 50)
NOTHING = Sizes(1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Server:
    """`names`, `versions`, `file`: paths of the pages and of the large wheel; None: has none.

    `index`: of the path that installers are given.
    """

    name: str
    url: str
    pid: int
    names: str | None = None
    versions: str | None = None
    file: str | None = None
    index: str | None = None


def cpu_s(pid: int) -> float:
    """Seconds of a processor that this process and its children have used until now; unlike the
    time that passes, it does not depend on what else the machine does."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for one in (pid, *children):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def process(command: list[object], ready: Callable[[], bool], **options: object) -> Iterator[int]:
    started = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **options,  # type: ignore[call-overload]
    )
    try:
        for _ in range(1200):
            if ready():
                break
            if started.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with {started.returncode}")
            time.sleep(0.05)
        else:
            raise RuntimeError(f"{command[0]} does not answer")
        yield started.pid
    finally:
        started.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            started.wait(30)
        if started.poll() is None:
            started.kill()
            started.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    return ask


# -- ours ----------------------------------------------------------------------------------------
@contextmanager
def ours(workspace: Path, wheel: Path | None = None) -> Iterator[Server]:
    port = free_port()
    url, simple = f"http://127.0.0.1:{port}", "/pypi/dataops/simple/"
    command = [SEAMLINE, "--workspace", workspace, "up", "--port", port, "--serve-port", 0]
    with process(command, answers(f"{url}{simple}")) as pid:
        file = None
        if wheel is not None:
            upload(f"{url}/pypi/dataops/upload/", wheel)
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            file = f"/pypi/dataops/files/{digest}/{wheel.name}"
        yield Server("Seamline", url, pid, simple, f"{simple}{MANY}/", file, simple)


def seed_ours(workspace: Path, sizes: Sizes) -> None:
    """Rows as publishing makes them; the bytes of what is only listed are left out."""
    stores = open_stores(workspace, SystemClock())
    at = "2026-01-01T00:00:00.000000Z"
    listed = [(f"bench-{number:04}", "1.0") for number in range(sizes.names - 1)]
    listed += [(MANY, f"1.{number}") for number in range(sizes.versions)]
    with stores.db.transaction() as tx:
        rows = [
            {"name": name, "kind": "uploaded", "owner": "bench", "published_at": at}
            for name in sorted({name for name, _ in listed})
        ]
        tx.execute(PACKAGE_NAMES.insert(), rows)
        for name, version in listed:
            filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
            digest = "sha256:" + hashlib.sha256(filename.encode()).hexdigest()
            file = ("dataops", filename, name, version, digest, 1000, ">=3.9", digest, "bench", at)
            enter_package(stores, tx, PackageFile(*file))
    stores.db.close()


# -- static files --------------------------------------------------------------------------------
def static_folder(folder: Path, wheel: Path) -> str:
    """A simple index of files alone, so that installers can be sent there; the wheel's path."""
    page = folder / "simple" / LARGE
    page.mkdir(parents=True)
    shutil.copy(wheel, page / wheel.name)
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    link = f'<!DOCTYPE html><a href="{wheel.name}#sha256={digest}">{wheel.name}</a>\n'
    (page / "index.html").write_text(link)
    return f"/simple/{LARGE}/{wheel.name}"


_UVICORN = """
import sys, uvicorn
from starlette.staticfiles import StaticFiles
uvicorn.run(StaticFiles(directory=sys.argv[1], html=True), port=int(sys.argv[2]),
            log_level="error", access_log=False)
"""
_NGINX = """
daemon off; pid {home}/pid; error_log {home}/errors; worker_processes 1; {user}
events {{}}
http {{
  access_log off; sendfile on;
  types {{ text/html html; }}
  default_type application/octet-stream;
  client_body_temp_path {home}/1; proxy_temp_path {home}/2; fastcgi_temp_path {home}/3;
  uwsgi_temp_path {home}/4; scgi_temp_path {home}/5;
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


@contextmanager
def static_server(name: str, folder: Path, file: str) -> Iterator[Server]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with process(_command_of(name, folder, port), answers(f"{url}{file}"), cwd=folder) as pid:
        yield Server(name, url, pid, file=file, index="/simple/")


def _command_of(name: str, folder: Path, port: int) -> list[object]:
    if name == "nginx":
        home = folder.with_name("nginx")
        home.mkdir()
        user = "user root;" if os.getuid() == 0 else ""
        conf = home / "nginx.conf"
        conf.write_text(_NGINX.format(home=home, user=user, port=port, folder=folder))
        return [nginx() or name, "-c", conf, "-p", home, "-e", home / "errors"]
    if name == "uvicorn, StaticFiles":
        return [sys.executable, "-c", _UVICORN, folder, port]
    return [sys.executable, "-m", "http.server", "-b", "127.0.0.1", port]


def nginx() -> str | None:
    """Where it is, if it is installed."""
    return os.environ.get("BENCH_NGINX") or shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def static_servers() -> list[str]:
    some = ["python -m http.server", "uvicorn, StaticFiles"]
    return [*some, "nginx"] if nginx() else some


# -- a client that only reads --------------------------------------------------------------------
def fetch(connection: http.client.HTTPConnection, path: str, accept: str = "*/*") -> int:
    """How many bytes came."""
    connection.request("GET", path, headers={"Accept": accept})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}: {answer.read()[:300]!r}")
    size, buffer = 0, bytearray(PIECE)
    while read := answer.readinto(buffer):
        size += read
    return size


@contextmanager
def connected(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=600)
    try:
        yield connection
    finally:
        connection.close()
