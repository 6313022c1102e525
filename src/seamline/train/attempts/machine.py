"""What this machine can run, and what a pipeline asks of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from seamline.domain.errors import Refused, Unavailable
from seamline.domain.states import Fidelity, weaker
from seamline.runtime.container_engine import ContainerEngine, find_engine
from seamline.runtime.mounts import LINK, probe_ability
from seamline.train.ir.quantities import parse_bytes, parse_cores
from seamline.train.ir.types import ContainerExecutor
from seamline.train.options import Isolation, RunOptions
from seamline.train.plan.types import NodeKind, PlannedTask

#: A program without its service can take seconds to say so, and 500 tasks may ask.
_ASK_AGAIN_S = 5.0


@dataclass
class Machine:
    """Asks for a container engine once, when something first needs one."""

    environ: Mapping[str, str]
    #: Container components may run outside their images, where there is no container engine.
    host_containers: bool = False
    #: Python components may run inside of this very process: for a person who debugs.
    in_process: bool = False
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    memory_bytes: int = field(
        default_factory=lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _engine: ContainerEngine | None = None
    #: What was said when there was none, and when to ask again.
    _without: Unavailable | None = None
    _ask_at: float = 0.0
    _mount_ability: str = ""

    def container_engine(self) -> ContainerEngine:
        """Raises Unavailable, with what podman and docker said; asked again after a while."""
        with self._lock:
            if self._engine is not None:
                return self._engine
            if self._without is None or time.monotonic() >= self._ask_at:
                try:
                    self._engine = find_engine(self.environ)
                    return self._engine
                except Unavailable as error:
                    self._without = error
                    self._ask_at = time.monotonic() + _ASK_AGAIN_S
            raise Unavailable(self._without.message, next_step=self._without.next_step)

    def mount_ability(self, fidelity: Fidelity | None) -> str:
        """How a task without a container can have volumes here (see runtime/mounts.py)."""
        if fidelity is Fidelity.IN_PROCESS:
            return LINK  # A namespace would stay with us.
        with self._lock:
            if not self._mount_ability:
                self._mount_ability = probe_ability()
            return self._mount_ability

    def fidelity_of(self, path: str, task: PlannedTask, options: RunOptions) -> Fidelity | None:
        """How a task will run here; None for an importer, which runs nothing.

        Raises Refused where it cannot run, or only in a weaker way than the run demands.
        """
        if options.isolation is Isolation.IN_PROCESS and not self.in_process:
            raise Refused(
                "A server runs no task inside of its own process.",
                next_step="Debug the pipeline with seamline run debug FILE, or choose isolation "
                "forked.",
            )
        if task.kind is NodeKind.IMPORTER:
            return None
        if task.kind is NodeKind.PYTHON and options.isolation is not Isolation.CONTAINER:
            chosen = options.isolation.fidelity
            if chosen is Fidelity.REUSED and _has_mounts(task):
                chosen = Fidelity.FORKED  # From a mount namespace there is no way back.
        else:
            chosen = self._container_fidelity(path, task)
        demanded = options.demand_fidelity
        if demanded is not None and weaker(chosen, demanded) is not demanded:
            raise Refused(
                f"Task {path!r} would run as {chosen}; this run demands {demanded}.",
                next_step="Demand less, or run it where containers are.",
            )
        return chosen

    def _container_fidelity(self, path: str, task: PlannedTask) -> Fidelity:
        try:
            self.container_engine()
        except Unavailable as error:
            if self.host_containers and task.kind is NodeKind.CONTAINER:
                return Fidelity.HOST_PROCESS
            raise Refused(
                f"Task {path!r} needs a container: {error.message}",
                next_step="Install podman, start docker, or start the server with "
                "SEAMLINE_HOST_CONTAINERS=1 to run such commands as processes of this machine, "
                "outside their images.",
            ) from error
        return Fidelity.CONTAINER

    def lacks(self, path: str, executor: ContainerExecutor) -> Iterator[str]:
        """What the task asks for and this machine does not have, as sentences."""
        asked = executor.resources
        if asked.accelerator_type:
            what = f"{asked.accelerator_count or '1'} × {asked.accelerator_type}"
            what = "an accelerator" if "{{$" in what else what
            yield f"{path} asks for {what}, which this machine lacks."
        for text in _known(asked.memory_request, asked.memory_limit):
            if parse_bytes(text, f"The memory that {path} asks for") > self.memory_bytes:
                has = f"{self.memory_bytes / (1 << 30):.1f} GiB"
                yield f"{path} asks for {text} of memory; this machine has {has}."
        for text in _known(asked.cpu_request, asked.cpu_limit):
            if parse_cores(text, f"The CPU that {path} asks for") > self.cores:
                yield f"{path} asks for {text} cores; this machine has {self.cores}."


def _has_mounts(task: PlannedTask) -> bool:
    return isinstance(task.executor, ContainerExecutor) and bool(task.executor.mounts)


def _known(*texts: str) -> tuple[str, ...]:
    """Without those that hold placeholders, which are known at the start only."""
    return tuple(dict.fromkeys(text for text in texts if text and "{{$" not in text))
