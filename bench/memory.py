"""Proportional set size of an idle server's process tree, data plane included (Linux)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SEAMLINE = str(Path(sys.executable).with_name("seamline"))
ENVIRON = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
#: After it is ready, what was started in the background may still be importing.
SETTLE_S = 5.0


def pss_bytes(pid: int) -> int:
    """Shared pages are divided among the processes that share them."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def tree(pid: int) -> Iterator[int]:
    """The process and all below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree(int(child))


def command_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return " ".join(Path(word).name for word in words[:4])[:60]


def floor_bytes() -> int:
    """An interpreter that has imported what any such server imports."""
    program = "import fastapi, sqlalchemy, sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return pss_bytes(process.pid)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        command = [SEAMLINE, "--workspace", str(workspace), "up"]
        command += ["--port", "0", "--serve-port", "0", "--json"]
        server = subprocess.Popen(command, env=ENVIRON, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            server.stdout.readline()
            plane = json.loads((workspace / "dataplane.json").read_text())["pid"]
            time.sleep(SETTLE_S)
            pids = sorted({*tree(server.pid), *tree(plane)})
            sizes = {pid: (command_of(pid), pss_bytes(pid)) for pid in pids}
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
            server.stdout.close()
    total, floor = sum(size for _, size in sizes.values()), floor_bytes()
    print("| process | PSS, MB |\n|---|---|")
    for name, size in sizes.values():
        print(f"| `{name}` | {size / 1e6:.0f} |")
    print(f"| **idle process tree** | **{total / 1e6:.0f}** |")
    print(f"| floor: `import fastapi, sqlalchemy` | {floor / 1e6:.0f} ({total / floor:.1f} ×) |")


if __name__ == "__main__":
    main()
