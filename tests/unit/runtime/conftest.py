"""A runner with real processes, and specs of small tasks."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.clock import SystemClock
from seamline.runtime.environments import EnvironmentCache, PythonEnvironment
from seamline.runtime.outcomes import TaskOutcome
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.tasks import TaskKind, TaskRunner, TaskSpec

MakeScript = Callable[..., TaskSpec]
#: begin(limit) → what runs that long at most, and the file that it makes first.
Begin = Callable[[float], tuple[Future[TaskOutcome], Path]]


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> PythonEnvironment:
    cache = EnvironmentCache(tmp_path_factory.mktemp("environments"), Path(sys.executable))
    return cache.ensure(RequirementSet.of())


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[TaskRunner]:
    with TaskRunner(SystemClock(), tmp_path / "run") as running:
        yield running


@pytest.fixture
def in_time(wait_until: Callable[..., None]) -> Callable[[Begin], tuple[Future[TaskOutcome], Path]]:
    """in_time(begin): what has begun before its time was over. A slow machine is given more."""

    def run(begin: Begin) -> tuple[Future[TaskOutcome], Path]:
        for limit_s in (2.0, 10.0, 50.0):
            future, told = begin(limit_s)
            wait_until(lambda future=future, told=told: told.exists() or future.done())
            if told.exists():
                break
        return future, told

    return run


@pytest.fixture
def script(tmp_path: Path, host: PythonEnvironment) -> MakeScript:
    """script("t1", source, payload, **spec fields) → TaskSpec with its own folder."""

    def make(task_id: str, source: str, payload: Any = None, **fields: Any) -> TaskSpec:
        folder = tmp_path / task_id
        folder.mkdir()
        (folder / "script.py").write_text(textwrap.dedent(source), "utf-8")
        (folder / "input.json").write_text(json.dumps(payload or {}), "utf-8")
        standard = {
            "task_id": task_id,
            "kind": TaskKind.SCRIPT,
            "source": folder / "script.py",
            "input_path": folder / "input.json",
            "output_path": folder / "output.json",
            "work_dir": folder / "work",
            "log_path": folder / "log.txt",
            "environment": host,
        }
        return TaskSpec(**{**standard, **fields})

    return make
