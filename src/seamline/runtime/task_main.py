"""What happens when a task runs: its limits and surroundings, the user's function, its records.

Standard library only, for Python 3.9 and later: the scripts of a zygote load this file in any
environment, and those of a container in any image. Nothing reaches a task but by file; nothing
leaves it but files, its output and its exit code.

A new kind of task is one more entry in `_RUN` (and in `_REHEARSALS`, when there is something to
warm up).
"""

from __future__ import annotations

import atexit
import itertools
import json
import linecache
import logging
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from .mounts import Bind, enter_mounts
from .task_kernel import read_data_bytes
from .task_sources import Sources, read_verified

_ERROR_TAIL = 4000
_RECORDS = ("error.json", "modules.json")


class TaskProcess:
    """The process that tasks run in, one at a time, or just one."""

    def __init__(self, on_error: Callable[[BaseException], None] | None = None) -> None:
        """`on_error` is called with what the user's function raised, while all is as it left it."""
        self.sources = Sources()
        self._on_error = on_error

    def perform(self, request: dict[str, Any], finish: Callable[[], None]) -> int:
        """Surroundings, the user's function, `finish`, records. Returns the exit code."""
        error_path, modules_path = (os.path.join(request["work_dir"], n) for n in _RECORDS)  # noqa: PTH118
        known = len(sys.modules)
        code = 0
        try:
            enter_task(request)
            _RUN[request["kind"]](request, self.sources)
        except SystemExit as error:
            code = read_exit_code(error)
        except BaseException as error:
            code = 1
            report_error(error, error_path, request["source"])
            if self._on_error is not None:
                self._on_error(error)
        try:
            finish()
            record_modules(modules_path, known, request)
        except BaseException as error:
            code = code or 1
            report_error(error, error_path, request["source"])
        return code

    def rehearse(self, kind: str) -> None:
        """Does what a task of this kind does with the smallest task there is.

        The zygote does so before it freezes, so that all is imported, cached and specialised; a
        process that waits for its task does so to have its own copy of the pages it will write to.
        """
        rehearsal = _REHEARSALS.get(kind)
        if rehearsal is not None:
            rehearsal(self.sources)


def enter_task(request: dict[str, Any]) -> None:
    for name in _RECORDS:
        try:
            os.unlink(os.path.join(request["work_dir"], name))  # noqa: PTH108, PTH118
        except FileNotFoundError:
            continue
    sys.argv = [request["source"]]
    set_limits(request)
    os.environ.update(request["env"])
    mounts = request.get("mounts")
    if mounts:
        binds = [Bind(*one) for one in mounts["binds"]]
        enter_mounts(binds, mounts["ability"], request["work_dir"], mounts["workspace"])
    os.chdir(request["work_dir"])
    for name in ("random", "numpy.random"):
        # Else every task of a zygote would draw the same numbers.
        if name in sys.modules:
            sys.modules[name].seed()
    if "tempfile" in sys.modules:  # It may have asked for the folder before there was this TMPDIR.
        sys.modules["tempfile"].__dict__["tempdir"] = None


def set_limits(request: dict[str, Any]) -> None:
    """Memory is what is private and writable (RLIMIT_DATA), on top of what the zygote has: the
    address space would also count mapped libraries and what allocators merely reserve.

    A process that serves again keeps its hard limits, else nobody could lift them.
    """
    memory, cpu_s = request.get("memory_bytes"), request.get("cpu_s")
    if memory is not None:
        soft = memory + read_data_bytes()
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1] if request["reuse"] else soft
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    if cpu_s is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        seconds = max(1, -int(-(usage.ru_utime + usage.ru_stime + cpu_s) // 1))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    if request.get("cpus"):
        os.sched_setaffinity(0, request["cpus"])


def load_module(name: str, request: dict[str, Any], sources: Sources) -> ModuleType:
    """Runs the source as a module of that name, with lines for tracebacks and `inspect`."""
    path = request["source"]
    text, code = sources.load(path, request.get("source_digest"))
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    exec(code, module.__dict__)  # noqa: S102  (a task is user code)
    return module


# -- lightweight KFP components ----------------------------------------------------------------


def run_kfp(request: dict[str, Any], sources: Sources) -> None:
    """A lightweight KFP component, as `kfp.dsl.executor_main` would run it."""
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="[KFP Executor %(asctime)s %(levelname)s]: %(message)s",
    )
    folder, _, name = request["source"].rpartition("/")
    if name == "ephemeral_component.py":
        # Worker processes of joblib and multiprocessing import the component by its name.
        sys.path.insert(0, folder)
    module = load_module("ephemeral_component", request, sources)
    executor_input = json.loads(Path(request["input_path"]).read_bytes())
    execute_kfp(getattr(module, request["function"]), executor_input)


def execute_kfp(function: Callable[..., Any], executor_input: dict[str, Any]) -> None:
    from kfp.dsl.executor import Executor  # The environment's own, not ours.

    executor = Executor(executor_input=executor_input, function_to_execute=function)
    for name, given in executor_input.get("inputs", {}).get("artifacts", {}).items():
        loaded = executor.input_artifacts.get(name, [])
        several = loaded if isinstance(loaded, list) else [loaded]
        for one, runtime in zip(several, given["artifacts"]):  # noqa: B905  (Python 3.9)
            if runtime.get("custom_path") is not None:
                one.custom_path = runtime["custom_path"]
    executor.execute()


_SMALLEST = """
import kfp
from kfp import dsl
from kfp.dsl import *
from typing import *

def rehearse(number: int, text: str = "") -> int:
    return number
"""


def rehearse_kfp(sources: Sources) -> None:
    namespace: dict[str, Any] = {"__name__": "ephemeral_component"}
    exec(sources.compile(_SMALLEST.encode(), "<rehearsal>"), namespace)  # noqa: S102  (our own)
    inputs = json.loads('{"parameterValues": {"number": 1}}')
    outputs = {"parameters": {"Output": {"outputFile": os.devnull}}, "outputFile": os.devnull}
    execute_kfp(namespace["rehearse"], {"inputs": inputs, "outputs": outputs})


# -- scripts -----------------------------------------------------------------------------------


def run_script(request: dict[str, Any], sources: Sources) -> None:
    """`main(payload) -> dict`, from a JSON file to a JSON file that appears whole or not at all."""
    module = load_module("seamline_task", request, sources)
    payload = json.loads(Path(request["input_path"]).read_bytes())
    result = getattr(module, request["function"])(payload)
    output = Path(request["output_path"])
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    partial.write_text(json.dumps(result), "utf-8")
    partial.replace(output)


def rehearse_script(sources: Sources) -> None:
    exec(sources.compile(b"def main(payload):\n    return payload\n", "<rehearsal>"), {})  # noqa: S102
    json.loads(json.dumps({"name": [1, 2.5, None]}))


# -- commands ----------------------------------------------------------------------------------


def run_command(request: dict[str, Any], _sources: Sources) -> None:
    """Becomes the program, in this very process; comes back only with an OSError."""
    command = json.loads(read_verified(request["source"], request["source_digest"])[0])
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        # Python ignores two of them; a library or whoever started the server, perhaps others.
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(command["program"], command["words"])  # noqa: S606  (without a shell)
    except OSError as error:
        raise OSError(error.errno, error.strerror, command["program"]) from None


_RUN: dict[str, Callable[[dict[str, Any], Sources], None]] = {
    "kfp": run_kfp,
    "script": run_script,
    "command": run_command,
}
_REHEARSALS: dict[str, Callable[[Sources], None]] = {
    "kfp": rehearse_kfp,
    "script": rehearse_script,
}


# -- the end -----------------------------------------------------------------------------------


def read_exit_code(error: SystemExit) -> int:
    """What the interpreter makes of `sys.exit(…)`."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def list_lasting_threads() -> list[threading.Thread]:
    """Those that an interpreter waits for."""
    others = [one for one in threading.enumerate() if one is not threading.current_thread()]
    return [one for one in others if not one.daemon]


def finish_process() -> None:
    """What an interpreter does at its end and `os._exit` does not: end thread pools, wait for
    threads, run what `atexit` was given."""
    if list_lasting_threads():
        threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()


def record_modules(path: str, known: int, request: dict[str, Any]) -> None:
    """What this task had to import, so that the next zygote has it already.

    Packages and their direct public submodules, in import order, but not those of the task's own
    folder; the standard library is cheap.
    Only the end of `sys.modules` is looked at: to touch all of its (thousands of) objects would
    copy as many pages that are shared with the zygote, which takes longer than the fork.
    """
    last = list(itertools.islice(reversed(sys.modules), max(0, len(sys.modules) - known)))
    own = (request["work_dir"] + "/", request["source"].rpartition("/")[0] + "/")
    standard: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())
    new = [
        name
        for name in reversed(last)
        if name.count(".") <= 1
        and not name.startswith("_")
        and "._" not in name
        and name.partition(".")[0] not in standard
        and getattr(sys.modules.get(name), "__spec__", None) is not None
        and not (getattr(sys.modules[name], "__file__", None) or "").startswith(own)
    ]
    if new:
        Path(path).write_text(json.dumps(new), "utf-8")


def _walk(traceback_: TracebackType | None) -> Iterator[TracebackType]:
    while traceback_ is not None:
        yield traceback_
        traceback_ = traceback_.tb_next


def report_error(error: BaseException, path: str, source: str) -> None:
    """The traceback, from the user's first line on, to the log; a short form to `error.json`."""
    frames = [(one.tb_frame.f_code.co_filename, one) for one in _walk(error.__traceback__)]
    ours = (one for file, one in frames if file != __file__)
    shown = next((one for file, one in frames if file == source), next(ours, None))
    text = "".join(traceback.format_exception(type(error), error, shown))
    print(text, file=sys.stderr, end="")
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    tail = {
        "type": module + kind.__qualname__,
        "message": str(error)[:_ERROR_TAIL],
        "traceback": text[-_ERROR_TAIL:],
    }
    try:
        Path(path).write_text(json.dumps(tail), "utf-8")
    except OSError as second:
        print(f"[seamline: {path} cannot be written: {second}]", file=sys.stderr)
