"""`seamline secret`: a value is typed without an echo or piped, and never printed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.settings import Settings
from seamline.server import serve_in_process
from seamline.store.stores import open_stores
from seamline.trust.secrets import SecretKind, read_value

HUSH = "correct-horse-battery-staple"
Seamline = Callable[..., subprocess.CompletedProcess[bytes]]
PROGRAM = str(Path(sys.executable).with_name("seamline"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets") / "workspace"


@pytest.fixture(scope="module")
def environ(workspace: Path) -> Iterator[dict[str, str]]:
    with serve_in_process(Settings(workspace=workspace)) as url:
        yield {**os.environ, "SEAMLINE_URL": url}


@pytest.fixture
def seamline(environ: dict[str, str], tmp_path: Path) -> Seamline:
    def run(*words: str, stdin: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [PROGRAM, "secret", *words], input=stdin, capture_output=True, env=environ, cwd=tmp_path
        )
        assert done.returncode == code, (done.stdout + done.stderr).decode()
        assert HUSH.encode() not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def value(workspace: Path) -> Callable[..., bytes]:
    def read(name: str, key: str, kind: SecretKind = SecretKind.SECRET) -> bytes:
        stores = open_stores(workspace, SystemClock())
        try:
            return read_value(stores, "dataops", kind, name, key)
        finally:
            stores.db.close()

    return read


def printed(done: subprocess.CompletedProcess[bytes]) -> Any:
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("piped", "kept"),
    [
        (HUSH, HUSH),
        (f"{HUSH}\n", HUSH),
        (f"{HUSH}\r\n", HUSH),
        (f"{HUSH}\n\n", f"{HUSH}\n"),
        (f"a\n{HUSH}", f"a\n{HUSH}"),
        ("\n", ""),
    ],
)
def test_piped(seamline: Seamline, value: Callable[..., bytes], piped: str, kept: str) -> None:
    done = seamline("set", "piped", "password", stdin=piped.encode())
    assert done.stdout == b"piped in dataops has password\n"
    assert value("piped", "password") == kept.encode()


def test_nothing_piped_sets_nothing(seamline: Seamline) -> None:
    assert b"Nothing came on stdin" in seamline("set", "none", "password", code=2).stderr
    assert b"no secret 'none'" in seamline("show", "none", code=1).stderr


def test_a_file_is_taken_as_it_is(
    seamline: Seamline, value: Callable[..., bytes], tmp_path: Path
) -> None:
    content = bytes(range(256)) + b"\n"
    (tmp_path / "cert.der").write_bytes(content)
    seamline("set", "tls", "cert", "--file", "cert.der")
    assert value("tls", "cert") == content
    assert b"cannot be read" in seamline("set", "tls", "cert", "--file", "no", code=1).stderr


def test_typed_without_an_echo(
    environ: dict[str, str], value: Callable[..., bytes], tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "secret", "set", "typed", "password"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
        cwd=tmp_path,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    while b"Value of password: " not in shown:
        shown += os.read(ours, 1000)
    os.write(ours, HUSH.encode() + b"\n")
    try:
        while chunk := os.read(ours, 1000):
            shown += chunk
    except OSError:  # How a terminal says that nobody writes to it any more.
        pass
    assert process.wait(120) == 0, shown
    os.close(ours)
    assert HUSH.encode() not in shown
    assert value("typed", "password") == HUSH.encode()


def test_a_value_among_the_arguments_is_refused_and_not_repeated(seamline: Seamline) -> None:
    done = seamline("set", "argv", f"password={HUSH}", code=2)
    assert b"give password alone" in done.stderr
    done = seamline("set", "argv", "password", HUSH, stdin=b"x", code=2)
    assert b"A value is no argument" in done.stderr
    seamline("show", "argv", code=1)


def test_list_show_and_delete(seamline: Seamline) -> None:
    for key in ("password", "user"):
        seamline("set", "db", key, stdin=HUSH.encode())
    rows = [one for one in printed(seamline("list", "--json")) if one["name"] == "db"]
    assert [key["key"] for key in rows[0]["keys"]] == ["password", "user"]
    assert b"password" in seamline("list").stdout
    assert b"password" in seamline("show", "db").stdout
    assert seamline("delete", "db", "user").stdout == b"db in dataops has password\n"
    assert seamline("delete", "db").stdout == b"db is deleted\n"
    assert b"There is no secret 'db' in dataops" in seamline("delete", "db", code=1).stderr
    assert b"No secrets in staging yet" in seamline("list", "--environment", "staging").stdout


def test_config_maps(seamline: Seamline) -> None:
    seamline("set", "logging", "level", "--config", stdin=b"info\n")
    shown = seamline("show", "logging", "--config")
    assert b"info" in shown.stdout
    assert printed(seamline("show", "logging", "--config", "--json"))["values"] == {"level": "info"}
    seamline("show", "logging", code=1)
    seamline("delete", "logging", "--config")
