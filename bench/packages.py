"""The package index beside its peers: pages, downloads, and memory while 2 GB go up and down.

Everything speaks HTTP/1.1 over loopback with one keep-alive connection; peers live in virtual
environments of their own, which this program makes with uv. Linux only (reads /proc).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uv

from seamline.domain.clock import SystemClock
from seamline.register.packages.index import PackageFile, enter_package
from seamline.register.rows import PACKAGE_NAMES
from seamline.store.stores import open_stores

SEAMLINE = str(Path(sys.executable).with_name("seamline"))
PEERS = {
    "pypiserver": ("pypiserver[cache]==2.4.2", "waitress==3.0.2"),
    "devpi": ("devpi-server==6.20.3",),
}
JSON = "application/vnd.pypi.simple.v1+json"
MANY, BOUNDARY = "bench-many", "bench-boundary"
PIECE = 1 << 20


@dataclass(frozen=True)
class Sizes:
    names: int
    versions: int
    wheel_bytes: int
    large_bytes: int
    requests: int


FULL = Sizes(5_000, 2_000, 50 << 20, 2 << 30, 200)
QUICK = Sizes(500, 200, 50 << 20, 200 << 20, 50)


@dataclass(frozen=True)
class Server:
    """`names`, `versions`, `file`: paths of the pages and of the large wheel; None: has none."""

    name: str
    url: str
    pid: int
    names: str | None = None
    versions: str | None = None
    file: str | None = None


# -- wheels --------------------------------------------------------------------------------------
def write_wheel(path: Path, name: str, version: str, payload_bytes: int = 0) -> Path:
    """A sound wheel; the payload is zeros, stored, hashed and written in pieces."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    texts = {
        f"{module}/__init__.py": b"x = 1\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{entry},{_spelt(hashlib.sha256(text))}," for entry, text in texts.items()]
    target = path / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        if payload_bytes:
            payload, hasher = f"{module}/payload.bin", hashlib.sha256()
            with archive.open(payload, "w", force_zip64=True) as entry:
                for _ in range(payload_bytes // PIECE):
                    entry.write(bytes(PIECE))
                    hasher.update(bytes(PIECE))
            lines.append(f"{payload},{_spelt(hasher)},")
        for entry, text in texts.items():
            archive.writestr(entry, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,\n"]))
    return target


def _spelt(hasher: hashlib._Hash) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hasher.digest()).decode().rstrip("=")


def upload(url: str, wheel: Path, headers: dict[str, str] | None = None) -> None:
    """As twine does it, in bounded memory."""
    name, version = wheel.name.split("-")[:2]
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "filetype": "bdist_wheel",
        "name": name.replace("_", "-"),
        "version": version,
    }
    line = '--{}\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    head = "".join(line.format(BOUNDARY, key, "") + f"{text}\r\n" for key, text in fields.items())
    head += line.format(BOUNDARY, "content", f'; filename="{wheel.name}"')
    end = f"\r\n--{BOUNDARY}--\r\n".encode()
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
    connection.putrequest("POST", parts.path)
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    length = len(head.encode()) + wheel.stat().st_size + len(end)
    connection.putheader("Content-Length", str(length))
    for key, text in (headers or {}).items():
        connection.putheader(key, text)
    connection.endheaders(head.encode())
    with wheel.open("rb") as file:
        while piece := file.read(PIECE):
            connection.send(piece)
    connection.send(end)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{url} answered {answer.status}: {body[:300]!r}")


# -- servers -------------------------------------------------------------------------------------
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


@contextmanager
def ours(root: Path, sizes: Sizes, wheel: Path | None) -> Iterator[Server]:
    workspace, port = root / "workspace", free_port()
    seed_ours(workspace, sizes)
    url = f"http://127.0.0.1:{port}"
    command = [SEAMLINE, "--workspace", workspace, "up", "--port", port, "--serve-port", 0]
    with process(command, answers(f"{url}/pypi/dataops/simple/")) as pid:
        file = None
        if wheel is not None:
            upload(f"{url}/pypi/dataops/upload/", wheel)
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            file = f"/pypi/dataops/files/{digest}/{wheel.name}"
        simple = "/pypi/dataops/simple/"
        yield Server("Seamline", url, pid, simple, f"{simple}{MANY}/", file)


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
def pypiserver(root: Path, cache: Path, folder: Path, wheel: Path) -> Iterator[Server]:
    python, port = peer_python(cache, "pypiserver"), free_port()
    url = f"http://127.0.0.1:{port}"
    command = [python.with_name("pypi-server"), "run", "-i", "127.0.0.1", "-p", port]
    command += ["--server", "auto", "--disable-fallback", folder]
    with process(command, answers(f"{url}/simple/"), cwd=root) as pid:
        file = f"/packages/{wheel.name}"
        yield Server("pypiserver", url, pid, "/simple/", f"/simple/{MANY}/", file)


@contextmanager
def devpi(root: Path, cache: Path, folder: Path, wheel: Path) -> Iterator[Server]:
    python, port = peer_python(cache, "devpi"), free_port()
    url, home = f"http://127.0.0.1:{port}", root / "devpi"
    init = [python.with_name("devpi-init"), "--serverdir", home, "--no-root-pypi"]
    subprocess.run([str(one) for one in init], check=True, capture_output=True, cwd=root)
    command = [python.with_name("devpi-server"), "--serverdir", home, "--port", port]
    with process(command, answers(f"{url}/+api"), cwd=root) as pid:
        token = _ask(f"{url}/+login", "POST", {"user": "root", "password": ""})["result"]
        secret = base64.b64encode(f"root:{token['password']}".encode()).decode()
        auth = {"X-Devpi-Auth": secret}
        _ask(f"{url}/root/bench", "PUT", {"type": "stage", "bases": []}, auth)
        for path in [*sorted(folder.iterdir()), wheel]:
            upload(f"{url}/root/bench/", path, auth)
        simple = "/root/bench/+simple/"
        page = f"{simple}{wheel.name.split('-')[0].replace('_', '-')}/"
        file = _href(f"{url}{page}")
        yield Server("devpi", url, pid, simple, f"{simple}{MANY}/", file)


def _ask(url: str, method: str, body: object, headers: dict[str, str] | None = None) -> dict:
    given = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), given, method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        found: dict = json.load(response)
        return found


def _href(page: str) -> str:
    with urllib.request.urlopen(page, timeout=60) as response:
        link = response.read().decode().split('href="')[1].split('"')[0]
    return urllib.parse.urlsplit(urllib.parse.urljoin(page, link)).path


_STATIC = """
import sys, uvicorn
from starlette.staticfiles import StaticFiles
uvicorn.run(StaticFiles(directory=sys.argv[1]), port=int(sys.argv[2]), log_level="error")
"""


@contextmanager
def static(
    name: str, words: list[object], folder: Path, wheel: Path, port: int
) -> Iterator[Server]:
    url = f"http://127.0.0.1:{port}"
    with process([sys.executable, *words], answers(f"{url}/{wheel.name}"), cwd=folder) as pid:
        yield Server(name, url, pid, file=f"/{wheel.name}")


# -- measuring -----------------------------------------------------------------------------------
def fetch(connection: http.client.HTTPConnection, path: str, accept: str) -> int:
    connection.request("GET", path, headers={"Accept": accept})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}: {answer.read()[:300]!r}")
    size, buffer = 0, bytearray(PIECE)
    while read := answer.readinto(buffer):
        size += read
    return size


def times_of(server: Server, path: str, count: int, accept: str = "text/html") -> list[float]:
    """Seconds of each request, after one that is not counted."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=600)
    fetch(connection, path, accept)
    found = []
    for _ in range(count):
        began = time.perf_counter()
        fetch(connection, path, accept)
        found.append(time.perf_counter() - began)
    connection.close()
    return sorted(found)


def show_pages(servers: list[Server], sizes: Sizes) -> None:
    print("| page | server | median, ms | p95, ms | requests/s | n |\n|---|---|---|---|---|---|")
    pages = ((f"{sizes.names:,} packages", "names"), (f"{sizes.versions:,} versions", "versions"))
    for title, which in pages:
        for server in servers:
            path = getattr(server, which)
            kinds = ("text/html", JSON) if server.name == "Seamline" else ("text/html",)
            for kind in kinds if path else ():
                found = times_of(server, path, sizes.requests, kind)
                rate = len(found) / sum(found)
                name = f"{server.name}{', JSON' if kind == JSON else ''}"
                middle, late = statistics.median(found), found[int(len(found) * 0.95)]
                row = f"| {title} | {name} | {middle * 1e3:.1f} | {late * 1e3:.1f} "
                print(f"{row}| {rate:.0f} | {len(found)} |", flush=True)


def show_downloads(servers: list[Server], sizes: Sizes, turns: int = 15) -> None:
    """By turns, so that all see the same machine."""
    found: dict[str, list[float]] = {server.name: [] for server in servers}
    for _ in range(turns):
        for server in servers:
            if server.file is not None:
                found[server.name] += times_of(server, server.file, 1, "*/*")
    print(f"| {sizes.wheel_bytes >> 20} MB from | median, ms | MB/s | n |\n|---|---|---|---|")
    for name, seconds in found.items():
        if seconds:
            middle = statistics.median(seconds)
            rate = sizes.wheel_bytes / middle / 1e6
            print(f"| {name} | {middle * 1e3:.0f} | {rate:.0f} | {len(seconds)} |", flush=True)


class Peak:
    """The highest resident size of a process while the block lasts, above that at its start."""

    def __init__(self, pid: int) -> None:
        self._pid, self._done = pid, threading.Event()
        self.idle_bytes = self.peak_bytes = self._rss()

    def _rss(self) -> int:
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.peak_bytes = max(self.peak_bytes, self._rss())

    def __enter__(self) -> Peak:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def show_memory(root: Path, sizes: Sizes) -> None:
    with ours(root, Sizes(1, 1, 0, 0, 0), None) as server:
        wheel = write_wheel(root, "bench-large", "1.0", sizes.large_bytes)
        digest = hashlib.file_digest(wheel.open("rb"), "sha256").hexdigest()
        path = f"/pypi/dataops/files/{digest}/{wheel.name}"
        time.sleep(3)
        print(f"| {sizes.large_bytes >> 20} MB | s | MB over idle |\n|---|---|---|")
        steps: dict[str, Callable[[], object]] = {
            "up": lambda: upload(f"{server.url}/pypi/dataops/upload/", wheel),
            "down, the first time": lambda: times_once(server, path),
            "down again": lambda: times_once(server, path),
        }
        with Peak(server.pid) as idle:
            time.sleep(0.2)
        for name, step in steps.items():
            began = time.perf_counter()
            with Peak(server.pid) as peak:
                step()
            over = (peak.peak_bytes - idle.idle_bytes) / 1e6
            print(f"| {name} | {time.perf_counter() - began:.1f} | {over:.0f} |", flush=True)


def times_once(server: Server, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=600)
    fetch(connection, path, "*/*")
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it all works")
    parser.add_argument("--only", default="pages,downloads,memory")
    parser.add_argument("--peers", default="pypiserver,devpi", help="empty: none")
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache/seamline-bench/packages"
    )
    options = parser.parse_args()
    sizes, what = QUICK if options.quick else FULL, options.only.split(",")
    with tempfile.TemporaryDirectory(prefix="seamline-bench-") as name, ExitStack() as stack:
        root = Path(name)
        if "memory" in what:
            show_memory(root, sizes)
            shutil.rmtree(root / "workspace")
        if {"pages", "downloads"} & set(what):
            measure(root, sizes, what, options.peers.split(","), options.cache, stack)


def measure(
    root: Path, sizes: Sizes, what: list[str], peers: list[str], cache: Path, stack: ExitStack
) -> None:
    large, small = root / "large", root / "small"
    large.mkdir()
    small.mkdir()
    wheel = write_wheel(large, "bench-wheel", "1.0", sizes.wheel_bytes)
    servers = [stack.enter_context(ours(root, sizes, wheel))]
    if "downloads" in what:
        for title, words in (
            ("python -m http.server", ["-m", "http.server", "-b", "127.0.0.1"]),
            ("uvicorn, StaticFiles", ["-c", _STATIC, large]),
        ):
            port = free_port()
            words = [*words, port]
            servers.append(stack.enter_context(static(title, words, large, wheel, port)))
    if set(peers) & set(PEERS):
        for number in range(sizes.names - 1 if "pages" in what else 0):
            write_wheel(small, f"bench-{number:04}", "1.0")
        for number in range(sizes.versions if "pages" in what else 0):
            write_wheel(small, MANY, f"1.{number}")
    for name, start in (("pypiserver", pypiserver), ("devpi", devpi)):
        if name in peers:
            both = root / f"all-{name}"
            shutil.copytree(small, both)
            if name == "pypiserver":
                shutil.copy(wheel, both)
            servers.append(stack.enter_context(start(root, cache, both, wheel)))
    if "pages" in what:
        show_pages(servers, sizes)
    if "downloads" in what:
        show_downloads(servers, sizes)


if __name__ == "__main__":
    main()
