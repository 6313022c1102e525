"""A whole control plane on a loopback port, and the unmodified `kfp.Client` pointed at it."""

# No postponed annotations here: the KFP SDK reads those of its components.
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kfp
import pytest
import uvicorn
from fastapi import FastAPI
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Output

from seamline.app.platform import Platform
from seamline.domain.settings import Settings
from seamline.domain.states import is_terminal
from seamline.server import running
from seamline.train.runs import run_state

PATIENCE_S = 300.0


@dsl.component(base_image="python:3.11")
def add(a: int, b: int = 1) -> int:
    return a + b


@dsl.component(base_image="python:3.11")
def write(rows: int, table: Output[Dataset]):
    from pathlib import Path

    Path(table.path).write_text("row\n" * rows)


@dsl.component(base_image="python:3.11")
def count(table: Input[Dataset]) -> int:
    from pathlib import Path

    return len(Path(table.path).read_text().splitlines())


@dsl.component(base_image="python:3.11")
def fail_until(flag: str) -> str:
    from pathlib import Path

    if not Path(flag).exists():
        raise LookupError("the flag is not there")
    return "there"


@dsl.component(base_image="python:3.11")
def hold_until(flag: str):
    import time
    from pathlib import Path

    deadline = time.monotonic() + 60
    while not Path(flag).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


@dsl.pipeline(name="sums")
def sums(n: int = 1):
    add(a=add(a=n).output, b=2)


@dsl.pipeline(name="tables")
def tables(rows: int = 3):
    made = write(rows=rows)
    with dsl.ParallelFor([1, 2]) as item:
        add(a=count(table=made.outputs["table"]).output, b=item)


@dsl.pipeline(name="flaky")
def flaky(flag: str):
    hold_until(flag="/").after(fail_until(flag=flag))


@dsl.pipeline(name="holding")
def holding(flag: str):
    hold_until(flag=flag)


@dataclass(frozen=True)
class Kitchen:
    """The server's address and what is behind it."""

    url: str
    platform: Platform
    folder: Path
    app: FastAPI

    def client(self, **options: Any) -> kfp.Client:
        with warnings.catch_warnings():
            # The client's constructor warns that it needs a server of version 2.
            warnings.simplefilter("ignore", FutureWarning)
            return kfp.Client(host=self.url, **options)

    def compiled(self, pipeline: Any) -> Path:
        path = self.folder / f"{pipeline.name}.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return path

    def wait_for(self, holds: Callable[[], bool]) -> None:
        assert self.platform.changes.wait_until(holds, PATIENCE_S), "it did not come to that"

    def wait_for_end(self, run_id: str) -> None:
        self.wait_for(lambda: is_terminal(run_state(self.platform.stores, run_id)))


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    folder = tmp_path_factory.mktemp("kitchen")
    settings = Settings(workspace=folder / "workspace", slots=2)
    with running(settings) as plane, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(plane.app, log_level="warning", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Kitchen(url, plane.platform, folder, plane.app)
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(kitchen: Kitchen) -> kfp.Client:
    return kitchen.client()


@pytest.fixture
def menu() -> SimpleNamespace:
    """The pipelines above."""
    return SimpleNamespace(sums=sums, tables=tables, flaky=flaky, holding=holding)


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., Path]:
    """compiled("name", 3) → a file; another number gives another file of that name."""

    def make(name: str, number: int = 1) -> Path:
        @dsl.pipeline(name=name)
        def chosen(n: int = number):
            add(a=n)

        path = tmp_path / f"{name}-{number}.yaml"
        compiler.Compiler().compile(chosen, str(path))
        return path

    return make
