"""`seamline data ingest` of a database and of an object store, as people do it: one process serves
on a port, another one finds it and asks; the credentials are the server's, and nobody repeats them.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(sys.executable).with_name("seamline")


@dataclass
class Cli:
    """The command line of somebody in `project`; `said` is all that was ever printed."""

    project: Path
    workspace: Path
    said: list[str] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SEAMLINE_")}
        return {**kept, "SEAMLINE_WORKSPACE": str(self.workspace), "COLUMNS": "100"}

    def ask(self, *words: str, typed: str = "", code: int = 0) -> str:
        done = subprocess.run(
            [PROGRAM, *words],
            input=typed,
            cwd=self.project,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def found(self, *words: str) -> Any:
        return json.loads(self.ask(*words, "--json"))

    def watch(self, *words: str) -> str:
        """With a terminal to draw a bar on."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [PROGRAM, *words],
            cwd=self.project,
            env={**self.environ, "TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        drawn = b""
        while chunk := _read(ours):
            drawn += chunk
        os.close(ours)
        out, _ = process.communicate(timeout=120)
        self.said.append(out.decode() + drawn.decode(errors="replace"))
        assert process.returncode == 0, self.said[-1]
        return self.said[-1]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other end is closed
        return b""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    (tmp_path / "project").mkdir()
    return Cli(tmp_path / "project", tmp_path / "workspace")


@pytest.fixture
def served(cli: Cli, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """`seamline up`: what it announced. It is as it was until the test is over."""
    log = tmp_path / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [PROGRAM, "up", "--port", "0", "--serve-port", "0", "--json"],
            env=cli.environ,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        announced = json.loads(process.stdout.readline())
        yield announced
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        cli.said.append(out)


def declare(cli: Cli, shop: Any, bucket: Any) -> None:
    (cli.project / "seamline.toml").write_text(
        f"""
        project = "shop"
        team = "shop"

        [datasets.calls]
        time = "at"
        source = "{shop.uri}"
        table = "calls"
        since = "id"
        credentials = "shop"

        [datasets.files]
        time = "at"
        source = "{bucket.uri}/in"
        credentials = "lake"
        """
    )


def files_with(root: Path, words: str) -> list[Path]:
    found = (path for path in root.rglob("*") if path.is_file())
    return [path for path in found if words.encode() in path.read_bytes()]


def test_sources_are_read_by_the_server_that_is_found(
    cli: Cli, shop: Any, bucket: Any, tmp_path: Path, served: dict[str, Any]
) -> None:
    declare(cli, shop, bucket)
    cli.ask("apply")
    bucket.put("in/a.csv", b"id,at\n1,2025-03-01T08:00:00Z\n")
    secrets = {"shop": {"uri": shop.uri, "user": shop.user, "password": shop.password}}
    secrets["lake"] = {"uri": bucket.uri, **bucket.options}

    # Without its secret nothing is read, and what is missing is named.
    assert "shop" in cli.ask("data", "ingest", "calls", code=1)
    for name, values in secrets.items():
        for key, value in values.items():
            cli.ask("secret", "set", name, key, typed=value)

    # A database: from a first value on, then what is new, then nothing.
    first = cli.found("data", "ingest", "calls", "--since", "2")
    assert (first["version"], first["rows"], first["is_new"]) == (1, 1, True)
    shop.run(f"INSERT INTO {shop.user}.calls VALUES (3, '2025-03-03 08:00', 1)")
    drawn = cli.watch("data", "ingest", "calls")
    assert "calls@2 committed 1 rows (2 in all)" in drawn and "ingesting calls" in drawn
    assert cli.found("data", "ingest", "calls")["is_new"] is False
    rows = cli.found("data", "read", "calls@2", "--columns", "id")["rows"]
    assert sorted(row[0] for row in rows) == [2, 3]

    # An object store: one file by its URI, then the folder without it.
    named = cli.found("data", "ingest", "files", f"{bucket.uri}/in/a.csv")
    assert (named["version"], named["rows"]) == (1, 1)
    bucket.put("in/b.csv", b"id,at\n2,2025-03-02T08:00:00Z\n")
    assert "files@2 committed 1 rows (2 in all)" in cli.watch("data", "ingest", "files")
    told = cli.ask("data", "ingest", "files", f"{bucket.uri}/in/b.csv", "--since", "1", code=1)
    assert "--since is for databases" in told
    told = cli.ask("data", "ingest", "files", "s3://elsewhere/a.csv", code=1)
    assert "is not below" in told

    # It was the server that did it: it answers for it, and nobody else held the workspace.
    assert cli.found("data", "list", "files")
    assert json.loads((cli.workspace / "server.json").read_text())["url"] == served["url"]

    # Wrong credentials, and credentials in the wrong place.
    cli.ask("secret", "set", "shop", "password", typed=f"{shop.password}-no-more")
    assert "Access denied" in cli.ask("data", "ingest", "calls", code=1)
    key = bucket.options["secret_access_key"]
    cli.ask("secret", "set", "lake", "secret_access_key", typed=f"{key}-no-more")
    bucket.put("in/c.csv", b"id,at\n3,2025-03-03T08:00:00Z\n")
    cli.ask("data", "ingest", "files", code=1)
    with_password = shop.uri.replace("mysql://", f"mysql://{shop.user}:{shop.password}@")
    assert "cannot hold a password" in cli.ask("data", "ingest", "calls", with_password, code=1)
    cli.ask("audit", "verify")
    cli.found("data", "show", "calls@2")

    # Nothing that was said or written holds one of them: answers, bars, the server's log, facts.
    for secret in (shop.password, key):
        assert secret not in "".join(cli.said)
        assert files_with(tmp_path, secret) == []
