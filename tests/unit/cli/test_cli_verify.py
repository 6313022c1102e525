"""`seamline verify` and `seamline key`, over a real server, against whoever rewrites its store."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import socket
import sqlite3
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner, Result
from sqlalchemy import update

from seamline.cli.root import seamline
from seamline.domain.digests import digest_of
from seamline.domain.errors import Refused
from seamline.domain.settings import Settings
from seamline.register.packages.index import publish_package
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.register.rows import PACKAGE_FILES
from seamline.serve.snapshots.deployments import publish_snapshot
from seamline.serve.snapshots.snapshot import read_snapshot, snapshot_path
from seamline.server import running
from seamline.store.stores import Stores
from seamline.trust.key_history import make_entry, read_history
from seamline.trust.keys import (
    SigningKey,
    create_key,
    load_key,
    load_or_create_key,
    load_public_key,
)
from seamline.trust.proof import pipeline_subject
from seamline.trust.signing import key_history
from seamline.trust.statements import STATEMENT_TYPE, make_statement, sign_envelope

AT = "2026-01-01T00:00:00.000000Z"


def ir(note: str) -> bytes:
    return (
        f"# {note}\nschemaVersion: 2.1.0\npipelineInfo: {{name: training}}\nroot: {{dag: {{}}}}\n"
    ).encode()


GOOD, OLD, EVIL = ir("good"), ir("old"), ir("evil")
OTHER = GOOD.replace(b"training", b"scoring")


@dataclass(frozen=True)
class House:
    url: str
    stores: Stores
    home: Path
    pinned: str = ""

    def call(self, *words: str) -> Result:
        environ = {"XDG_CONFIG_HOME": str(self.home), "SEAMLINE_PINNED_KEY": self.pinned}
        return CliRunner().invoke(seamline, ["--url", self.url, *words], env=environ)

    def said(self, *words: str) -> Any:
        found = self.call(*words, "--json")
        assert found.exit_code == 0, (found.output, found.exception)
        return json.loads(found.stdout)

    def refusal(self, *words: str) -> str:
        found = self.call(*words)
        assert isinstance(found.exception, Refused), found.output
        return found.output + str(found.exception)

    def history(self) -> list[bytes]:
        with self.stores.db.read() as connection:
            return key_history(connection)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    settings = Settings(workspace=tmp_path / "workspace", slots=1)
    with running(settings, with_schedules=False) as plane, socket.socket() as listener:
        stores = plane.platform.stores
        publish_pipeline(stores, OLD, ["0.9.0"], by="ann")
        publish_pipeline(stores, GOOD, ["1.0.0"], by="ann")
        publish_pipeline(stores, OTHER, ["1.0.0"], by="ann")
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(plane.app, log_level="error", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield House(url, stores, tmp_path / "home")
        finally:
            server.should_exit = True
            thread.join()
            for waiters in (plane.app.state.run_ends, plane.app.state.run_news):
                waiters.close()


def test_every_check_is_explained(house: House, tmp_path: Path) -> None:
    [found] = house.said("verify", "training@1.0.0")
    assert found["holds"] and found["digest"] == digest_of(GOOD)
    assert [step["check"] for step in found["steps"]] == [
        "keys",
        "digest",
        "signature",
        "provenance",
        "fact",
        "fact",
    ]
    assert found["steps"][0]["outcome"] == "note"
    kept = house.said("key", "pin")
    assert kept["key_id"] == house.said("key", "list")[-1]["key_id"]
    [found] = house.said("verify", "training@1.0.0")
    assert found["steps"][0] == {
        "check": "keys",
        "outcome": "holds",
        "sentence": f"1 key, each introduced by the one before, and the pinned "
        f"{kept['public_key']} is among them.",
    }
    path = tmp_path / "training.yaml"
    path.write_bytes(GOOD)
    said = house.call("verify", str(path))
    assert said.exit_code == 0 and "all of it holds" in said.output
    path.write_bytes(GOOD + b" ")
    assert "No statement about it holds. There is none." in house.refusal("verify", str(path))


def test_a_pin_survives_rotations_and_moves_along(house: House) -> None:
    first = house.said("key", "pin")["public_key"]
    for _ in range(2):
        current = house.said("key", "rotate")["public_key"]
    publish_pipeline(house.stores, ir("new"), ["1.1.0"], by="ann")
    for reference in ("training@1.0.0", "training@1.1.0"):
        for pinned in ("", first, current, house.said("key", "list")[1]["key_id"]):
            assert replace(house, pinned=pinned).said("verify", reference)[0]["holds"]
    keys = house.said("key", "list")
    assert [(key["public_key"], key["ended_at"] is None) for key in keys[::2]] == [
        (first, False),
        (current, True),
    ]
    assert [key["statements"] for key in keys] == [3, 0, 1]
    assert house.said("key", "pin")["public_key"] == current


def wheel(version: str) -> bytes:
    info = f"team_tools-{version}.dist-info"
    files = {
        "team_tools.py": "x = 1\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: team-tools\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for name, text in files.items():
        raw = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        lines.append(f"{name},sha256={raw.rstrip('=')},{len(text)}\n")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": f"{''.join(lines)}{info}/RECORD,,\n"}.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def test_a_wheel_is_what_its_name_says(house: House, tmp_path: Path) -> None:
    name = "team_tools-1.0-py3-none-any.whl"
    data = wheel("1.0")
    publish_package(house.stores, name, data, by="ann")
    house.said("key", "pin")
    [found] = house.said("verify", "Team.Tools==1.0.0")
    assert (found["what"], found["digest"]) == (name, digest_of(data))
    (tmp_path / name).write_bytes(data)
    assert house.said("verify", str(tmp_path / name))[0]["holds"]
    renamed = tmp_path / name.replace("1.0", "2.0")
    renamed.write_bytes(data)
    assert f"not about {renamed.name}" in house.refusal("verify", str(renamed))
    # The index hands out an older, signed wheel as the newest version:
    newer = wheel("2.0")
    publish_package(house.stores, renamed.name, newer, by="ann")
    with house.stores.db.transaction() as tx:
        table = PACKAGE_FILES.c
        values = {"digest": digest_of(data), "size_bytes": len(data)}
        tx.execute(update(PACKAGE_FILES).where(table.version == "2.0").values(**values))
    assert f"not about {renamed.name}" in house.refusal("verify", "team-tools==2.0")


def test_another_workspaces_key_is_refused(house: House, tmp_path: Path) -> None:
    stranger = create_key(tmp_path / "stranger.pem").public
    for pinned in (stranger.text, stranger.key_id):
        said = replace(house, pinned=pinned).refusal("verify", "training@1.0.0")
        assert f"The pinned key {pinned} is none of this workspace's keys" in said
        replace(house, pinned=pinned).refusal("key", "pin")


@dataclass(frozen=True)
class Attacker:
    """May write the database and the blobs, and has a key, which is not the workspace's."""

    house: House
    key: SigningKey

    def rewrite(self, statement: str, *values: object) -> None:
        with sqlite3.connect(self.house.stores.root / "seamline.db", timeout=120) as database:
            assert database.execute(statement, values).rowcount > 0
        database.close()

    def plant(self, data: bytes = EVIL) -> str:
        """Put other bytes under training@1.0.0."""
        digest = str(self.house.stores.blobs.put(data))
        good = digest_of(GOOD)
        self.rewrite("UPDATE pipeline_tags SET digest = ? WHERE digest = ?", digest, good)
        if data == EVIL:
            self.rewrite("UPDATE pipeline_versions SET digest = ? WHERE digest = ?", digest, good)
        return digest

    def state(self, digest: str, subject: str = "") -> None:
        subject = subject or pipeline_subject("default/main", "training", "1.0.0")
        definition = {"buildType": "b", "resolvedDependencies": []}
        metadata = {"invocationId": "ann", "finishedOn": AT}
        predicate = {"buildDefinition": definition, "runDetails": {"metadata": metadata}}
        said = make_statement({subject: digest}, predicate)
        envelope = self.house.stores.blobs.put(sign_envelope(STATEMENT_TYPE, said, self.key))
        key_id = self.key.public.key_id
        row = (subject, digest, "pipeline", str(envelope), key_id, AT)
        self.rewrite("INSERT INTO statements VALUES (?, ?, ?, ?, ?, ?)", *row)

    def replace_history(self, entry: bytes, number: int) -> None:
        self.rewrite(
            "INSERT OR REPLACE INTO signing_keys VALUES (?, ?, ?, ?, NULL)",
            *(number, self.key.public.key_id, entry.decode(), AT),
        )


def swap_bytes(attacker: Attacker) -> None:
    """Other bytes, in the blob's own place."""
    attacker.house.stores.blobs.path_of(digest_of(GOOD)).write_bytes(EVIL)


def swap_all_but_statements(attacker: Attacker) -> None:
    attacker.plant()


def relabel_statement(attacker: Attacker) -> None:
    """The real statement, filed under the other bytes."""
    digest = attacker.plant()
    attacker.rewrite("UPDATE statements SET digest = ? WHERE digest = ?", digest, digest_of(GOOD))


def swap_key_and_all(attacker: Attacker) -> None:
    """A workspace of their own, in which everything holds."""
    attacker.state(attacker.plant())
    attacker.replace_history(make_entry(attacker.key, AT), 0)


def append_key(attacker: Attacker) -> None:
    """The real history, with one more key that nobody introduced."""
    attacker.state(attacker.plant())
    last = read_history(attacker.house.history()).current
    entry = make_entry(attacker.key, AT, (last, attacker.key), last.envelope)
    attacker.replace_history(entry, 1)


def roll_back(attacker: Attacker) -> None:
    """The tag points at an older version, which is signed."""
    attacker.plant(OLD)


def swap_pipelines(attacker: Attacker) -> None:
    """Another pipeline that is signed, and under that very tag."""
    other = digest_of(OTHER)
    attacker.rewrite("DELETE FROM pipeline_versions WHERE digest = ?", digest_of(GOOD))
    attacker.rewrite("UPDATE pipeline_tags SET digest = ? WHERE package = 'training'", other)
    attacker.rewrite("UPDATE pipeline_versions SET package = 'training' WHERE digest = ?", other)


def drop_statements(attacker: Attacker) -> None:
    attacker.rewrite("DELETE FROM statements")


def drop_keys(attacker: Attacker) -> None:
    attacker.rewrite("DELETE FROM signing_keys")


ATTACKS: dict[Callable[[Attacker], None], str] = {
    swap_bytes: f"expected {digest_of(GOOD)}, found {digest_of(EVIL)}",
    swap_all_but_statements: "No statement about it holds. There is none.",
    relabel_statement: f"It is about {digest_of(GOOD)}; these bytes are {digest_of(EVIL)}",
    swap_key_and_all: "is none of this workspace's keys",
    append_key: "Entry 1 of the key history does not hold",
    roll_back: "not about pipelines/default/main/training@1.0.0",
    swap_pipelines: "not about pipelines/default/main/training@1.0.0",
    drop_statements: "There is none.",
    drop_keys: "signed nothing yet",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_whoever_rewrites_store_and_database_is_refused_by_who_pinned(
    house: House, tmp_path: Path, attack: Callable[[Attacker], None]
) -> None:
    house.said("key", "pin")
    house.said("pipeline", "pull", "training@1.0.0", "-o", str(tmp_path / "before.yaml"))
    assert (tmp_path / "before.yaml").read_bytes() == GOOD
    attacker = Attacker(house, create_key(tmp_path / "attacker.pem"))
    attack(attacker)
    kept = tmp_path / "kept.yaml"
    for words in (("verify",), ("pipeline", "pull", "-o", str(kept))):
        found = house.call(*words, "training@1.0.0")
        assert found.exit_code == 1, found.output
        assert ATTACKS[attack] in f"{found.output}{found.exception}"
    assert not kept.exists()
    if attack is swap_key_and_all:
        # This is what the pin is for: without it, all seems well, and says so.
        shutil.rmtree(house.home)
        assert "No key is pinned" in house.call("verify", "training@1.0.0").output


def test_a_stolen_old_key_signs_nothing_new(house: House, tmp_path: Path) -> None:
    house.said("key", "pin")
    stolen = tmp_path / "stolen.pem"
    shutil.copy(house.stores.root / "keys" / "signing.pem", stolen)
    house.said("key", "rotate")
    attacker = Attacker(house, load_key(stolen))
    attacker.state(attacker.plant())
    assert "ended at" in house.refusal("verify", "training@1.0.0")


def test_a_shortened_history_tells_nobody_of_a_key_that_was_there(house: House) -> None:
    """Whoever cuts the newest keys off hides what they signed; whoever pinned one is told."""
    first = house.said("key", "list")[0]["public_key"]
    last = house.said("key", "rotate")["public_key"]
    publish_pipeline(house.stores, ir("new"), ["1.1.0"], by="ann")
    attacker = Attacker(house, load_or_create_key(house.stores.root / "stranger"))
    attacker.rewrite("DELETE FROM signing_keys WHERE number > 0")
    for reference in ("training@1.0.0", "training@1.1.0"):
        said = replace(house, pinned=last).refusal("verify", reference)
        assert f"The pinned key {last} is none of this workspace's keys" in said
    old = replace(house, pinned=first)
    assert old.said("verify", "training@1.0.0")[0]["holds"]
    assert "No trusted key signed" in old.refusal("verify", "training@1.1.0")


@pytest.mark.parametrize("has_own_key", [False, True])
def test_another_wheel_under_a_stated_name_is_refused(
    house: House, tmp_path: Path, has_own_key: bool
) -> None:
    """The attacker writes store and database, and signs with a key of their own."""
    name = "team_tools-1.0-py3-none-any.whl"
    good, evil = wheel("1.0"), wheel("1.0").replace(b"x = 1", b"x = 2")
    publish_package(house.stores, name, good, by="ann")
    house.said("key", "pin")
    attacker = Attacker(house, create_key(tmp_path / "attacker.pem"))
    digest = str(house.stores.blobs.put(evil))
    attacker.rewrite(
        "UPDATE package_files SET digest = ? WHERE digest = ?", digest, digest_of(good)
    )
    if has_own_key:
        attacker.state(digest, name)
        last = read_history(house.history()).current
        attacker.replace_history(make_entry(attacker.key, AT, (last, attacker.key), None), 1)
    said = house.refusal("verify", "team-tools==1.0")
    assert ("Entry 1 of the key history does not hold" if has_own_key else "There is none") in said
    (tmp_path / name).write_bytes(evil)
    house.refusal("verify", str(tmp_path / name))
    if has_own_key:
        # A history of the attacker's alone holds in itself, and does not lead to the pinned key.
        attacker.rewrite("DELETE FROM signing_keys WHERE number > 0")
        attacker.replace_history(make_entry(attacker.key, AT), 0)
        assert "none of this workspace's keys" in house.refusal("verify", "team-tools==1.0")


def test_serving_obeys_the_new_key(house: House) -> None:
    """What the data plane reads is signed anew with the rotation."""
    keys, path = house.stores.root / "keys", snapshot_path(house.stores.root, "production")
    release = digest_of(b"release")
    publish_snapshot(house.stores, "production", release, "r", ())
    house.said("key", "rotate")
    assert read_snapshot(path, load_public_key(keys / "signing.pub")).release == release
