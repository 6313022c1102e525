"""Pipelines written with the real KFP SDK, compiled by it, and run by the real engine.

Each test bears `@pytest.mark.feature(area, feature)`: docs/generate.py makes the table of supported
features from these marks, and a test without one is an error.
"""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler

from seamline.domain.clock import SystemClock
from seamline.domain.errors import Refused
from seamline.domain.states import TaskState, is_terminal
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.tasks import TaskRunner
from seamline.store.stores import Stores, open_stores
from seamline.train.artifacts import Artifact
from seamline.train.attempts.machine import Machine
from seamline.train.context import ResolvedArtifact, RunContext
from seamline.train.engine.engine import Engine, task_environ
from seamline.train.options import RunOptions
from seamline.train.runs import read_log, request_run, run_output, run_state, show_run

HERE = Path(__file__).parent
#: The chapters of docs/reference/kfp-features.md, in its order.
AREAS = (
    "Parameters",
    "Artifacts",
    "Data flow",
    "Nested pipelines",
    "Conditions",
    "Loops",
    "Collected results",
    "Exit handlers and failures",
    "Retries",
    "Caching",
    "Importers",
    "Containers",
    "Placeholders",
    "Environment and resources",
    "Kubernetes settings",
    "Refused",
)
STATUSES = ("supported", "noted", "refused", "needs podman or docker")
LEAVES = ("python", "importer", "container")
#: What commands of containers find on this machine; no container engine is among it.
PROGRAMS = ("sh", "cat", "dirname", "env", "mkdir", "sleep", "true", "wc")
TIMEOUT_S = 300.0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "feature(area, name, status='supported'): what the KFP feature table says of it"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent != HERE or not isinstance(item, pytest.Function):
            continue
        marks = list(item.iter_markers("feature"))
        for mark in marks:
            area, _ = mark.args
            if area not in AREAS or mark.kwargs.get("status", "supported") not in STATUSES:
                raise pytest.UsageError(f"{item.nodeid}: {mark.args} {mark.kwargs} is no feature")
        if not marks:
            raise pytest.UsageError(f"{item.nodeid} names no feature")


@dataclass(frozen=True)
class Ran:
    """A run that has ended, and what tests ask of it."""

    stores: Stores
    shown: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.shown["id"])

    @property
    def state(self) -> str:
        return str(self.shown["state"])

    @property
    def notes(self) -> str:
        return "\n".join(self.shown["notes"])

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        return {task["name"]: task for task in self.shown["tasks"]}

    @property
    def outputs(self) -> dict[str, Any]:
        """The pipeline's output parameters."""
        return dict(self.shown["outputs"]["parameters"])

    @property
    def result(self) -> Any:
        """The pipeline's one output parameter."""
        try:
            return run_output(self.stores, self.id, "Output")
        except Refused as refused:
            raise AssertionError(f"{refused.message} {self.shown['sentence']}") from None

    def states(self) -> dict[str, str]:
        """Of the leaves: what runs, not what holds it."""
        return {name: task["state"] for name, task in self.tasks.items() if task["kind"] in LEAVES}

    def _in(self, *states: TaskState) -> set[str]:
        return {name for name, state in self.states().items() if state in states}

    @property
    def executed(self) -> set[str]:
        """Leaves that have really been started, however they ended."""
        return {name for name in self.states() if self.tasks[name]["attempt"] > 0}

    @property
    def skipped(self) -> set[str]:
        return self._in(TaskState.SKIPPED)

    @property
    def not_triggered(self) -> set[str]:
        return self._in(TaskState.NOT_TRIGGERED)

    @property
    def failed(self) -> set[str]:
        return self._in(TaskState.FAILED)

    @property
    def upstream_failed(self) -> set[str]:
        return self._in(TaskState.UPSTREAM_FAILED)

    def output(self, task: str, name: str = "Output") -> Any:
        """An output parameter of a task."""
        return self.tasks[task]["outputs"]["parameters"][name]

    def artifact(self, task: str, name: str = "Output") -> dict[str, Any]:
        return dict(self.tasks[task]["outputs"]["artifacts"][name])

    def content(self, task: str, name: str = "Output") -> str:
        """The bytes of an output artifact that is a file."""
        return self.stores.blobs.get(self.artifact(task, name)["digest"]).decode()

    def result_artifact(self, name: str = "Output") -> Artifact:
        found = run_output(self.stores, self.id, name)
        assert isinstance(found, Artifact)
        return found

    def result_content(self, name: str = "Output") -> str:
        return self.stores.blobs.get(self.result_artifact(name).digest).decode()

    def error(self, task: str) -> dict[str, Any]:
        return dict(self.tasks[task]["error"])

    def log(self, task: str) -> str:
        return str(read_log(self.stores, self.id, task)["text"])


def check_states(ran: Ran) -> None:
    """What holds for every run there is: asked of each in this suite."""
    assert len(ran.tasks) == len(ran.shown["tasks"]), "a task is listed twice"
    for name, task in ran.tasks.items():
        state = TaskState(task["state"])
        assert is_terminal(state), f"{name} is {state}, and the run has ended"
        if task["kind"] not in LEAVES:
            continue
        if state in (TaskState.SKIPPED, TaskState.UPSTREAM_FAILED, TaskState.NOT_TRIGGERED):
            assert task["attempt"] == 0 and task["pid"] is None, f"{name} is {state}, and it ran"
        elif state is TaskState.SUCCEEDED and task["kind"] != "importer":
            assert task["pid"] is not None, f"{name} has succeeded without a process"
    if ran.state == "succeeded":
        assert not ran.failed | ran.upstream_failed


class Bench:
    """An engine at work. `bench.run(pipeline, {"n": 1})` compiles, runs, and waits for the end."""

    def __init__(self, stores: Stores, engine: Engine, folder: Path) -> None:
        self.stores = stores
        self.engine = engine
        self._folder = folder
        #: By identity, with the pipeline, so that this identity is not given to another one.
        self._compiled: dict[int, tuple[Any, bytes]] = {}
        #: A run did not end: what else this engine does is no test of anything.
        self.is_stuck = False
        self._changed = threading.Condition()
        stores.db.on_commit(self._notify)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def compile(self, pipeline: Any) -> bytes:
        known = self._compiled.get(id(pipeline))
        if known is None:
            path = self._folder / "pipeline.yaml"
            compiler.Compiler().compile(pipeline, str(path))
            known = self._compiled[id(pipeline)] = (pipeline, path.read_bytes())
        return known[1]

    def run(
        self,
        pipeline: Any,
        arguments: Mapping[str, Any] | None = None,
        *,
        cache: bool | None = False,
        **options: Any,
    ) -> Ran:
        """`pipeline`: what the SDK decorated, or IR. The cache is off unless a test is about it."""
        return self.finish(self.request(pipeline, arguments, cache=cache, **options))

    def request(
        self,
        pipeline: Any,
        arguments: Mapping[str, Any] | None = None,
        *,
        cache: bool | None = False,
        **options: Any,
    ) -> str:
        run_id = request_run(
            self.stores,
            pipeline if isinstance(pipeline, bytes) else self.compile(pipeline),
            arguments=arguments or {},
            environment="dataops",
            by="me",
            options=RunOptions(enable_cache=cache, **options),
            machine=self.engine.machine,
        )
        self.engine.wake()
        return run_id

    def wait_for(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            self.is_stuck = not self._changed.wait_for(holds, TIMEOUT_S)
        assert not self.is_stuck, "it did not come to that"

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """For what no commit tells of: looks again and again."""
        deadline = time.monotonic() + TIMEOUT_S
        while not holds():
            assert time.monotonic() < deadline, "it did not come to that"
            time.sleep(0.01)

    def finish(self, run_id: str) -> Ran:
        self.wait_for(lambda: is_terminal(run_state(self.stores, run_id)))
        ran = Ran(self.stores, show_run(self.stores, run_id))
        check_states(ran)
        return ran


def exactly(value: Any) -> str:
    """For comparing values with their types: 1, 1.0 and True are equal in Python."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


@pytest.fixture(name="exactly", scope="session")
def exactly_() -> Callable[[Any], str]:
    return exactly


@pytest.fixture(scope="session")
def resolved() -> dict[str, ResolvedArtifact]:
    """What the resolver of `datasets://` and `models://` knows: URI → artifact."""
    return {}


def make_programs(folder: Path) -> Path:
    folder.mkdir()
    for name in PROGRAMS:
        found = shutil.which(name)
        assert found is not None, f"{name} is not installed"
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture(scope="session")
def make_bench(
    tmp_path_factory: pytest.TempPathFactory, resolved: dict[str, ResolvedArtifact]
) -> Iterator[Callable[..., Bench]]:
    """A workspace with an engine of so many slots; the zygote is shared and stays warm.

    Commands of containers run as host processes, unless a machine with a container engine is given.
    """
    root = tmp_path_factory.mktemp("kfp")
    environments = EnvironmentCache(root / "environments", Path(sys.executable))
    opened: list[Bench] = []

    def resolve(uri: str, context: RunContext) -> ResolvedArtifact:
        return resolved[uri]

    environ = {**task_environ(os.environ), "PATH": str(make_programs(root / "bin"))}
    with TaskRunner(SystemClock(), root / "run", environ=task_environ(os.environ)) as runner:

        def make(slots: int, machine: Machine | None = None) -> Bench:
            folder = root / f"workspace-{len(opened)}"
            stores = open_stores(folder, SystemClock())
            machine = machine or Machine(environ, host_containers=True)
            engine = Engine(stores, runner, environments, resolve, slots, machine=machine)
            engine.start()
            opened.append(Bench(stores, engine, folder))
            return opened[-1]

        yield make
        for bench in opened:
            bench.engine.close()
            bench.stores.db.close()


@pytest.fixture(scope="session")
def benches() -> list[Bench]:
    return []


@pytest.fixture
def bench(make_bench: Callable[..., Bench], benches: list[Bench]) -> Bench:
    """One engine for all tests; another one only after a run that did not end."""
    if not benches or benches[-1].is_stuck:
        benches.append(make_bench(4))
    return benches[-1]
