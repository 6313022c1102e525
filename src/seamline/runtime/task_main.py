"""What happens in a task's process, after the fork: limits, streams, the user's function, records.

Standard library only: the zygote (zygote_main.py) of any environment loads this file by its path.
Nothing reaches a task but by file; nothing leaves it but files, its output and its exit code.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import io
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
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_ERROR_TAIL = 4000
_RECORDS = ("error.json", "modules.json")


def control_process(option: int, value: int) -> None:
    """prctl(2) where there is one."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def run_task(request: dict[str, Any], output_fd: int) -> int:
    """In the child: limits, folders, streams; then the user's function. Returns the exit code."""
    error_path, modules_path = (Path(request["work_dir"], n) for n in _RECORDS)
    known = len(sys.modules)
    code = 0
    try:
        enter_task(request, output_fd)
        _RUN[request["kind"]](request)
    except SystemExit as error:
        code = read_exit_code(error)
    except BaseException as error:
        code = 1
        report_error(error, error_path)
    try:
        finish_task()
        record_modules(modules_path, known)
    except BaseException as error:
        code = code or 1
        report_error(error, error_path)
    return code


def enter_task(request: dict[str, Any], output_fd: int) -> None:
    os.setsid()
    control_process(_PR_SET_PDEATHSIG, signal.SIGKILL)
    control_process(_PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != request["zygote_pid"]:
        os._exit(1)  # The zygote died before the kernel knew that we go with it.
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream_fd in (1, 2):
        os.dup2(output_fd, stream_fd)
    os.close(output_fd)
    # New ones: the old were made for a file, which can seek, and a pipe cannot.
    sys.stdout, sys.stderr = open_stream(1), open_stream(2)
    for name in _RECORDS:
        Path(request["work_dir"], name).unlink(missing_ok=True)
    sys.argv = [request["source"]]
    set_limits(request)
    os.environ.update(request["env"])
    os.chdir(request["work_dir"])
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        # Else every task would draw the same numbers. (`random` sees to it by itself.)
        numpy_random.seed()


def open_stream(fd: int) -> io.TextIOWrapper:
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), "utf-8", errors="backslashreplace", line_buffering=True
    )


def set_limits(request: dict[str, Any]) -> None:
    """Memory is what is private and writable (RLIMIT_DATA): the address space would also count
    mapped libraries and what allocators merely reserve."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    memory, cpu = request.get("memory_bytes"), request.get("cpu_s")
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if cpu is not None:
        seconds = max(1, -int(-cpu // 1))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def read_source(request: dict[str, Any]) -> bytes:
    """The source; when a digest was given, the very bytes that have it."""
    source = Path(request["source"]).read_bytes()
    expected = request.get("source_digest")
    if expected is not None:
        actual = "sha256:" + hashlib.sha256(source).hexdigest()
        if actual != expected:
            raise ValueError(f"{request['source']}: expected {expected}, found {actual}.")
    return source


def load_module(name: str, request: dict[str, Any]) -> ModuleType:
    """Runs the source as a module of that name, with lines for tracebacks and `inspect`."""
    path, source = request["source"], read_source(request)
    text = source.decode("utf-8")
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    # Not inherited: this file's `from __future__ import annotations` would hide types from kfp.
    code = compile(source, path, "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102  (a task is user code)
    return module


def run_kfp(request: dict[str, Any]) -> None:
    """A lightweight KFP component, as `kfp.dsl.executor_main` would run it."""
    from kfp.dsl.executor import Executor  # The environment's own, not ours.

    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="[KFP Executor %(asctime)s %(levelname)s]: %(message)s",
    )
    source = Path(request["source"])
    if source.name == "ephemeral_component.py":
        # Worker processes of joblib and multiprocessing import the component by its name.
        sys.path.insert(0, str(source.parent))
    module = load_module("ephemeral_component", request)
    executor_input = json.loads(Path(request["input_path"]).read_bytes())
    function = getattr(module, request["function"])
    executor = Executor(executor_input=executor_input, function_to_execute=function)
    for name, given in executor_input["inputs"].get("artifacts", {}).items():
        path = given["artifacts"][0].get("custom_path") if given["artifacts"] else None
        if path is not None:
            executor.input_artifacts[name].custom_path = path
    executor.execute()


def run_script(request: dict[str, Any]) -> None:
    """`main(payload) -> dict`, from a JSON file to a JSON file that appears whole or not at all."""
    module = load_module("seamline_task", request)
    payload = json.loads(Path(request["input_path"]).read_bytes())
    result = getattr(module, request["function"])(payload)
    output = Path(request["output_path"])
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    partial.write_text(json.dumps(result), "utf-8")
    partial.replace(output)


_RUN: dict[str, Callable[[dict[str, Any]], None]] = {"kfp": run_kfp, "script": run_script}


def read_exit_code(error: SystemExit) -> int:
    """What the interpreter makes of `sys.exit(…)`."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def finish_task() -> None:
    """What an interpreter does at its end and `os._exit` does not: wait for threads, run atexit."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()


def record_modules(path: Path, known: int) -> None:
    """What this task had to import, so that the next zygote has it already.

    Packages and their direct public submodules, in import order; the standard library is cheap.
    Only the end of `sys.modules` is looked at: to touch all of its (thousands of) objects would
    copy as many pages that are shared with the zygote, which takes longer than the fork.
    """
    last = list(itertools.islice(reversed(sys.modules), max(0, len(sys.modules) - known)))
    standard: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())
    new = [
        name
        for name in reversed(last)
        if name.count(".") <= 1
        and not name.startswith("_")
        and "._" not in name
        and name.partition(".")[0] not in standard
        and getattr(sys.modules.get(name), "__spec__", None) is not None
    ]
    if new:
        path.write_text(json.dumps(new), "utf-8")


def report_error(error: BaseException, path: Path) -> None:
    """The traceback, from the user's first line on, to the log; a short form to `error.json`."""
    shown = error.__traceback__
    while shown is not None and shown.tb_frame.f_code.co_filename == __file__:
        shown = shown.tb_next
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
        path.write_text(json.dumps(tail), "utf-8")
    except OSError as second:
        print(f"[seamline: {path} cannot be written: {second}]", file=sys.stderr)
