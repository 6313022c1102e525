"""A workspace, a real runner and a real engine; pipelines compiled by the real SDK."""

import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from kfp import compiler

from seamline.domain.clock import SystemClock
from seamline.domain.states import is_terminal
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.tasks import TaskRunner
from seamline.store.stores import Stores, open_stores
from seamline.train.context import ResolvedArtifact, RunContext
from seamline.train.engine.engine import Engine, task_environ
from seamline.train.options import DEFAULT_OPTIONS, RunOptions
from seamline.train.runs import request_run, run_state, show_run


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_stores(tmp_path / "workspace", SystemClock())
    yield opened
    opened.db.close()


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TaskRunner, EnvironmentCache]]:
    """One runner for the whole session: its zygote stays warm."""
    root = tmp_path_factory.mktemp("runtime")
    environments = EnvironmentCache(root / "environments", Path(sys.executable))
    with TaskRunner(SystemClock(), root / "run", environ=task_environ(os.environ)) as runner:
        yield runner, environments


@pytest.fixture
def compile_ir(tmp_path: Path) -> Callable[..., bytes]:
    def compile_it(pipeline: Any) -> bytes:
        path = tmp_path / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_bytes()

    return compile_it


class House:
    """An engine at work, and what tests ask of it."""

    def __init__(self, stores: Stores, engine: Engine) -> None:
        self.stores = stores
        self.engine = engine
        self._changed = threading.Condition()
        stores.db.on_commit(self._notify)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def request(self, ir: bytes, options: RunOptions = DEFAULT_OPTIONS, **arguments: Any) -> str:
        run_id = request_run(
            self.stores, ir, arguments=arguments, environment="dataops", by="ana", options=options
        )
        self.engine.wake()
        return run_id

    def wait_for(self, holds: Callable[[], bool], timeout_s: float = 300.0) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, timeout_s), "it did not come to that"

    def finish(self, run_id: str) -> dict[str, Any]:
        self.wait_for(lambda: is_terminal(run_state(self.stores, run_id)))
        return show_run(self.stores, run_id)

    def run(
        self, ir: bytes, options: RunOptions = DEFAULT_OPTIONS, **arguments: Any
    ) -> dict[str, Any]:
        return self.finish(self.request(ir, options, **arguments))


@pytest.fixture
def resolved() -> dict[str, ResolvedArtifact]:
    """What the fake resolver knows: URI → artifact."""
    return {}


@pytest.fixture
def house(
    stores: Stores,
    warm: tuple[TaskRunner, EnvironmentCache],
    resolved: dict[str, ResolvedArtifact],
) -> Iterator[House]:
    def resolve(uri: str, context: RunContext) -> ResolvedArtifact:
        assert context.environment == "dataops"
        return resolved[uri]

    engine = Engine(stores, *warm, resolve, slots=2)
    engine.start()
    yield House(stores, engine)
    engine.close()


def _sibling(name: str) -> ModuleType:
    """A module beside this one, which is no test."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sketching() -> ModuleType:
    """Random pipelines, and how they have to end (sketches.py)."""
    return _sibling("sketches")


@pytest.fixture(scope="session")
def puppetry() -> ModuleType:
    """The engine's turns without its processes (puppets.py)."""
    return _sibling("puppets")


@pytest.fixture(scope="module")
def shared_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """For property tests: many examples in one workspace, each with a run of its own."""
    opened = open_stores(tmp_path_factory.mktemp("shared"), SystemClock())
    yield opened
    opened.db.close()
