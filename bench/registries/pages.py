"""Pages of the simple index: one keep-alive connection, one request after the other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from bench.registries.servers import Server, Sizes, connected, fetch
from bench.registries.table import p95, show_head, show_row

JSON = "application/vnd.pypi.simple.v1+json"
ROUNDS = 4
#: A server's turn ends after that, with as many requests as it has answered.
TURN_S = 6.0


def show_pages(servers: Sequence[Server], sizes: Sizes) -> None:
    """By turns, in both orders, so that all see the same machine."""
    show_head("page", "server", "median, ms", "p95, ms", "requests/s", "kB", "n")
    pages = ((f"{sizes.names:,} packages", "names"), (f"{sizes.versions:,} versions", "versions"))
    for title, which in pages:
        asked = [
            (f"{server.name}, {kind}", server, getattr(server, which), accept)
            for server in servers
            for kind, accept in (("HTML", "text/html"), ("JSON", JSON))
            if getattr(server, which) and (kind == "HTML" or server.name != "pypiserver")
        ]
        found: dict[str, list[float]] = {name: [] for name, *_ in asked}
        bytes_of: dict[str, int] = {}
        for turn in range(ROUNDS):
            for name, server, path, accept in asked[:: 1 if turn % 2 else -1]:
                seconds, size = times_of(server, path, sizes.requests // ROUNDS, accept)
                found[name] += seconds
                bytes_of[name] = size
        for name, seconds in found.items():
            middle = f"{statistics.median(seconds) * 1e3:.1f}", f"{p95(seconds) * 1e3:.1f}"
            rate = f"{len(seconds) / sum(seconds):.0f}"
            show_row(title, name, *middle, rate, bytes_of[name] // 1000, len(seconds))


def times_of(server: Server, path: str, count: int, accept: str) -> tuple[list[float], int]:
    """Seconds of each request, after one that is not counted; how large an answer is."""
    with connected(server) as connection:
        size = fetch(connection, path, accept)
        found: list[float] = []
        while len(found) < count and sum(found) < TURN_S:
            began = time.perf_counter()
            fetch(connection, path, accept)
            found.append(time.perf_counter() - began)
    return found, size
