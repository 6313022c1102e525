"""One address that two teams share: the whole control plane on a port, and their tokens."""

# No postponed annotations here: the KFP SDK reads those of its components.
import base64
import hashlib
import os
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from kfp import compiler, dsl

from seamline.domain.clock import SystemClock
from seamline.domain.settings import Settings
from seamline.domain.states import Role
from seamline.server import build_control_plane
from seamline.store.stores import Stores
from seamline.trust.principals import add_principal
from seamline.trust.roles import Scope
from seamline.trust.teams import add_team, join_team
from seamline.trust.tokens import IssuedToken, issue_token

TEAMS = {"arrivals": "ada", "punctuality": "pia"}


@dataclass(frozen=True)
class Address:
    """What the two teams share."""

    url: str
    stores: Stores

    @property
    def registry(self) -> str:
        return f"{self.url}/kfp/registry/default/main"

    @property
    def upload(self) -> str:
        return f"{self.url}/pypi/dataops/upload/"

    def simple(self, token: str, environment: str = "dataops") -> str:
        host = self.url.removeprefix("http://")
        return f"http://__token__:{token}@{host}/pypi/{environment}/simple/"

    def issue(self, team: str, scope: Scope | None = None, days: float = 1) -> IssuedToken:
        """For the one person of the team; unless told, for all that the team may."""
        stores = self.stores
        with stores.db.transaction() as tx:
            return issue_token(
                tx,
                stores.facts,
                stores.clock,
                TEAMS[team],
                by="root",
                days=days,
                scope=scope or Scope(team=team),
            )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    folder = tmp_path_factory.mktemp("shared")
    plane = build_control_plane(Settings(workspace=folder / "workspace"), SystemClock())
    stores = plane.platform.stores
    with stores.db.transaction() as tx:
        for team, person in TEAMS.items():
            add_team(tx, stores.facts, stores.clock, team, by="root")
            roles = frozenset({Role.DEVELOPER})
            add_principal(tx, stores.facts, stores.clock, person, roles, by="root")
            join_team(tx, stores.facts, stores.clock, team, person, by="root")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(plane.app, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield Address(f"http://127.0.0.1:{listener.getsockname()[1]}", stores)
        server.should_exit = True
        thread.join()
    plane.platform.engine.close()
    plane.platform.runner.close()
    stores.db.close()


@dsl.component(base_image="python:3.11")
def double(n: int) -> int:
    return 2 * n


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., Path]:
    """compiled("name", 3) → a file; another number gives another file of that name."""

    def make(name: str, number: int = 1) -> Path:
        @dsl.pipeline(name=name)
        def chosen(n: int = number):
            double(n=n)

        path = tmp_path / f"{name}-{number}.yaml"
        compiler.Compiler().compile(chosen, str(path))
        return path

    return make


@pytest.fixture
def wheel(tmp_path: Path) -> Callable[[str, str], Path]:
    def make(name: str, version: str) -> Path:
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        files = {
            f"{module}.py": f"version = {version!r}\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = ""
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
            record += f"{path},sha256={digest.rstrip('=')},{len(text)}\n"
        target = tmp_path / f"{module}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(target, "w") as archive:
            for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
                archive.writestr(path, text)
        return target

    return make


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A tool of this environment that reads no configuration of this machine."""
    foreign = ("PIP_", "UV_", "TWINE_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    env |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_CACHE_DIR": str(tmp_path / "pip-cache"),
        "PIP_NO_INPUT": "1",
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "HOME": str(tmp_path),
        "NO_COLOR": "1",
    }

    def start(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        words = [str(Path(sys.executable).with_name(program)), *map(str, arguments)]
        return subprocess.run(
            words, capture_output=True, text=True, env=env, cwd=tmp_path, check=False
        )

    return start
