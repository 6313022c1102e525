"""One large wheel, by clients that read, keep or install it, from ours and from static files."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import uv
from bench.registries.servers import LARGE, Server, Sizes, connected, cpu_s, fetch
from bench.registries.table import show_head, show_row

Client = Callable[[Server, Path], object]
#: Whatever this machine's configuration says, installers ask the server that is measured.
ENVIRON = {
    name: text
    for name, text in os.environ.items()
    if not name.upper().startswith(("PIP_", "UV_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"))
} | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_CONFIG": "1"}


def read_only(server: Server, _folder: Path) -> None:
    with connected(server) as connection:
        fetch(connection, server.file or "")


def curl(server: Server, _folder: Path) -> None:
    _run("curl", "--silent", "--fail", "--output", os.devnull, f"{server.url}{server.file}")


def pip_download(server: Server, folder: Path) -> None:
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir")
    _run(*pip, "--index-url", f"{server.url}{server.index}", "--dest", str(folder), LARGE)


def uv_install(server: Server, folder: Path) -> None:
    """Into an empty folder, with an empty cache."""
    install = (uv.find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--no-cache")
    _run(*install, "--index-url", f"{server.url}{server.index}", "--target", str(folder), LARGE)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, env=ENVIRON, cwd="/", stdout=subprocess.DEVNULL)


def show_downloads(servers: Sequence[Server], sizes: Sizes) -> None:
    """By turns, in both orders. The first turn is not counted: ours hashes the file then."""
    clients: dict[str, tuple[Client, int]] = {"reads": (read_only, 15)}
    if shutil.which("curl"):
        clients["curl"] = (curl, 9)
    clients |= {"`pip download`": (pip_download, 7), "`uv pip install`": (uv_install, 9)}
    # What was uploaded a moment ago is hashed at each download; see store/verified.py.
    time.sleep(3.5)
    size = f"{sizes.wheel_bytes >> 20} MB"
    show_head(size, "server", "median, ms", "range", "to ours", "server's CPU, ms", "n")
    for title, (client, turns) in clients.items():
        _show_client(title, client, turns, servers)


def _show_client(title: str, client: Client, turns: int, servers: Sequence[Server]) -> None:
    found: dict[str, list[float]] = {server.name: [] for server in servers}
    used = dict.fromkeys(found, 0.0)
    for turn in range(turns + 1):
        for server in servers[:: 1 if turn % 2 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                used_before, began = cpu_s(server.pid), time.perf_counter()
                client(server, Path(folder))
                if turn:
                    found[server.name].append(time.perf_counter() - began)
                    used[server.name] += cpu_s(server.pid) - used_before
    ours = statistics.median(found[servers[0].name])
    for name, seconds in found.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds) * 1e3:.0f} to {max(seconds) * 1e3:.0f}"
        ratio = f"{middle / ours:.2f} ×"
        cpu = f"{used[name] / turns * 1e3:.0f}"
        show_row(title, name, f"{middle * 1e3:.0f}", spread, ratio, cpu, turns)
