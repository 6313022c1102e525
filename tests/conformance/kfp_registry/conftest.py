from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from fastapi import FastAPI

from seamline.domain.clock import SystemClock
from seamline.protocols import kfp_registry
from seamline.protocols.errors import install_error_handler
from seamline.register import rows
from seamline.store.stores import Stores, open_stores

assert rows.PIPELINE_TAGS is not None


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_stores(tmp_path / "workspace", SystemClock())
    yield opened
    opened.db.close()


@pytest.fixture
def registry_url(stores: Stores) -> Iterator[str]:
    app = FastAPI()
    app.state.platform = SimpleNamespace(stores=stores, owner="ada")
    install_error_handler(app)
    app.include_router(kfp_registry.make_router())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", ws="none", lifespan="off", http="h11")
        )
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/kfp/registry/default/main"
        server.should_exit = True
        thread.join()
