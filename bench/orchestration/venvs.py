"""Virtual environments of the peers: one each, outside the tree, made once with uv."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uv

#: The same numerics for everybody: those of requirements.lock.
NUMERICS = ("numpy==2.4.6", "scikit-learn==1.9.1")
FOLDER_VARIABLE = "BENCH_PEERS"


@dataclass(frozen=True)
class Venv:
    name: str
    requirements: tuple[str, ...]


VENVS = (
    Venv("joblib", ("joblib==1.6.0",)),
    Venv("dask", ("dask==2026.8.0", "distributed==2026.8.0")),
    Venv("ray", ("ray==2.60.0",)),
    # kfp's own preamble runs pip in the interpreter of the task.
    Venv("kfp", ("kfp==2.17.0", "pip==26.3")),
    Venv("metaflow", ("metaflow==2.19.39",)),
    Venv("dagster", ("dagster==1.13.27",)),
    Venv("airflow", ("apache-airflow==3.3.2",)),
)


def default_folder() -> Path:
    """`BENCH_PEERS`, else below the user's cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else cache / "seamline-bench"


def ensure(folder: Path, name: str) -> Path:
    """The peer's interpreter; its environment is made when there is none, or another one.

    Byte-compiled: uv does not compile by itself, and a first import would take several times
    as long as every later one.
    """
    (venv,) = [one for one in VENVS if one.name == name]
    wanted = "\n".join((platform.python_version(), *venv.requirements, *NUMERICS))
    place = folder / "venvs" / name
    stamp = place / "bench-requirements.txt"
    python = place / "bin" / "python"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    binary = uv.find_uv_bin()
    # From an empty folder: uv would obey the project file of the one that we were started in.
    with tempfile.TemporaryDirectory() as nowhere:
        make = [binary, "venv", "--quiet", "--python", sys.executable, str(place)]
        subprocess.run(make, check=True, cwd=nowhere)
        install = [binary, "pip", "install", "--quiet", "--compile-bytecode"]
        install += ["--python", str(python), *venv.requirements, *NUMERICS]
        subprocess.run(install, check=True, cwd=nowhere)
    stamp.write_text(wanted)
    return python
