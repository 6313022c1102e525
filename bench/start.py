"""How long until something answers: `seamline up`, `--version`, `--help`, `status`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SEAMLINE = str(Path(sys.executable).with_name("seamline"))
ENVIRON = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run_s(command: Sequence[str], folder: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=ENVIRON, check=True, capture_output=True)
    return time.perf_counter() - began


def up_s(workspace: Path) -> float:
    """Until the server has said on stdout that it is ready; then it is stopped."""
    command = [SEAMLINE, "--workspace", str(workspace), "up"]
    command += ["--port", "0", "--serve-port", "0", "--json"]
    began = time.perf_counter()
    server = subprocess.Popen(command, env=ENVIRON, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        said = json.loads(server.stdout.readline())
        return time.perf_counter() - began if said["url"] else 0.0
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        server.stdout.close()


def row(name: str, measure: Callable[[], float], runs: int, floor_s: float) -> float:
    measure()  # the first run fills caches
    found = sorted(measure() for _ in range(runs))
    median = statistics.median(found)
    ratio = f"{median / floor_s:.1f} ×" if floor_s else "1"
    print(
        f"| {name} | {median * 1000:.0f} ms | {found[0] * 1000:.0f} to {found[-1] * 1000:.0f} "
        f"| {runs} | {ratio} |",
        flush=True,
    )
    return median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    print("| what | median | range, ms | n | to `python -c pass` |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        python = [sys.executable, "-c"]
        imports = "import fastapi, sqlalchemy"
        floor_s = row("`python -c pass`", lambda: run_s([*python, "pass"], folder), runs, 0.0)
        row(f"`python -c '{imports}'`", lambda: run_s([*python, imports], folder), runs, floor_s)
        for words in (["--version"], ["--help"], ["status"]):
            name = f"`seamline {' '.join(words)}`"
            row(name, lambda words=words: run_s([SEAMLINE, *words], folder), runs, floor_s)
        again = Path(folder) / "again"
        row("`seamline up`, a workspace that is there", lambda: up_s(again), runs, floor_s)
        fresh = iter(Path(folder) / f"fresh-{number}" for number in range(runs + 1))
        row("`seamline up`, a new workspace", lambda: up_s(next(fresh)), runs, floor_s)


if __name__ == "__main__":
    main()
