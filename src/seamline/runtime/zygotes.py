"""Which zygotes there are: one for each (environment, kind of task), and its successors; one more
for tasks that import no libraries.

A task that had to import something tells. A successor of its zygote that has it imported is then
warmed in the background, and takes over for the tasks that follow. A zygote with nothing to do
for a while ends. All this happens on the event loop's thread, but for `preload`.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from seamline.domain.clock import Clock
from seamline.domain.digests import short
from seamline.runtime.flights import Flight
from seamline.runtime.specs import (
    OWN_MODULES,
    TaskIsolation,
    TaskKind,
    TaskSpec,
    full_key,
    zygote_key,
)
from seamline.runtime.zygote import Zygote

_log = logging.getLogger(__name__)
_MOST_GENERATIONS = 8


class WarmZygote:
    """A zygote and the tasks that are with it."""

    def __init__(self, key: str, kind: TaskKind, python: Path, since: datetime) -> None:
        self.key = key
        self.kind = kind
        self.python = python
        self.zygote: Zygote
        self.tried: tuple[str, ...] = ()
        self.ready = False
        self.retired = False
        self.flights: dict[str, Flight] = {}
        self.idle_since = since

    @property
    def has_extra(self) -> bool:
        """Whether it imports more than no task of its kind can do without."""
        return len(self.tried) > len(OWN_MODULES.get(self.kind, ()))


class Listener(Protocol):
    """Who has tasks with the zygotes."""

    def on_ready(self, warm: WarmZygote) -> None: ...

    def on_report(self, warm: WarmZygote, report: Mapping[str, Any]) -> None: ...

    def on_gone(self, warm: WarmZygote, code: int) -> None:
        """Its flights are still with it."""


class Zygotes:
    def __init__(
        self,
        loop: AbstractEventLoop,
        clock: Clock,
        run_dir: Path,
        environ: Mapping[str, str],
        preload: Mapping[str, Sequence[str]],
        workers: Mapping[str, Any],
        listener: Listener,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._run_dir = run_dir
        self._environ = dict(environ)
        self._workers = dict(workers)
        self._listener = listener
        self._lock = Lock()
        self._preload = {key: tuple(names) for key, names in preload.items()}
        self._current: dict[str, WarmZygote] = {}
        self._successors: dict[str, WarmZygote] = {}
        self.living: set[WarmZygote] = set()
        self._left_out: dict[str, tuple[str, ...]] = {}
        self._generations: dict[str, int] = {}
        #: Digests of sources that do import libraries, though they do not say so.
        self._not_light: set[str | None] = set()
        self._serial = 0
        self._closing = False

    @property
    def preload(self) -> dict[str, tuple[str, ...]]:
        """For every thread."""
        with self._lock:
            return dict(self._preload)

    def obtain(self, spec: TaskSpec) -> WarmZygote:
        """The one for this task, which may still be starting.

        Raises OSError when the environment's interpreter does not start.
        """
        key = zygote_key(spec.environment, spec.kind, is_light=self._is_light(spec))
        warm = self._current.get(key)
        if warm is None:
            warm = WarmZygote(key, spec.kind, spec.environment.python, self._clock.now())
            self._launch(warm, self._first_preload(key))
            self._current[key] = warm
        return warm

    def _is_light(self, spec: TaskSpec) -> bool:
        # Workers serve all tasks of a run, whatever these import.
        is_forked = spec.isolation is TaskIsolation.FORKED
        return spec.is_light and is_forked and spec.source_digest not in self._not_light

    def send(self, warm: WarmZygote, message: Mapping[str, Any]) -> None:
        warm.zygote.send(message)
        if warm.zygote.has_unsent:
            self._loop.add_writer(warm.zygote.socket, self._on_writable, warm)

    def released(self, warm: WarmZygote) -> None:
        """A task of its is over."""
        warm.idle_since = self._clock.now()
        if warm.retired and not warm.flights and warm in self.living:
            warm.zygote.end()

    def learn(self, key: str, spec: TaskSpec, imported: Iterable[str]) -> None:
        """What a task had to import, the zygotes of its kind have from now on, but for light ones:
        those have its like no more."""
        if not imported or self._closing:
            return
        if full_key(key) != key:
            self._not_light.add(spec.source_digest)
            key = full_key(key)
        with self._lock:
            known = self._preload.get(key, ())
            self._preload[key] = tuple(dict.fromkeys((*known, *imported)))
        self._warm_successor(key)

    def forget_preload(self, key: str) -> None:
        """A module crashed the interpreter at import: go on without any."""
        with self._lock:
            self._preload.pop(key, None)
        self._generations[key] = _MOST_GENERATIONS

    def end_idle(self, idle_s: float) -> None:
        now = self._clock.now()
        for warm in list(self._current.values()):
            if not warm.flights and (now - warm.idle_since).total_seconds() >= idle_s:
                self._retire(warm)

    def begin_close(self) -> None:
        """Each ends with all its tasks; `on_gone` tells when."""
        self._closing = True
        for warm in self.living:
            warm.retired = True
            if warm.ready:
                warm.zygote.end()
            else:
                warm.zygote.kill()  # Still importing: it has no tasks and hears nothing.

    def force_close(self) -> None:
        for warm in list(self.living):
            self._on_gone(warm)

    # -- one zygote ------------------------------------------------------------------------

    def _launch(self, warm: WarmZygote, preload: Iterable[str]) -> None:
        self._serial += 1
        label = "host" if warm.key.endswith(":host") else short(warm.key.partition(":")[2])
        name = f"zygote-{warm.kind}-{label}-{self._serial}.log"
        warm.tried = tuple(dict.fromkeys((*OWN_MODULES.get(warm.kind, ()), *preload)))
        warm.zygote = Zygote(
            warm.python,
            {
                "kind": warm.kind,
                "preload": warm.tried,
                "left_out": self._left_out.get(warm.key, ()),
                **self._workers,
            },
            self._run_dir / name,
            self._environ,
        )
        self.living.add(warm)
        self._loop.add_reader(warm.zygote.socket, self._on_readable, warm)

    def _on_writable(self, warm: WarmZygote) -> None:
        warm.zygote.flush()
        if not warm.zygote.has_unsent:
            self._loop.remove_writer(warm.zygote.socket)

    def _on_readable(self, warm: WarmZygote) -> None:
        reports = warm.zygote.receive()
        if reports is None:
            self._on_gone(warm)
            return
        for report in reports:
            if report["event"] == "ready":
                self._on_ready(warm, report)
            else:
                self._listener.on_report(warm, report)

    def _on_ready(self, warm: WarmZygote, report: Mapping[str, Any]) -> None:
        self._left_out[warm.key] = tuple(report["left_out"])
        warm.ready = True
        if self._successors.get(warm.key) is warm:
            del self._successors[warm.key]
            before = self._current.get(warm.key)
            self._current[warm.key] = warm
            warm.idle_since = self._clock.now()
            if before is not None:
                self._retire(before)
            self._warm_successor(warm.key)  # for what was learned while it warmed up
        self._listener.on_ready(warm)

    def _retire(self, warm: WarmZygote) -> None:
        """No new tasks; it ends when those that it has are done."""
        warm.retired = True
        if self._current.get(warm.key) is warm:
            del self._current[warm.key]
        if not warm.flights:
            warm.zygote.end()

    def _on_gone(self, warm: WarmZygote) -> None:
        self._loop.remove_reader(warm.zygote.socket)
        self._loop.remove_writer(warm.zygote.socket)
        code = warm.zygote.close()
        self.living.discard(warm)
        for known in (self._current, self._successors):
            if known.get(warm.key) is warm:
                del known[warm.key]
        self._listener.on_gone(warm, code)

    # -- what is preloaded -----------------------------------------------------------------

    def _warm_successor(self, key: str) -> None:
        """Starts one when the present zygote lacks something that tasks import."""
        current = self._current.get(key)
        generation = self._generations.get(key, 0)
        if current is None or key in self._successors or generation >= _MOST_GENERATIONS:
            return
        preload = self._preload.get(key, ())
        # What was left out (it starts a thread at import) is imported by each task, as before.
        left_out = {name.partition(".")[0] for name in self._left_out.get(key, ())}
        lacking = [name for name in preload if name.partition(".")[0] not in left_out]
        if self._closing or set(lacking) <= set(current.tried):
            return
        self._generations[key] = generation + 1
        successor = WarmZygote(key, current.kind, current.python, self._clock.now())
        try:
            self._launch(successor, preload)
        except OSError:
            _log.exception("No successor for zygote %s", key)
            return
        self._successors[key] = successor

    def _first_preload(self, key: str) -> tuple[str, ...]:
        """What its tasks import, or else what tasks of the other kind do: the libraries are one."""
        if key.partition(":")[0] == TaskKind.COMMAND:
            return ()  # It becomes another program, which has nothing of what was imported.
        if full_key(key) != key:
            return ()
        if self._generations.get(key, 0) >= _MOST_GENERATIONS:
            return self._preload.get(key, ())  # none, after one that crashed
        other = {str(kind) for kind in TaskKind} - {key.partition(":")[0]}
        of_other = [self._preload.get(f"{kind}:{key.partition(':')[2]}", ()) for kind in other]
        return self._preload.get(key) or next((names for names in of_other if names), ())
