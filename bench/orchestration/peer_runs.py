"""Runs one peer's script on one workload, in a folder of its own, and cleans up after it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.orchestration.venvs import ensure

HERE = Path(__file__).parent
_MARK = "BENCH_MARK"
TIMEOUT_S = 180.0
#: One thread for each process's numerics: the processes are what is compared.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class PeerRun:
    #: What the table calls it.
    subject: str
    script: str
    #: None: the interpreter that runs this.
    venv: str | None
    workload: str
    n: int
    mode: str = ""
    repeat: int = 1


@dataclass(frozen=True)
class Machine:
    """Where and how wide everybody runs."""

    workers: int
    cache: Path


def run_peer(wanted: PeerRun, machine: Machine) -> dict[str, Any]:
    """One row; with an `error`, where it did not get to its result."""
    python = sys.executable if wanted.venv is None else str(ensure(machine.cache, wanted.venv))
    head = {
        "subject": wanted.subject,
        "mode": wanted.mode,
        "workload": wanted.workload,
        "n": wanted.n,
    }
    mark = uuid.uuid4().hex
    # Byte code is written and used: PYTHONDONTWRITEBYTECODE would triple every import.
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | ONE_THREAD
    environ[_MARK] = mark
    environ["PATH"] = f"{Path(python).parent}{os.pathsep}{environ['PATH']}"
    # kfp.local runs the same pipelines as Seamline.
    environ["PYTHONPATH"] = os.pathsep.join((str(HERE / "peers"), str(HERE)))
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        command = [python, str(HERE / "peers" / f"{wanted.script}.py"), wanted.workload]
        command += ["--n", str(wanted.n), "--workers", str(machine.workers)]
        command += ["--folder", folder, "--mode", wanted.mode]
        began = time.perf_counter()
        try:
            done = subprocess.run(
                command, env=environ, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S
            )
            wall_s = time.perf_counter() - began
        except subprocess.TimeoutExpired:
            return {**head, "error": f"not done after {TIMEOUT_S:.0f} s"}
        finally:
            end_marked(mark)
        result = Path(folder) / "result.json"
        if done.returncode or not result.exists():
            return {**head, "error": (done.stdout + done.stderr)[-1500:]}
        return {**head, "wall_s": wall_s, **json.loads(result.read_text())}


def end_marked(mark: str) -> None:
    """Ends what a peer left behind: only what inherited this run's own mark."""
    wanted = f"{_MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
