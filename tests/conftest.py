"""Fixtures that several suites use: a PostgreSQL of our own, and stores on both databases."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from seamline.domain.clock import ManualClock
from seamline.store.stores import Stores, open_stores


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the full counts")


def pytest_configure(config: pytest.Config) -> None:
    """`make test` draws the same examples each time; `make soak` draws new ones."""
    settings.register_profile("sample", derandomize=True)
    settings.register_profile("soak", print_blob=True)
    settings.load_profile("soak" if config.getoption("--soak") else "sample")


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a throwaway PostgreSQL on a free loopback port, without its database name."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = shutil.which("initdb") or (str(binaries[-1] / "initdb") if binaries else None)
    if initdb is None:
        pytest.skip("PostgreSQL's initdb is not installed here")
    folder = Path(tempfile.mkdtemp(prefix="seamline-pg-"))
    as_user: list[str] = []
    if os.getuid() == 0:  # initdb refuses root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    pg_ctl = str(Path(initdb).with_name("pg_ctl"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(folder / "data")
    quiet = {"check": True, "capture_output": True, "cwd": folder}
    subprocess.run(
        [*as_user, initdb, "-D", data, "-U", "seamline", "-A", "trust", "--no-sync"], **quiet
    )
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
    options += " -c fsync=off -c max_connections=50"
    log = str(folder / "log")
    subprocess.run([*as_user, pg_ctl, "-D", data, "-w", "-l", log, "-o", options, "start"], **quiet)
    try:
        yield f"postgresql+psycopg://seamline@127.0.0.1:{port}"
    finally:
        subprocess.run([*as_user, pg_ctl, "-D", data, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """A fresh database; psql makes it, as a person would."""
    name = f"t{uuid.uuid4().hex[:12]}"
    plain = postgres_server.replace("+psycopg", "")
    psql = shutil.which("psql") or "psql"
    subprocess.run(
        [psql, f"{plain}/postgres", "-c", f"CREATE DATABASE {name}"],
        check=True,
        capture_output=True,
    )
    return f"{postgres_server}/{name}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Stores]:
    """Stores on each database: one suite for both."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    opened = open_stores(
        tmp_path / "workspace", clock, database_url=url, reacting=frozenset({"release.created"})
    )
    yield opened
    opened.db.close()


@pytest.fixture
def sqlite_stores(tmp_path: Path, clock: ManualClock) -> Iterator[Stores]:
    opened = open_stores(tmp_path / "workspace", clock)
    yield opened
    opened.db.close()
