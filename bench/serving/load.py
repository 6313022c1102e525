"""Requests over keep-alive connections: by wrk, where it is installed; else by one of our own."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SCRIPT = """
function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method, wrk.body = "POST", file:read("*all")
  file:close()
  wrk.headers["Content-Type"] = args[2]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('LOAD {"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"failed":%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, e.status + e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def generator() -> str:
    return "wrk, one thread" if shutil.which("wrk") else "bench/serving/load.py, one process"


def run_load(url: str, body: bytes, content_type: str, connections: int, seconds: float) -> Load:
    if shutil.which("wrk"):
        return _by_wrk(url, body, content_type, connections, seconds)
    command = [sys.executable, __file__, url, content_type, str(connections), str(seconds)]
    done = subprocess.run(command, input=body, capture_output=True, check=True)
    return Load(**json.loads(done.stdout))


def _by_wrk(url: str, body: bytes, content_type: str, connections: int, seconds: float) -> Load:
    with tempfile.TemporaryDirectory() as folder:
        script, sent = Path(folder, "post.lua"), Path(folder, "body")
        script.write_text(SCRIPT)
        sent.write_bytes(body)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
        command += ["--timeout", "10s", "-s", str(script), url, "--", str(sent), content_type]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Load(**json.loads(said.split("LOAD ", 1)[1].splitlines()[0]))


class Client(asyncio.Protocol):
    """Sends the next request once the answer to the last one is whole."""

    def __init__(self, request: bytes, until_s: float, taken_s: list[float]) -> None:
        self.request, self.until_s, self.taken_s = request, until_s, taken_s
        self.failed = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent_s = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, blank, body = self.received.partition(b"\r\n\r\n")
        if not blank:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        self.received = b""
        now = time.perf_counter()
        self.taken_s.append(now - self.sent_s)
        self.failed += not head.startswith(b"HTTP/1.1 200")
        if now < self.until_s:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def _own(url: str, body: bytes, content_type: str, connections: int, seconds: float) -> Load:
    where = urlsplit(url)
    head = f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: {content_type}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    taken_s: list[float] = []
    started_s = time.perf_counter()
    loop = asyncio.get_running_loop()
    clients = [
        (
            await loop.create_connection(
                lambda: Client(request, started_s + seconds, taken_s), where.hostname, where.port
            )
        )[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.ended for client in clients))
    elapsed_s = time.perf_counter() - started_s
    taken_s.sort()
    p50, p99 = (1e3 * taken_s[int(share * (len(taken_s) - 1))] for share in (0.5, 0.99))
    return Load(len(taken_s), elapsed_s, p50, p99, sum(client.failed for client in clients))


if __name__ == "__main__":
    import uvloop

    _, _url, _type, _connections, _seconds = sys.argv
    _load = uvloop.run(
        _own(_url, sys.stdin.buffer.read(), _type, int(_connections), float(_seconds))
    )
    print(json.dumps(_load.__dict__))
