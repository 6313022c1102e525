"""A warm fork server: a plain script, standard library only, run by a task environment's Python.

    python -I -X utf8 zygote_main.py CONTROL_FD < CONFIG.json

It imports what tasks are likely to import, freezes the heap, and then forks a process per task: a
task starts in milliseconds with its libraries already there. It runs no user code itself.

The control channel is a socket with one JSON object per line. Requests: start, kill. Reports:
ready, started, ended, refused. End of file means that the client is gone: every task is killed
with its whole group, and the zygote ends. This works whatever thread started the zygote, which
PR_SET_PDEATHSIG does not: it fires when the parent *thread* ends. PDEATHSIG is set as well (the
client starts zygotes from one thread that lives as long as it does) for a client whose end of the
socket was inherited by somebody else.

Forking is safe in a process with one thread only. A module whose import leaves a thread behind is
left out: the zygote starts itself anew without it.

Elsewhere than Linux there is no prctl and no /proc: the end of file still ends everything, but
what a task detached from its process group is not found.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
from types import ModuleType
from typing import Any

#: Our folder under another name: on `sys.path`, our file names would stand for packages that users
#: import; and `seamline` is, in a task, the one that its environment has.
_PACKAGE = "_seamline"
# One thread each: tasks run side by side. jemalloc (in Arrow and Polars) would start one at import.
# ONNX Runtime does not tell its maker of the models that it loads.
_ENV = {
    **dict.fromkeys(
        (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "BLIS_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS",
            "NUMEXPR_NUM_THREADS",
        ),
        "1",
    ),
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "_RJEM_MALLOC_CONF": "background_thread:false",
    "ORT_DISABLE_TELEMETRY": "1",
}


def load_ours(name: str) -> Any:
    """One of the scripts beside this one."""
    if _PACKAGE not in sys.modules:
        package = ModuleType(_PACKAGE)
        package.__path__ = [os.path.dirname(__file__)]  # noqa: PTH120
        sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.{name}")


def read_config() -> dict[str, Any]:
    """From our standard input, a file; to tasks it is empty."""
    with open(0, "rb", closefd=False) as file:
        file.seek(0)
        config: dict[str, Any] = json.loads(file.read())
    return config


def package_of(name: str) -> str:
    """What is imported first, with whatever of it: the module's outermost package that has code.

    >>> package_of("email.mime.text"), package_of("json")
    ('email', 'json')
    """
    parts = name.split(".")
    for length in range(1, len(parts)):
        package = ".".join(parts[:length])
        if getattr(sys.modules.get(package), "__file__", None):
            return package
    return name


def preload(names: list[str], left_out: list[str], kernel: Any) -> tuple[list[str], str]:
    """Imports what it can; (what it could not, the first package that started a thread)."""
    failed = []
    for name in names:
        if name in left_out or any(name.startswith(other + ".") for other in left_out):
            continue
        try:
            importlib.import_module(name)
        except BaseException as error:  # Best effort: the task itself will say what is wrong.
            failed.append(f"{name}: {error!r}")
        if kernel.count_threads() > 1:
            # Were it left out module by module, we would start anew for each of them.
            return failed, package_of(name)
    return failed, ""


def start_anew(config: dict[str, Any], control_fd: int) -> None:
    """The same program with another configuration in the same file."""
    os.set_inheritable(control_fd, True)
    with open(0, "wb", closefd=False) as file:
        file.seek(0)
        file.truncate()
        file.write(json.dumps(config).encode())
    script = [sys.executable, "-I", "-X", "utf8", __file__, str(control_fd)]
    os.execv(sys.executable, script)  # noqa: S606  (the very program that runs)


def rehearse(process: Any, kind: str) -> str:
    """Often enough for the interpreter to specialise what runs; what went wrong, if anything."""
    try:
        for _ in range(16):
            process.rehearse(kind)
    except Exception as error:  # The task itself will say what is wrong.
        return f"rehearsal: {error!r}"
    return ""


def main(arguments: list[str]) -> None:
    control_fd, config = int(arguments[0]), read_config()
    kernel = load_ours("task_kernel")
    prctl = kernel.find_prctl()
    prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update(_ENV)
    if config["kind"] == "kfp":
        os.environ["_KFP_RUNTIME"] = "true"
    left_out: list[str] = config["left_out"]
    gc.disable()  # What is imported is no garbage: to look for some takes a tenth of the time.
    failed, threaded = preload(config["preload"], left_out, kernel)
    gc.enable()
    if threaded:
        start_anew({**config, "left_out": [*left_out, threaded]}, control_fd)
    null_fd = os.open(os.devnull, os.O_RDWR)
    os.dup2(null_fd, 0)
    os.close(null_fd)
    process = load_ours("task_main").TaskProcess()
    failed.append(rehearse(process, config["kind"]))
    control = socket.socket(fileno=control_fd)
    control.set_inheritable(False)
    server = load_ours("zygote_server").ZygoteServer(control, process, config, prctl)
    gc.collect()
    gc.freeze()
    failed += [f"{name}: left out, for its import starts a thread" for name in left_out]
    for line in filter(None, failed):
        print(line, file=sys.stderr, flush=True)
    server.report("ready", left_out=left_out)
    # From here on tasks may run: on the client's death they must be ended, not just we.
    prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
    prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    server.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
