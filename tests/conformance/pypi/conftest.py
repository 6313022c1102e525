"""Our index on a real port, an upstream beside it, and small wheels to put there."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skops.io
import uvicorn
from fastapi import FastAPI, Request, Response
from sklearn.linear_model import LogisticRegression

from seamline.domain.clock import SystemClock
from seamline.domain.states import Role
from seamline.protocols import pypi
from seamline.protocols.errors import install_error_handler
from seamline.protocols.upstream import UpstreamIndex
from seamline.register.models import package_task
from seamline.register.models.catalogue import ModelVersion, register_model_version
from seamline.register.models.documents import Lineage, make_model_document, packaging_task
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.store.stores import Stores, open_stores
from seamline.trust.keys import load_or_create_key
from seamline.trust.principals import add_principal


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(app, log_level="error", ws="none", lifespan="off", http="h11")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@dataclass
class Index:
    """`asked`: the paths that reached the upstream beside it."""

    url: str
    stores: Stores
    asked: list[str] = field(default_factory=list)

    def simple(self, environment: str = "dataops") -> str:
        return f"{self.url}/pypi/{environment}/simple/"

    def upload(self, environment: str = "dataops") -> str:
        return f"{self.url}/pypi/{environment}/upload/"

    def token_of(self, name: str, role: Role = Role.DEVELOPER) -> str:
        with self.stores.db.transaction() as tx:
            roles = frozenset({role})
            facts, clock = self.stores.facts, self.stores.clock
            return add_principal(tx, facts, clock, name, roles, by="ada")


@pytest.fixture
def make_index(tmp_path: Path) -> Iterator[Callable[..., Index]]:
    with ExitStack() as stack:

        def _make(name: str, upstream: UpstreamIndex, asked: list[str] | None = None) -> Index:
            stores = open_stores(tmp_path / name, SystemClock())
            stack.callback(stores.db.close)
            app = FastAPI()
            app.state.platform = SimpleNamespace(stores=stores, owner="ada")
            app.state.upstream = upstream
            install_error_handler(app)
            app.include_router(pypi.make_router(max_upload_bytes=1 << 20))
            if asked is not None:

                @app.middleware("http")
                async def remember(request: Request, call_next: Callable) -> Response:
                    asked.append(request.url.path)
                    return await call_next(request)

            return Index(stack.enter_context(serving(app)), stores, asked or [])

        yield _make


@pytest.fixture
def upstream(make_index: Callable[..., Index]) -> Index:
    """Somebody else's index."""
    asked: list[str] = []
    made = make_index("upstream", UpstreamIndex(lambda: None), asked)
    made.asked = asked
    return made


@pytest.fixture
def index(make_index: Callable[..., Index], upstream: Index) -> Index:
    address = upstream.simple().replace("http://", "http://name:secret@")
    return make_index("ours", UpstreamIndex(lambda: address))


@pytest.fixture
def make_wheel(tmp_path: Path) -> Callable[..., Path]:
    def _make(name: str, version: str, source: str = "x = 1\n", requires: str = "") -> Path:
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: s\n{needs}"
        files = {
            f"{module}.py": source,
            f"{info}/METADATA": about,
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        lines = [f"{path},{_hash(text)},{len(text)}" for path, text in files.items()]
        files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
        folder = tmp_path / "dist" / hashlib.sha256(source.encode()).hexdigest()[:8]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{module}-{version}-py3-none-any.whl"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for entry, text in files.items():
                archive.writestr(entry, text)
        path.write_bytes(buffer.getvalue())
        return path

    return _make


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A client that reads no configuration of this machine but its certificates."""
    foreign = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "UV_INDEX", "TWINE_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    env |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_CACHE_DIR": str(tmp_path / "pip-cache"),
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "HOME": str(tmp_path),
        "NO_COLOR": "1",
    }

    def _run(*command: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            env=env,
            cwd=tmp_path,
            check=False,
        )
        assert not check or ran.returncode == 0, ran.stdout + ran.stderr
        return ran

    return _run


@pytest.fixture
def venv(tmp_path: Path, run: Callable[..., subprocess.CompletedProcess[str]]) -> Path:
    """A clean environment's python, without pip."""
    run(tool("uv"), "venv", "--python", sys.executable, tmp_path / "venv")
    return tmp_path / "venv/bin/python"


def tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)


@pytest.fixture
def model(index: Index, tmp_path: Path) -> ModelVersion:
    estimator = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    payload = skops.io.dumps(estimator)
    (tmp_path / "model.skops").write_bytes(payload)
    (tmp_path / "samples").write_text('{"x": 0.5}\n{"x": 2.5}\n')
    task = packaging_task(tmp_path / "model.skops", tmp_path / "samples", requirements=[])[1]
    described = package_task.main(task)
    lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
    document = make_model_document("late-arrival", "1.0.0", described, lineage)
    wheel = build_model_wheel(ModelWheelSpec(document, described["samples"], payload))
    key = load_or_create_key(index.stores.root / "keys")
    return register_model_version(index.stores, wheel, key=key, by="ada")


@pytest.fixture
def equipped(venv: Path) -> Path:
    """A clean environment that has the model's libraries, from this one, and nothing of ours."""
    [site] = (venv.parents[1] / "lib").glob("python3*/site-packages")
    (site / "libraries.pth").write_text(str(Path(np.__file__).parents[1]) + "\n")
    return venv
