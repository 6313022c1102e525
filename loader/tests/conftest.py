"""A web server with payloads that stumbles on demand, and processes that fetch from it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seamline_loader.configuration import Configuration
from seamline_loader.fetching import Manner
from seamline_loader.payloads import Payloads

PART = 1 << 16
SOURCE = Path(__file__).parents[1] / "src"
PROGRAM = """
import hashlib, os, sys
from seamline_loader import Payloads, read_configuration
from seamline_loader.fetching import Manner

payloads = Payloads(read_configuration(os.environ), Manner(part_bytes=1 << 16))
print(hashlib.sha256(payloads.read(sys.argv[1])).hexdigest())
"""


@dataclass
class Site:
    """What is served, how, and what was asked for. `cut`: bytes of a body before it breaks off;
    `let_through`: bodies that are sent whole before the rest is held until `release`;
    `before_parts`: called when the first part is asked for."""

    url: str = ""
    payloads: dict[str, bytes] = field(default_factory=dict)
    in_ranges: bool = True
    cut: int | None = None
    statuses: list[int] = field(default_factory=list)
    token: str | None = None
    redirect: str | None = None
    let_through: int | None = None
    before_parts: Callable[[str], None] | None = None
    asked: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    held: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    release: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, data: bytes) -> str:
        """The digest."""
        name = hashlib.sha256(data).hexdigest()
        self.payloads[name] = data
        return f"sha256:{name}"

    def parts(self) -> list[str]:
        return [one for one in self.asked if one != "bytes=0-0"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers.get("Range", "")
        with site.lock:
            site.asked.append(wanted)
            site.authorizations.append(self.headers.get("Authorization"))
            status = site.statuses.pop(0) if site.statuses else None
            if site.before_parts and wanted != "bytes=0-0":
                site.before_parts(wanted)
                site.before_parts = None
        data = site.payloads.get(self.path.rsplit("/", 1)[1])
        if status is not None:
            self._refuse(status)
        elif site.redirect is not None:
            self._refuse(302, ("Location", site.redirect + self.path))
        elif site.token and self.headers.get("Authorization") != f"Bearer {site.token}":
            self._refuse(401)
        elif data is None:
            self._refuse(404)
        else:
            self._send(data, wanted)

    def _send(self, data: bytes, wanted: str) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted) if self.site.in_ranges else None
        body = data[int(match[1]) : int(match[2]) + 1] if match else data
        self.send_response(206 if match else 200)
        self.send_header("Content-Length", str(len(body)))
        if match:
            self.send_header("Content-Range", f"bytes {match[1]}-{match[2]}/{len(data)}")
        self.end_headers()
        if self.site.let_through is not None and len(body) > 1:
            with self.site.lock:
                self.site.let_through -= 1
                is_held = self.site.let_through < 0
            if is_held:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                self.site.held.release()
                self.site.release.wait(60)
                self.close_connection = True
                return
        self.wfile.write(body[: self.site.cut])
        self.close_connection = True

    def _refuse(self, status: int, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", "0")):
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed hung up."""


@pytest.fixture
def make_site() -> Iterator[Callable[[], Site]]:
    servers: list[tuple[Server, threading.Thread, Site]] = []

    def _make() -> Site:
        site = Site()
        server = Server(("127.0.0.1", 0), type("OfSite", (Handler,), {"site": site}))
        site.url = f"http://127.0.0.1:{server.server_address[1]}/payloads"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        servers.append((server, thread, site))
        return site

    yield _make
    for server, thread, site in servers:
        site.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site(make_site: Callable[[], Site]) -> Site:
    return make_site()


@pytest.fixture
def payload() -> bytes:
    """Ten parts, the last of them short; no two alike."""
    return b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(2 * 9 * PART // 64 + 100))


@pytest.fixture
def payloads_at(tmp_path: Path) -> Callable[..., Payloads]:
    """Never waits between attempts."""

    def _payloads_at(
        *locations: str,
        limit: int = 1 << 30,
        token: str | None = None,
        cache: Path = tmp_path / "cache",
        manner: Manner | None = None,
    ) -> Payloads:
        configuration = Configuration(locations, cache, limit, token)
        quick = Manner(part_bytes=PART, pause=lambda _seconds: None)
        return Payloads(configuration, manner or quick)

    return _payloads_at


@pytest.fixture
def start_fetch(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A process of its own that prints the sha256 of what it read."""
    started: list[subprocess.Popen[str]] = []

    def _start(url: str, digest: str) -> subprocess.Popen[str]:
        environ = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "HOME": str(tmp_path),
            "SEAMLINE_PAYLOADS": url,
            "SEAMLINE_PAYLOAD_CACHE": str(tmp_path / "cache"),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, digest],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield _start
    for process in started:
        process.kill()
        process.communicate()
