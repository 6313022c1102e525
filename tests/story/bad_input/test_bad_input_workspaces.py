"""A workspace, a port, an address or a setting that cannot be used; and Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import wait_until

from seamline.app.workspace_lock import hold_workspace
from seamline.store.migrate import REVISIONS

NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def _is_free(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) != 0


def _left_behind(workspace: Path) -> list[str]:
    """Addresses of servers that a clean end takes away."""
    return sorted(name for name in ("server.json", "dataplane.json") if (workspace / name).exists())


def test_bad_input_a_port_in_use(person: Any, taken_port: int) -> None:
    said = person.is_refused("up", "--port", str(taken_port), "--serve-port", "0")
    assert said == (
        f"conflict: Port {taken_port} on 127.0.0.1 cannot be used: Address already in use. "
        "Choose another with --port (0 takes a free one)."
    )
    said = person.is_refused("up", "--port", "0", "--serve-port", str(taken_port))
    assert said.startswith(f"conflict: The data plane did not start on port {taken_port}: ")
    assert said.endswith(
        "Address already in use. Choose another port with --serve-port (0 takes a free one)."
    )
    assert _left_behind(person.folder / ".seamline") == []
    with person.serving() as server:
        assert not _is_free(server["url"])


def test_bad_input_a_second_server_on_one_workspace(kiosk: Any) -> None:
    document = json.loads((kiosk.workspace / "server.json").read_text())
    pid = document["identity"]["pid"]
    with kiosk.untouched():
        said = kiosk.person.is_refused("up", "--port", "0", "--serve-port", "0")
    assert said == (
        f"conflict: The server at {kiosk.url} (pid {pid}) already serves the workspace "
        f"{kiosk.workspace}. Use it as it is, stop it with seamline down, or choose another folder."
    )


def test_bad_input_a_workspace_of_a_newer_version(person: Any) -> None:
    person.data("team", "add", "kiosk")
    path = person.folder / ".seamline" / "seamline.db"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    before = path.read_bytes()
    for words in (("up", "--port", "0", "--serve-port", "0"), ("data", "list")):
        assert person.is_refused(*words) == (
            "refused: This workspace has schema revision 9999; this Seamline knows up to "
            f"{REVISIONS[-1]}. A newer version of Seamline wrote it: upgrade with "
            "pip install -U seamline."
        )
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["other", "middle"])
def test_bad_input_a_database_that_is_damaged(person: Any, damage: str) -> None:
    workspace = person.folder / ".seamline"
    person.data("team", "add", "kiosk")
    path = workspace / "seamline.db"
    data = bytearray(path.read_bytes())
    path.write_bytes(b"no database " * 999 if damage == "other" else _scratched(data))
    before = path.read_bytes()
    commands = {"other": ("up", "--port", "0", "--serve-port", "0"), "middle": ("data", "list")}
    said = person.is_refused(*commands[damage])
    assert said.startswith(f"errored: The database sqlite:///{path} cannot be read: ")
    assert said.endswith("restore it from a backup, or use another workspace.")
    assert path.read_bytes() == before
    assert _left_behind(workspace) == []


def _scratched(data: bytearray) -> bytes:
    for offset in range(4096, len(data), 512):
        data[offset : offset + 300] = b"\xff" * min(300, len(data) - offset)
    return bytes(data)


def test_bad_input_a_signing_key_that_is_damaged(person: Any) -> None:
    person.data("team", "add", "kiosk")
    key = person.folder / ".seamline" / "keys" / "signing.pem"
    key.write_bytes(b"")
    said = person.is_refused("data", "list")
    assert said.startswith(f"errored: {key} cannot be read as a private key. Restore keys/ from")
    assert key.read_bytes() == b""


def test_bad_input_a_workspace_that_is_a_file(person: Any) -> None:
    (person.folder / "file").write_text("mine")
    up = ("up", "--port", "0", "--serve-port", "0")
    for place, why, words in (
        ("file", "File exists", up),
        ("file/below", "Not a directory", ("team", "add", "kiosk")),
    ):
        assert person.is_refused("--workspace", place, *words) == (
            f"refused: The workspace {person.folder / place} cannot be written: {why}. "
            "Choose another folder with --workspace, or ask for write access."
        )
    assert (person.folder / "file").read_text() == "mine"


def test_bad_input_a_folder_where_another_user_may_not_write(person: Any) -> None:
    person.folder.chmod(0o755)
    other = person
    if os.getuid() == 0:  # root writes anywhere
        for folder in person.folder.parents[:2]:
            folder.chmod(folder.stat().st_mode | 0o055)  # nothing is taken: /tmp may be among them
        if subprocess.run([*NOBODY, sys.executable, "-c", ""], capture_output=True).returncode:
            pytest.skip("this Python cannot be run by another user")
        other = type(person)(person.folder, {"HOME": "/nonexistent"}, NOBODY)
    else:
        person.folder.chmod(0o555)
    for words in (("up", "--port", "0", "--serve-port", "0"), ("team", "add", "kiosk")):
        assert other.is_refused(*words) == (
            f"refused: The workspace {person.folder / '.seamline'} cannot be written: "
            "Permission denied. Choose another folder with --workspace, or ask for write access."
        )
    assert list(person.folder.iterdir()) == []


URLS = {
    "http://127.0.0.1:1": "unavailable: No Seamline server answers at http://127.0.0.1:1 "
    "(Connection refused). Start one with seamline up, or correct --url (SEAMLINE_URL).",
    "http://127.0.0.1:99999": "invalid_input: 'http://127.0.0.1:99999' is no address of a server. "
    "Write http://HOST:PORT.",
    "localhost:8765": "invalid_input: 'localhost:8765' is no address of a server. "
    "Write http://HOST:PORT.",
    "http://no such host": "invalid_input: 'http://no such host' is no address of a server. "
    "Write http://HOST:PORT.",
    "http://[bad": "invalid_input: 'http://[bad' is no address of a server. "
    "Write http://HOST:PORT.",
}


def test_bad_input_addresses_where_no_server_is(person: Any) -> None:
    for words in (("data", "list"), ("status",)):
        assert {url: person.is_refused("--url", url, *words) for url in URLS} == URLS


def test_bad_input_tokens_that_cannot_be(kiosk: Any) -> None:
    for token in ("two\nlines", "über"):
        assert kiosk.person.is_refused("--token", token, "data", "list") == (
            "invalid_input: The token holds characters that no token has. "
            "Copy it once more: sl_ and 43 letters, digits, - and _."
        )
    assert kiosk.person.is_refused("--token", "sl_x", "data", "list") == (
        "unauthenticated: This token is not known here. "
        "Tokens belong to one workspace; ask its admin for one."
    )


SETTINGS = {
    ("SEAMLINE_PORT", "abc"): "invalid_input: SEAMLINE_PORT='abc' has to be a whole number.",
    ("SEAMLINE_PRT", "1"): "invalid_input: SEAMLINE_PRT is not a setting. "
    "Did you mean SEAMLINE_PORT?",
    ("SEAMLINE_PORT", "99999"): "conflict: Port 99999 on 127.0.0.1 cannot be used: "
    "ports go from 0 to 65535. Choose another with --port (0 takes a free one).",
    ("SEAMLINE_DATABASE_URL", "nonsense"): "invalid_input: The database URL cannot be read. "
    "Write postgresql+psycopg://USER@HOST/DATABASE.",
    ("SEAMLINE_DATABASE_URL", "mysql://x"): "invalid_input: Databases of the kind 'mysql' "
    "are not spoken. Write postgresql+psycopg://USER@HOST/DATABASE.",
}


@pytest.mark.parametrize("name, value", SETTINGS)
def test_bad_input_settings(person: Any, name: str, value: str) -> None:
    other = type(person)(person.folder, {name: value})
    assert other.is_refused("up", "--serve-port", "0") == SETTINGS[name, value]


def test_bad_input_a_database_server_that_does_not_answer(person: Any) -> None:
    url = "postgresql+psycopg://ann:secret@127.0.0.1:1/seamline"
    said = person.is_refused("up", "--port", "0", "--serve-port", "0", "--database-url", url)
    shown = url.replace("secret", "***")
    assert said.startswith(f"unavailable: The database {shown} cannot be opened: ")


def test_bad_input_ctrl_c_ends_both_planes_and_frees_their_ports(person: Any) -> None:
    with person.serving() as server:
        assert not _is_free(server["url"])
        assert not _is_free(server["serve_url"])
    assert _is_free(server["url"])
    assert _is_free(server["serve_url"])
    assert _left_behind(person.folder / ".seamline") == []


@pytest.mark.parametrize("sign", ["server.lock", "seamline.db", "dataplane.lock", "dataplane.json"])
def test_bad_input_ctrl_c_while_it_starts_leaves_nothing_running(person: Any, sign: str) -> None:
    workspace = person.folder / ".seamline"
    process = person.start("up", "--port", "0", "--serve-port", "0", "--json")
    while not (workspace / sign).exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    with suppress(AssertionError):  # what was told to end may do so a little later
        wait_until(lambda: not _processes_of(workspace), 30)
    left = _processes_of(workspace)
    for pid in left:
        os.killpg(pid, signal.SIGKILL)
    assert left == []
    assert "Traceback" not in out + err
    assert _left_behind(workspace) == []


def _processes_of(workspace: Path) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(workspace).encode() in words:
            found.append(int(folder.name))
    return found


def test_bad_input_commands_without_a_server_work_in_their_own_process(
    kiosk: Any, person: Any
) -> None:
    for name in ("seamline.toml", "may.csv", "training.yaml"):
        shutil.copy(kiosk.person.folder / name, person.folder)
    said = person.types("apply")
    assert (said.code, said.out.splitlines()[0]) == (0, "kiosk: 6 changed")
    assert person.types("data", "ingest", "sales", "may.csv").code == 0
    assert person.types("pipeline", "push", "training.yaml", "--tag", "1.0.0").code == 0
    run = person.data("run", "submit", "sales-training@1.0.0", "--wait")
    assert run["state"] == "succeeded"
    # The process ended only once the reactions to the run were done: the model is there.
    assert [one["version"] for one in person.data("model", "list")] == ["1.0.0"]
    assert _left_behind(person.folder / ".seamline") == []


def test_bad_input_two_commands_at_once_without_a_server(person: Any) -> None:
    person.data("team", "add", "kiosk")
    both = [person.start("data", "list") for _ in range(2)]
    said = [(one.communicate(timeout=240), one.returncode) for one in both]
    assert [(out, code) for (out, _), code in said] == [("No datasets yet.\n", 0)] * 2


def test_bad_input_a_command_waits_for_whoever_has_the_workspace(person: Any) -> None:
    """A server that is starting has no address yet."""
    with hold_workspace(person.folder / ".seamline"):
        command = person.start("data", "list")
        assert "waiting for it" in command.stderr.readline()
    out, _ = command.communicate(timeout=240)
    assert (out, command.returncode) == ("No datasets yet.\n", 0)
