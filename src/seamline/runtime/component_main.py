"""Runs a lightweight KFP component inside its image: a plain script for the image's own Python.

    python3 component_main.py SETTINGS_JSON

It does what the command that the KFP SDK compiled does (install packages, then call the function
through `kfp.dsl.executor`), with source and inputs from files instead of arguments, and by the
same code as a forked task (task_main.py, beside this file also in the container).
Standard library only, for Python 3.9 and later.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

#: Set once packages are installed and this script has started again to see them.
_INSTALLED = "--installed"
_KEPT_LINES = 20
_PACKAGE = "_seamline"
_REQUIREMENT_READERS = ("packaging.requirements", "pip._vendor.packaging.requirements")


class CannotInstall(Exception):
    __module__ = "builtins"  # In the record of the error, it has no module.


def main(arguments: list[str]) -> int:
    settings = json.loads(Path(arguments[0]).read_bytes())
    request = settings["request"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    # Our folder was put first for this script; its file names must not stand for packages.
    sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
    task_main = load_ours("task_main")
    if _INSTALLED not in arguments:
        try:
            has_installed = install_missing(settings)
        except CannotInstall as error:
            record = str(Path(request["work_dir"], "error.json"))
            task_main.report_error(error.with_traceback(None), record, "")
            return 1
        if has_installed:
            # Anew: the folder that pip chose may not have been there when Python looked.
            script = [sys.executable, __file__, arguments[0], _INSTALLED]
            os.execv(sys.executable, script)  # noqa: S606  (the very program that runs)
    provide_kfp(settings["kfp_dir"])
    return int(task_main.TaskProcess().perform(request, lambda: None))


def load_ours(name: str) -> Any:
    """One of the scripts beside this one, as zygote_main.py does."""
    package = ModuleType(_PACKAGE)
    package.__path__ = [str(Path(__file__).parent)]
    sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.{name}")


def provide_kfp(folder: str) -> None:
    """The image's own kfp; else ours, behind all that the image has, also for its children."""
    os.environ["_KFP_RUNTIME"] = "true"  # Before kfp is touched: it then loads its half only.
    try:
        if importlib.util.find_spec("kfp.dsl") is not None:
            return
    except ModuleNotFoundError:
        sys.modules.pop("kfp", None)
    sys.path.append(folder)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([before, folder] if before else [folder])
    importlib.invalidate_caches()


# -- packages ----------------------------------------------------------------------------------


def install_missing(settings: Mapping[str, Any]) -> bool:
    """Whether pip installed something, into the container, which is thrown away."""
    wanted: list[str] = settings["requirements"]
    if all(is_installed(text) for text in wanted):
        return False
    if importlib.util.find_spec("pip") is None:
        run_pip_command([sys.executable, "-m", "ensurepip", "--default-pip"], {}, wanted)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-script-location"]
    # By the environment: an index's address may hold a password, and anyone can list arguments.
    env = index_variables(settings["index_urls"], settings["trusted_hosts"])
    run_pip_command([*pip, "--", *wanted], env, wanted)
    return True


def is_installed(text: str) -> bool:
    """Whether a requirement is met; what cannot be told from a version is left to pip."""
    read = requirement_reader()
    if read is None:
        return False
    wanted = read(text)
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    if wanted.url or wanted.extras:
        return False
    try:
        version = importlib.metadata.version(wanted.name)
        return bool(wanted.specifier.contains(version, prereleases=True))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False


def requirement_reader() -> Any:
    """The class that parses PEP 508; pip carries one, and so do many images."""
    for name in _REQUIREMENT_READERS:
        try:
            return importlib.import_module(name).Requirement
        except ImportError:
            continue
    return None


def index_variables(
    index_urls: Sequence[str], trusted_hosts: Sequence[str] | None
) -> dict[str, str]:
    """pip's variables; as the SDK does, an index that a component names is trusted by default.

    >>> index_variables(["http://127.0.0.1:8/simple", "https://x.example/s"], None)
    {'PIP_INDEX_URL': 'http://127.0.0.1:8/simple', 'PIP_EXTRA_INDEX_URL': 'https://x.example/s', \
'PIP_TRUSTED_HOST': '127.0.0.1:8 x.example'}
    >>> index_variables([], None)
    {}
    """
    if not index_urls:
        return {}
    if trusted_hosts is None:
        trusted_hosts = [urlsplit(url).netloc.rpartition("@")[2] for url in index_urls]
    found = {
        "PIP_INDEX_URL": index_urls[0],
        "PIP_EXTRA_INDEX_URL": " ".join(index_urls[1:]),
        "PIP_TRUSTED_HOST": " ".join(host for host in trusted_hosts if host),
    }
    return {name: value for name, value in found.items() if value}


def run_pip_command(command: Sequence[str], env: Mapping[str, str], wanted: Sequence[str]) -> None:
    """Hands its lines on to the log; raises CannotInstall with the last of them."""
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    # The container is thrown away, so a distribution's own Python may be added to.
    quiet["PIP_BREAK_SYSTEM_PACKAGES"] = "1"
    with subprocess.Popen(
        command,
        env={**os.environ, **quiet, **env},
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as running:
        for raw in running.stdout or ():
            line = re.sub(r"//[^/\s@]+@", "//***@", raw.rstrip())
            last.append(line)
            print(f"[environment] {line}")
    if running.returncode != 0:
        said = "\n".join(last)
        raise CannotInstall(f"{', '.join(wanted)} cannot be installed in the image:\n{said}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
