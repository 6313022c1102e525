"""Loads a package as a serving worker does, answers its sample rows, and tells what that took.

Standard library only: started as a plain script with `-I`, by the interpreter of an environment
that was made for the package. What a worker does when it starts (verify, import from the very
bytes that were hashed, answer the sample rows as they were answered when it was packaged) is done
by the worker's own code.

arguments: the worker's script, a file with the worker's start header (and `module` to be found
installed, too), a file for the answer: {samples, load_s, peak_bytes} or {problem}.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import runpy
import sys
import time
from pathlib import Path
from typing import Any

_KIB = 1024


def main(script: str, request: str, answer: str) -> None:
    worker_main = runpy.run_path(script)
    start = json.loads(Path(request).read_text("utf-8"))
    try:
        told = probe(worker_main, start)
    except Exception as error:
        told = {"problem": f"{type(error).__name__}: {error}"}
    Path(answer).write_text(json.dumps(told), "utf-8")


def probe(worker_main: dict[str, Any], start: dict[str, Any]) -> dict[str, Any]:
    if importlib.util.find_spec(start["module"]) is None:
        raise ImportError(f"installing {start['wheel_name']} installed no module {start['module']}")
    began = time.perf_counter()
    worker = worker_main["Worker"](start)
    ready = worker.load()
    ended = time.perf_counter()
    return {
        "samples": ready["samples"],
        "load_s": round(ended - began, 3),
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """Of this program alone: what the process was before it became it does not count."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KIB
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else _KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main(*sys.argv[1:])
