"""A model's own interpreter, started with one of the scripts beside this file."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE, Process
from pathlib import Path

#: Nothing else of the plane's environment reaches a model: no secret can leak into it.
PASSED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
#: One request is a few rows: threads inside the model cost more than they give. ONNX Runtime does
#: not tell its maker of the models that it loads.
FIXED_VARIABLES = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}


def worker_environment() -> dict[str, str]:
    passed = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    return {**passed, **FIXED_VARIABLES}


async def start_interpreter(python: str, script: str) -> Process:
    """It has been told nothing yet. Raises OSError. `script`: a file beside this one."""
    path = Path(__file__).resolve().with_name(script)
    return await asyncio.create_subprocess_exec(
        python, "-I", str(path), stdin=PIPE, stdout=PIPE,
        start_new_session=True, env=worker_environment(),
    )  # fmt: skip
