"""Fixtures that several suites use: a PostgreSQL of our own, and stores on both databases;
a container engine, and images for it that are made of this machine's own files.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from tests.databases import MigratedOnce, Postgres
from tests.waiting import wait_until
from xdist.scheduler import LoadScopeScheduling

from seamline.domain.clock import Clock, ManualClock
from seamline.domain.errors import SeamlineError
from seamline.runtime.container_engine import ContainerEngine, find_engine
from seamline.runtime.containers import ContainerRun
from seamline.store import migrate
from seamline.store.stores import Stores, open_stores

#: How the names of files begin that share what takes long to set up, or that continue one another.
TOGETHER = (
    ("tests/browser/",),
    (
        "tests/chaos/test_chaos_moments",
        "tests/chaos/test_chaos_promotions",
        "tests/chaos/test_chaos_training",
    ),
    ("tests/conformance/data_interop/",),
    ("tests/conformance/formats/",),
    ("tests/conformance/kfp/",),
    ("tests/conformance/twins/",),
    ("tests/story/bad_input/",),
    ("tests/story/evaluate/",),
    ("tests/story/test_flights_",),
    ("tests/unit/examples/",),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the full counts")


def pytest_configure(config: pytest.Config) -> None:
    """`make test` draws the same examples each time; `make soak` draws new ones. No test is about
    time, so none has a deadline."""
    patient: dict[str, Any] = {
        "deadline": None,
        "suppress_health_check": [HealthCheck.too_slow],
    }
    settings.register_profile("sample", derandomize=True, **patient)
    settings.register_profile("soak", print_blob=True, **patient)
    settings.load_profile("soak" if config.getoption("--soak") else "sample")
    if not config.getoption("--soak"):
        # Else they are drawn from the constants of whatever modules a process has loaded by then.
        providers._get_local_constants = providers.Constants


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected stays to the end: to look through it again and again for garbage took a
    quarter of the time of collecting, and then a part of each test's."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes give no names: an archive's hold the time, and each process would have its own."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Scheduling(config, log)


class _Scheduling(LoadScopeScheduling):
    """What each process takes at a time, so that nothing slow is set up twice."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        if file.startswith("tests/docs/"):
            return nodeid
        return next((one[0] for one in TOGETHER if file.startswith(one)), file)


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session", name="wait_until")
def _wait_until() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="session", autouse=True)
def _migrated_once() -> Iterator[None]:
    """In this process; servers that tests start migrate their own databases, and
    tests/unit/store/test_store_migrate.py runs every migration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "upgrade_to", MigratedOnce(migrate.upgrade_to))
        yield


@pytest.fixture(scope="session")
def memory_folder() -> Iterator[Path]:
    """In memory, where there is room for it: for what is never about disks."""
    memory = Path("/dev/shm")
    # A container's has 64 MB as a rule.
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30
    with tempfile.TemporaryDirectory(
        prefix="seamline-", dir=memory if has_room else None
    ) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_server(memory_folder: Path) -> Iterator[Postgres]:
    """A throwaway PostgreSQL on a free loopback port."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = shutil.which("initdb") or (str(binaries[-1] / "initdb") if binaries else None)
    if initdb is None:
        pytest.skip("PostgreSQL's initdb is not installed here")
    folder = memory_folder / "postgresql"
    folder.mkdir()
    as_user: list[str] = []
    if os.getuid() == 0:  # initdb refuses root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        memory_folder.chmod(0o711)
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    pg_ctl = str(Path(initdb).with_name("pg_ctl"))
    data = str(folder / "data")
    quiet = {"check": True, "capture_output": True, "cwd": folder}
    subprocess.run(
        [*as_user, initdb, "-D", data, "-U", "seamline", "-A", "trust", "--no-sync"], **quiet
    )
    # Bound here, and never listened at: until the server is there, nobody else is given its port.
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    port = kept.getsockname()[1]
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
    options += " -c fsync=off -c max_connections=50"
    log = str(folder / "log")
    subprocess.run(
        [*as_user, pg_ctl, "-D", data, "-w", "-t", "300", "-l", log, "-o", options, "start"],
        **quiet,
    )
    try:
        address = f"host=127.0.0.1 port={port} user=seamline dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            url = f"postgresql+psycopg://seamline@127.0.0.1:{port}"
            yield Postgres(url, memory_folder, connection)
    finally:
        subprocess.run([*as_user, pg_ctl, "-D", data, "-m", "immediate", "stop"], **quiet)
        kept.close()


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """An empty database."""
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def migrated_postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """A database for a workspace."""
    url = postgres_server.create_migrated()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Each database: one suite for both. Where it is None the rows lie in the workspace."""
    if request.param == "sqlite":
        return None
    return str(request.getfixturevalue("migrated_postgres_url"))


@pytest.fixture
def stores(database_url: str | None, tmp_path: Path, clock: ManualClock) -> Iterator[Stores]:
    opened = open_stores(
        tmp_path / "workspace",
        clock,
        database_url=database_url,
        reacting=frozenset({"release.created"}),
    )
    yield opened
    opened.db.close()


@pytest.fixture
def sqlite_stores(tmp_path: Path, clock: ManualClock) -> Iterator[Stores]:
    opened = open_stores(tmp_path / "workspace", clock)
    yield opened
    opened.db.close()


@dataclass
class Copies:
    """Workspaces in memory. `server`: of PostgreSQL, where rows are to lie there."""

    root: Path
    server: Postgres | None = None

    def open(self, clock: Clock) -> Stores:
        url = None if self.server is None else self.server.create_migrated()
        return open_stores(Path(tempfile.mkdtemp(dir=self.root)), clock, database_url=url)

    def close(self, stores: Stores) -> None:
        stores.db.close()
        shutil.rmtree(stores.root)
        if self.server is not None:
            self.server.drop(stores.db.url)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def copies(request: pytest.FixtureRequest, memory_folder: Path) -> Copies:
    is_postgres = request.param == "postgresql"
    return Copies(
        memory_folder, request.getfixturevalue("postgres_server") if is_postgres else None
    )


# -- containers --------------------------------------------------------------------------------

PROGRAMS = ("sh", "cat", "cp", "echo", "env", "grep", "head", "id", "ls", "mkdir", "sleep", "touch")


@contextmanager
def imported(engine: ContainerEngine, tar: Path, *options: str) -> Iterator[str]:
    """The tree as an image with a name of its own, which goes when it is not needed any more."""
    name = f"localhost/seamline-test:{uuid.uuid4().hex[:12]}"
    quiet = {"env": engine.environ, "capture_output": True}
    subprocess.run([engine.program, "import", *options, tar, name], check=True, **quiet)
    try:
        yield name
    finally:
        subprocess.run([engine.program, "rmi", "--force", name], check=False, **quiet)


def add_programs(tar: tarfile.TarFile, programs: Iterable[Path], *others: Path) -> None:
    """Programs into /bin, and what they and others are linked with where it lies here."""
    found = list(programs)
    listed = subprocess.run(
        ["ldd", *found, *others], capture_output=True, text=True, check=False
    ).stdout
    for path in found:
        tar.add(path.resolve(), f"bin/{path.name}")
    words = {word for line in listed.splitlines() if ":" not in line for word in line.split()}
    for word in sorted(word for word in words if word.startswith("/")):
        tar.add(Path(word).resolve(), word.lstrip("/"))


def add_python(tar: tarfile.TarFile) -> None:
    """The interpreter that this environment stands on, its standard library, and pip alone."""
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    ask = "import sysconfig, site; print(sysconfig.get_path('stdlib'), site.getsitepackages()[0])"
    answer = subprocess.run([base, "-I", "-c", ask], capture_output=True, text=True, check=True)
    library, packages = map(Path, answer.stdout.split())
    left_out = {"test", "tests", "idlelib", "tkinter", "ensurepip", "lib2to3"}
    left_out |= {"site-packages", "dist-packages"}

    def keep(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = Path(member.name).name
        return None if name in left_out or name.startswith("config-3") else member

    tar.add(base, str(base).lstrip("/"))
    for name in ("python3", "python"):
        link = tarfile.TarInfo(f"usr/local/bin/{name}")
        link.type, link.linkname = tarfile.SYMTYPE, str(base)
        tar.addfile(link)
    tar.add(library, str(library).lstrip("/"), filter=keep)
    pip = Path(str(importlib.util.find_spec("pip").origin)).parent  # type: ignore[union-attr]
    for folder in (pip, *pip.parent.glob("pip-*.dist-info")):
        tar.add(folder, str(packages / folder.name).lstrip("/"), filter=keep)
    add_programs(
        tar,
        map(Path, filter(None, map(shutil.which, PROGRAMS))),
        base,
        *library.glob("lib-dynload/*.so"),
    )


@pytest.fixture(scope="session")
def import_image() -> Callable[..., AbstractContextManager[str]]:
    """import_image(engine, tar, *options) → the image's name, inside a `with`."""
    return imported


@pytest.fixture(scope="session")
def plain_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shell and a few programs, 4 MB."""
    path = tmp_path_factory.mktemp("images") / "plain.tar"
    with tarfile.open(path, "w") as tar:
        add_programs(tar, map(Path, filter(None, map(shutil.which, PROGRAMS))))
    return path


@pytest.fixture(scope="session")
def container_engine(plain_tar: Path) -> ContainerEngine:
    """An engine that has run a container."""
    try:
        engine = find_engine(os.environ)
        with imported(engine, plain_tar) as image:
            run = ContainerRun(f"seamline-test-{uuid.uuid4().hex}", image, ("sh", "-c", "exit 0"))
            words = engine.container_command(run, plain_tar.parent).words
            subprocess.run(words, env=engine.environ, check=True, capture_output=True)
    except SeamlineError as error:
        pytest.skip(str(error))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no container runs here: {error.stderr.decode(errors='replace').strip()}")
    return engine


@pytest.fixture(scope="session")
def plain_image(container_engine: ContainerEngine, plain_tar: Path) -> Iterator[str]:
    """Has a shell and no Python."""
    with imported(container_engine, plain_tar) as image:
        yield image


@pytest.fixture(scope="session")
def python_image(
    container_engine: ContainerEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Has this machine's Python with pip, and no other package."""
    path = tmp_path_factory.mktemp("images") / "python.tar"
    with tarfile.open(path, "w") as tar:
        add_python(tar)
    with imported(container_engine, path) as image:
        path.unlink()
        yield image
