"""A whole control plane on a loopback port, and the unmodified `kfp.Client` pointed at it."""

from __future__ import annotations

import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp
import pytest
import uvicorn
from kfp import compiler

from seamline.app.platform import Platform
from seamline.domain.settings import Settings
from seamline.domain.states import is_terminal
from seamline.server import running
from seamline.train.runs import run_state

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Kitchen:
    """The server's address and what is behind it."""

    url: str
    platform: Platform
    folder: Path

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
    with running(Settings(workspace=folder / "workspace", slots=2)) as plane:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            config = uvicorn.Config(plane.app, log_level="warning", timeout_graceful_shutdown=2)
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
            thread.start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield Kitchen(url, plane.platform, folder)
            server.should_exit = True
            thread.join()


@pytest.fixture
def client(kitchen: Kitchen, capsys: pytest.CaptureFixture[str]) -> kfp.Client:
    return kitchen.client()
