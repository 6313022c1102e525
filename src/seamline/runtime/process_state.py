"""What a task may change in its process: taken down before it, put back after it.

For workers that take one task after another, and for tasks in the caller's own process. Standard
library only. What libraries keep for themselves (settings, caches, generators) is not known here:
that is why sharing a process is asked for, and not the default.
"""

from __future__ import annotations

import contextlib
import gc
import linecache
import logging
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Mapping
from typing import Any

#: The names under which a task's source is loaded.
TASK_MODULES = ("ephemeral_component", "seamline_task")
#: Where asyncio keeps which event loop is whose; to set it otherwise warns in newer versions.
_POLICY = "_event_loop_policy"
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS = (resource.RLIMIT_DATA, resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)


class ProcessState:
    """Taken down when made; `restore` may be called again and again."""

    def __init__(self) -> None:
        self._cwd = os.getcwd()  # noqa: PTH109  (for each task, and a string is all that is needed)
        self._environ = dict(os.environ)
        self._umask = _read_umask()
        self._handlers = _read_handlers()
        self._timers = [one for one in _TIMERS if signal.getitimer(one)[0] == 0]
        self._masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._limits = {which: resource.getrlimit(which) for which in _LIMITS}
        self._cpus = _read_cpus()
        lists: tuple[list[Any], ...] = (sys.path, sys.meta_path, sys.path_hooks)
        self._lists = [(held, list(held)) for held in lists]
        self._argv = list(sys.argv)
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._hooks = (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook)
        self._tracing = (sys.gettrace(), sys.getprofile())
        self._recursion = sys.getrecursionlimit()
        self._collects = gc.isenabled()
        self._event_loops = getattr(sys.modules.get("asyncio.events"), _POLICY, None)
        self._filters = list(warnings.filters)
        self._show_warning = warnings.showwarning
        self._replaced = {name: sys.modules.get(name) for name in TASK_MODULES}
        self._modules = len(sys.modules)
        self._loggers = _read_loggers()
        self._root = _read_logger(logging.root)
        self._disabled = logging.root.manager.disable

    def restore(self, source: str, work_dir: str) -> bool:
        """What was loaded from these two goes too; False when something could not be put back."""
        self._restore_interpreter()
        self._drop_modules(source, work_dir)
        self._restore_logging()
        return self._restore_process()

    def _restore_process(self) -> bool:
        is_whole = True
        os.chdir(self._cwd)
        if dict(os.environ) != self._environ:
            for name in os.environ.keys() - self._environ.keys():
                del os.environ[name]
            os.environ.update(self._environ)
        os.umask(self._umask)
        for timer in self._timers:
            signal.setitimer(timer, 0)
        for number, handler in _read_handlers().items():
            before = self._handlers[number]
            if handler != before:
                # None stands for one that native code has set, and that nobody can name.
                is_whole = is_whole and before is not None
                signal.signal(number, before if before is not None else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masked)
        for which, limit in self._limits.items():
            if resource.getrlimit(which) != limit:
                try:
                    resource.setrlimit(which, limit)
                except (OSError, ValueError):
                    is_whole = False
        if _read_cpus() != self._cpus:
            os.sched_setaffinity(0, self._cpus)
        return is_whole

    def _restore_interpreter(self) -> None:
        for held, items in self._lists:
            if held != items:
                held[:] = items
        sys.argv = list(self._argv)
        sys.stdin, sys.stdout, sys.stderr = self._streams
        sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook = self._hooks
        sys.settrace(self._tracing[0])
        sys.setprofile(self._tracing[1])
        sys.setrecursionlimit(self._recursion)
        if self._collects:
            gc.enable()
        if warnings.filters != self._filters:
            warnings.simplefilter("default")  # Tells those who remember that filters have changed.
            warnings.filters[:] = self._filters  # type: ignore[index]
        tempfile, events = sys.modules.get("tempfile"), sys.modules.get("asyncio.events")
        if tempfile is not None:
            tempfile.__dict__["tempdir"] = None  # It goes with the task's folder.
        if events is not None and getattr(events, _POLICY, None) is not self._event_loops:
            setattr(events, _POLICY, self._event_loops)

    def _drop_modules(self, source: str, work_dir: str) -> None:
        folders = {work_dir, source.rpartition(os.sep)[0]} - {""}
        if len(sys.modules) != self._modules:
            inside = tuple(folder + os.sep for folder in folders)
            for name in list(sys.modules)[self._modules :]:
                path = getattr(sys.modules[name], "__file__", None) or ""
                if path.startswith(inside):
                    del sys.modules[name]
        for name, module in self._replaced.items():
            if module is not None:
                sys.modules[name] = module
            elif name in sys.modules:
                del sys.modules[name]
        self._modules = len(sys.modules)
        for folder in folders:
            sys.path_importer_cache.pop(folder, None)
        linecache.cache.pop(source, None)

    def _restore_logging(self) -> None:
        if warnings.showwarning is not self._show_warning:
            logging.captureWarnings(False)
            warnings.showwarning = self._show_warning
        logging.root.manager.disable = self._disabled
        _restore_logger(logging.root, self._root)
        for name, logger in logging.root.manager.loggerDict.items():
            if not isinstance(logger, logging.Logger):
                continue
            before = self._loggers.get(name)
            if before is None and name.partition(".")[0] in sys.modules:
                # A library that this task was the first to import has set up its own.
                before = self._loggers[name] = _read_logger(logger)
            _restore_logger(logger, before or _UNTOUCHED)


_Logging = tuple[int, bool, bool, tuple[logging.Handler, ...], tuple[Any, ...]]
_UNTOUCHED: _Logging = (logging.NOTSET, True, False, (), ())


def _read_logger(logger: logging.Logger) -> _Logging:
    return (
        logger.level,
        logger.propagate,
        logger.disabled,
        tuple(logger.handlers),
        tuple(logger.filters),
    )


def _read_loggers() -> dict[str, _Logging]:
    known = logging.root.manager.loggerDict.items()
    return {name: _read_logger(one) for name, one in known if isinstance(one, logging.Logger)}


def _restore_logger(logger: logging.Logger, before: _Logging) -> None:
    if _read_logger(logger) == before:
        return
    level, logger.propagate, logger.disabled, handlers, filters = before
    for added in [one for one in logger.handlers if one not in handlers]:
        with contextlib.suppress(Exception):
            added.close()
    logger.handlers[:] = handlers
    logger.filters[:] = filters
    logger.setLevel(level)


def _read_umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _read_handlers() -> Mapping[signal.Signals, Any]:
    return {number: signal.getsignal(number) for number in _CATCHABLE}


#: Those that Python sees to; the real-time signals are nobody's here.
_CATCHABLE = tuple(n for n in signal.Signals if n not in (signal.SIGKILL, signal.SIGSTOP))


def _read_cpus() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
