"""Resident memory of the server while a very large wheel goes up and down (Linux)."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.registries.servers import Server, Sizes, connected, fetch, ours
from bench.registries.table import show_head, show_row
from bench.registries.wheels import upload, write_wheel


class Peak:
    """The highest resident size of a process while the block lasts."""

    def __init__(self, pid: int) -> None:
        self._pid, self._done = pid, threading.Event()
        self.peak_bytes = self._rss()

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
    workspace = root / "memory"
    with ours(workspace) as server:
        wheel = write_wheel(root, "bench-large", "1.0", sizes.large_bytes)
        with wheel.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        path = f"/pypi/dataops/files/{digest}/{wheel.name}"
        time.sleep(3)
        show_head(f"{sizes.large_bytes >> 20} MB", "s", "MB over idle")
        steps: dict[str, Callable[[], object]] = {
            "up": lambda: upload(f"{server.url}/pypi/dataops/upload/", wheel),
            "down, the first time": lambda: _read(server, path),
            "down again": lambda: _read(server, path),
        }
        with Peak(server.pid) as idle:
            time.sleep(0.2)
        for name, step in steps.items():
            began = time.perf_counter()
            with Peak(server.pid) as peak:
                step()
            over = (peak.peak_bytes - idle.peak_bytes) / 1e6
            show_row(name, f"{time.perf_counter() - began:.1f}", f"{over:.0f}")
    wheel.unlink()
    shutil.rmtree(workspace)


def _read(server: Server, path: str) -> None:
    with connected(server) as connection:
        fetch(connection, path)
