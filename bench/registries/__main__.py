"""`python -m bench.registries`: the registries beside their peers, from the tree's root.

Everything speaks HTTP/1.1 over loopback; peers live in virtual environments of their own, which
this program makes with uv. Linux only (reads /proc).
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.registries.downloads import show_downloads
from bench.registries.memory import show_memory
from bench.registries.pages import show_pages
from bench.registries.peers import devpi, pypiserver
from bench.registries.publishing import show_publishing
from bench.registries.servers import (
    FULL,
    LARGE,
    QUICK,
    Sizes,
    ours,
    seed_ours,
    static_folder,
    static_server,
    static_servers,
)
from bench.registries.thin import show_thin
from bench.registries.wheels import write_wheel

PARTS = ("pages", "downloads", "publishing", "thin", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it all works")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--peers", default="pypiserver,devpi", help="empty: none")
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache/seamline-bench/packages"
    )
    options = parser.parse_args()
    sizes, what = QUICK if options.quick else FULL, options.only.split(",")
    peers = [name for name in options.peers.split(",") if name]
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.release()}")
    with tempfile.TemporaryDirectory(prefix="seamline-bench-") as name:
        for part in [one for one in PARTS if one in what]:
            root = Path(name) / part
            root.mkdir()
            print(f"\n{part}, load at the start {os.getloadavg()[0]:.1f}", flush=True)
            run(part, root, sizes, peers, options)


def run(part: str, root: Path, sizes: Sizes, peers: list[str], options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        if part == "pages":
            seed_ours(root / "workspace", sizes)
            servers = [stack.enter_context(ours(root / "workspace"))]
            for name, start in (("pypiserver", pypiserver), ("devpi", devpi)):
                if name in peers:
                    servers.append(stack.enter_context(start(root, options.cache, sizes)))
            show_pages(servers, sizes)
        elif part == "downloads":
            wheel = write_wheel(root, LARGE, "1.0", sizes.wheel_bytes)
            folder = root / "static"
            file = static_folder(folder, wheel)
            servers = [stack.enter_context(ours(root / "workspace", wheel))]
            for name in static_servers():
                servers.append(stack.enter_context(static_server(name, folder, file)))
            show_downloads(servers, sizes)
        elif part == "publishing":
            server = stack.enter_context(ours(root / "workspace"))
            show_publishing(server, root, is_quick=options.quick)
        elif part == "thin":
            show_thin(root, is_quick=options.quick)
        else:
            show_memory(root, sizes)


if __name__ == "__main__":
    main()
