"""The ledger told to somebody outside, as the command line does it: anchors in a real repository,
an export that travels, and each way to lie about it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.promote_facts import ReleaseRefused
from seamline.store.stores import open_stores
from seamline.trust.teams import add_team

PATIENCE_S = 300.0
PROGRAM = str(Path(sys.executable).with_name("seamline"))


class Auditor:
    """A workspace, and a git repository that its people cannot write; with a server commands take
    a tenth of the time."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root / name
        self.root.mkdir()
        self.workspace = self.root / "workspace"
        environ = {key: text for key, text in os.environ.items() if "SEAMLINE" not in key}
        who = {"NAME": "auditor", "EMAIL": "auditor@example.com"}
        git = {f"GIT_{role}_{key}": who[key] for role in ("AUTHOR", "COMMITTER") for key in who}
        self.environ = {**environ, **git, "XDG_CONFIG_HOME": str(self.root / "config")}

    @contextmanager
    def up(self) -> Iterator[None]:
        command = [PROGRAM, "--workspace", str(self.workspace), "up", "--json"]
        server = subprocess.Popen(
            [*command, "--port", "0", "--serve-port", "0"],
            cwd=self.root,
            env=self.environ,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert server.stdout is not None
        try:
            assert server.stdout.readline(), "the server did not start"
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE_S) == 0
            server.stdout.close()

    def seamline(self, *words: object) -> str:
        done = self._run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *words: object) -> str:
        done = self._run(*words)
        assert done.returncode == 1, done.stdout
        return done.stderr

    def _run(self, *words: object) -> subprocess.CompletedProcess[str]:
        command = [PROGRAM, "--workspace", str(self.workspace), *map(str, words)]
        return subprocess.run(
            command, cwd=self.root, env=self.environ, capture_output=True, text=True
        )

    def git(self, *words: str) -> str:
        command = ["git", "-C", str(self.root / "witness"), *words]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tell(self, *teams: str) -> None:
        """A fact of each team, and one of a release that could not be made."""
        stores = open_stores(self.workspace, SystemClock())
        with stores.db.transaction() as tx:
            for team in teams:
                add_team(tx, stores.facts, stores.clock, team, by="zoë")
            refused = ReleaseRefused("spring", "r1", "é \u2028 😀")
            stores.facts.append(tx, refused, by="bea")
        stores.db.close()

    def sql(self, statement: str) -> None:
        with sqlite3.connect(self.workspace / "seamline.db", timeout=PATIENCE_S) as database:
            database.execute(statement)
        database.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Auditor]:
    made = Auditor(tmp_path, "house")
    made.tell("arrivals", "departures")
    (made.root / "witness").mkdir()
    made.git("init", "--quiet")
    made.git("commit", "--quiet", "--allow-empty", "--message", "a witness")
    with made.up():
        yield made


def test_an_anchor_in_a_repository_finds_a_tail_that_was_cut_off(house: Auditor) -> None:
    house.seamline("audit", "anchor", "--git", "witness")
    [tag] = house.git("tag", "--list").split()
    assert house.git("cat-file", "-t", tag).strip() == "tag"
    house.seamline("audit", "anchor", "--git", "witness")
    assert house.git("tag", "--list").split() == [tag], "nothing was recorded since"
    house.tell("weather")
    house.seamline("audit", "anchor", "--git", "witness")
    assert len(house.git("tag", "--list").split()) == 2
    assert "2 anchors hold" in house.seamline("audit", "verify", "--git", "witness")

    # Whoever holds the database and the key cuts the tail, and makes the rest fit.
    house.sql("DELETE FROM facts WHERE chain_seq > (SELECT MAX(chain_seq) - 2 FROM facts)")
    house.sql("UPDATE chain_head SET chain_seq = (SELECT MAX(chain_seq) FROM facts)")
    house.sql(
        "UPDATE chain_head SET hash = (SELECT hash FROM facts ORDER BY chain_seq DESC LIMIT 1)"
    )
    assert "facts verified" in house.seamline("audit", "verify"), "by itself it cannot know"
    said = house.refusal("audit", "verify", "--git", "witness")
    assert "2 facts at the end are missing" in said
    house.tell("another")
    house.tell("one")
    assert "the ledger was written anew" in house.refusal("audit", "verify", "--git", "witness")


def test_an_export_is_checked_where_no_workspace_is(house: Auditor, tmp_path: Path) -> None:
    house.seamline("audit", "export", "ledger.jsonl")
    key = json.loads(house.seamline("status", "--json"))["key_id"]
    outside = Auditor(tmp_path, "outside")
    ledger = house.root / "ledger.jsonl"
    said = outside.seamline("audit", "check", ledger, "--key", key)
    assert "signed by the pinned key's workspace" in said
    assert not outside.workspace.exists()
    lines = ledger.read_bytes().splitlines(keepends=True)

    def altered(name: str, text: list[bytes]) -> Path:
        path = outside.root / name
        path.write_bytes(b"".join(text))
        return path

    who = altered("who", [line.replace(b'"by": "bea"', b'"by": "eve"') for line in lines])
    assert "release.refused by eve" in outside.refusal("audit", "check", who)
    tail = altered("tail", lines[:-1])
    assert "1 facts at the end are missing" in outside.refusal("audit", "check", tail)
    middle = altered("middle", [*lines[:2], *lines[3:]])
    assert "The chain breaks at fact 2" in outside.refusal("audit", "check", middle)


def test_another_workspaces_export_is_not_taken_for_this_one(
    house: Auditor, tmp_path: Path
) -> None:
    house.seamline("audit", "anchor", "--to", "head.json")
    key = json.loads(house.seamline("status", "--json"))["key_id"]
    other = Auditor(tmp_path, "other")
    other.tell("arrivals", "departures")
    other.seamline("audit", "export", "ledger.jsonl")
    said = house.refusal("audit", "check", other.root / "ledger.jsonl", "--key", key)
    assert "none of this workspace's keys" in said
    said = house.refusal(
        "audit", "check", other.root / "ledger.jsonl", "--anchor", house.root / "head.json"
    )
    assert "An anchor is not this workspace's" in said


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE facts SET by = 'eve' WHERE kind = 'release.refused'", "release.refused"),
        ("UPDATE facts SET subject = 'p2' WHERE kind = 'release.refused'", "release.refused"),
        (
            "UPDATE facts SET body = replace(body, 'r1', 'r2') WHERE kind LIKE 'release.%'",
            "release.refused",
        ),
    ],
)
def test_a_row_edited_by_hand_is_named(house: Auditor, statement: str, named: str) -> None:
    found: list[dict[str, Any]] = json.loads(
        house.seamline("audit", "log", "--kind", named, "--json")
    )
    house.sql(statement)
    assert f"breaks at {found[0]['id']}" in house.refusal("audit", "verify")


def test_the_log_by_kind_person_and_time(house: Auditor) -> None:
    def log(*words: str) -> list[dict[str, Any]]:
        return list(json.loads(house.seamline("audit", "log", "--json", *words)))

    teams = log("--kind", "team.*")
    assert [one["subject"] for one in teams] == ["departures", "arrivals"]
    assert {one["kind"] for one in log("--by", "bea")} == {"release.refused"}
    assert {one["by"] for one in log("--kind", "team.added", "--kind", "release.*")} == {
        "zoë",
        "bea",
    }
    assert log("--kind", "team.*", "--since", "1h") == teams
    assert log("--kind", "team.*", "--until", "1h") == []
    assert log("--kind", "team.*", "--until", teams[0]["at"]) in ([], teams[1:])
    assert log("--kind", "team.*", "--before", str(teams[0]["seq"])) == teams[1:]
    assert log("--subject", "arrivals", "--by", "bea") == []
    assert "Did you mean team.added?" in house.refusal("audit", "log", "--kind", "team.add")
    assert "is no moment" in house.refusal("audit", "log", "--since", "yesterday")
