"""Secrets: kept sealed, told by name only, whole or not at all."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from seamline.domain.clock import ManualClock
from seamline.domain.errors import InvalidInput, MachineryError, NotFound
from seamline.domain.trust_facts import SecretDeleted, SecretSet
from seamline.store.facts import read_facts, verify_chain
from seamline.store.schema import FACTS, SETTINGS
from seamline.store.stores import Stores
from seamline.trust.secret_rules import MAX_BYTES
from seamline.trust.secrets import (
    SecretKind,
    delete_keys,
    find_secret,
    list_secrets,
    read_text,
    read_value,
    read_values,
    set_values,
)

SECRET, CONFIG = SecretKind.SECRET, SecretKind.CONFIG_MAP
HUSH = b"correct-horse-battery-staple"


def put(stores: Stores, name: str, environment: str = "dataops", **values: bytes) -> None:
    set_values(stores, environment, SECRET, name, values, by="ada")


def files(stores: Stores) -> list[Path]:
    return [path for path in (stores.root / "secrets").rglob("*") if path.is_file()]


def test_values_come_back_and_only_their_names_are_listed(
    stores: Stores, clock: ManualClock
) -> None:
    put(stores, "db", password=HUSH, user=b"ada")
    clock.advance(60)
    binary = bytes(range(256))
    set_values(stores, "dataops", SECRET, "db", {"cert.der": binary}, by="bob")
    assert read_values(stores, "dataops", SECRET, "db") == {
        "password": HUSH,
        "user": b"ada",
        "cert.der": binary,
    }
    assert read_value(stores, "dataops", SECRET, "db", "password") == HUSH
    (listed,) = list_secrets(stores, "dataops")
    assert listed.to_json() == {
        "environment": "dataops",
        "kind": "secret",
        "name": "db",
        "keys": (
            {"key": "cert.der", "set_at": "2026-01-01T00:01:00.000000Z", "set_by": "bob"},
            {"key": "password", "set_at": "2026-01-01T00:00:00.000000Z", "set_by": "ada"},
            {"key": "user", "set_at": "2026-01-01T00:00:00.000000Z", "set_by": "ada"},
        ),
    }
    assert find_secret(stores, "dataops", SECRET, "db") == listed


def test_a_key_is_replaced_and_the_others_stay(stores: Stores) -> None:
    put(stores, "db", password=b"old", user=b"ada")
    put(stores, "db", password=b"new")
    assert read_values(stores, "dataops", SECRET, "db") == {"password": b"new", "user": b"ada"}
    assert len(files(stores)) == 1


def test_environments_and_kinds_are_apart(stores: Stores) -> None:
    put(stores, "db", "dataops", password=b"d")
    put(stores, "db", "production", password=b"p")
    set_values(stores, "dataops", CONFIG, "db", {"password": b"c"}, by="ada")
    assert read_value(stores, "production", SECRET, "db", "password") == b"p"
    assert read_value(stores, "dataops", CONFIG, "db", "password") == b"c"
    assert delete_keys(stores, "dataops", SECRET, "db", by="ada") is None
    assert read_value(stores, "production", SECRET, "db", "password") == b"p"
    assert [(one.kind, one.name) for one in list_secrets(stores, "dataops")] == [(CONFIG, "db")]
    assert list_secrets(stores, "staging") == []


def test_deleting_keys_and_all(stores: Stores) -> None:
    put(stores, "db", password=HUSH, user=b"ada", host=b"h")
    left = delete_keys(stores, "dataops", SECRET, "db", ["password"], by="bob")
    assert left is not None
    assert [one.key for one in left.keys] == ["host", "user"]
    assert read_values(stores, "dataops", SECRET, "db") == {"user": b"ada", "host": b"h"}
    assert delete_keys(stores, "dataops", SECRET, "db", ["host", "user"], by="bob") is None
    assert files(stores) == []
    with stores.db.read() as connection:
        assert connection.execute(select(SETTINGS.c.name)).all() == []


def test_facts_say_who_set_what_and_never_the_value(stores: Stores) -> None:
    put(stores, "db", password=HUSH, user=b"ada")
    delete_keys(stores, "dataops", SECRET, "db", ["user"], by="bob")
    delete_keys(stores, "dataops", SECRET, "db", by="bob")
    with stores.db.read() as connection:
        found = read_facts(connection, kinds=[SecretSet.kind, SecretDeleted.kind])
        assert verify_chain(connection).broken is None
    about = {"environment": "dataops", "secret_kind": "secret", "name": "db"}
    assert [(fact.kind, fact.by, fact.body) for fact in found] == [
        ("secret.set", "ada", {**about, "keys": ["password", "user"]}),
        ("secret.deleted", "bob", {**about, "keys": ["user"]}),
        ("secret.deleted", "bob", {**about, "keys": ["password"]}),
    ]
    assert all(fact.chain_seq for fact in found)


def test_no_byte_of_a_value_is_readable_anywhere_in_the_workspace(
    sqlite_stores: Stores, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    put(sqlite_stores, "db", password=HUSH)
    put(sqlite_stores, "db", user=b"ada")
    delete_keys(sqlite_stores, "dataops", SECRET, "db", ["user"], by="ada")
    with pytest.raises(NotFound) as caught:
        read_value(sqlite_stores, "dataops", SECRET, "db", "passwort")
    said = [caplog.text, str(caught.value), repr(caught.value), *capfd.readouterr()]
    said += [str(list_secrets(sqlite_stores, "dataops"))]
    said += [json.dumps(one.to_json()) for one in list_secrets(sqlite_stores, "dataops")]
    raw = b"".join(p.read_bytes() for p in sqlite_stores.root.rglob("*") if p.is_file())
    for part in (HUSH, HUSH[:12], HUSH[-12:]):
        assert part not in raw
        assert part.decode() not in "\n".join(said)


def test_files_are_their_owner_s_only_whatever_the_umask(sqlite_stores: Stores) -> None:
    before = os.umask(0)
    try:
        put(sqlite_stores, "db", password=HUSH)
        (sqlite_stores.root / "secrets").chmod(0o755)  # as a backup may come back
        put(sqlite_stores, "db", user=b"ada")
    finally:
        os.umask(before)
    root = sqlite_stores.root
    for folder in (root / "secrets", root / "secrets" / "dataops"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in (*files(sqlite_stores), root / "keys" / "sealing.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name", ["", "Db", "-db", "db-", "a..b", "a_b", "a/b", "../x", "a" * 254, "a b", "ä", "db\n"]
)
def test_names_are_kubernetes_names(sqlite_stores: Stores, name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be the name of a secret"):
        put(sqlite_stores, name, password=HUSH)


@pytest.mark.parametrize("key", ["", ".", "..", "..x", "a/b", "a b", "ä", "a" * 254, "a\n", "a\0"])
def test_keys_are_kubernetes_keys(sqlite_stores: Stores, key: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a key"):
        set_values(sqlite_stores, "dataops", SECRET, "db", {key: HUSH}, by="ada")
    assert list_secrets(sqlite_stores, "dataops") == []


@pytest.mark.parametrize("name", ["a", "0", "a.b", "a-b.c-d", "1.2.3", "a" * 253])
def test_names_at_the_edge(sqlite_stores: Stores, name: str) -> None:
    put(sqlite_stores, name, **{"_-.Az09": HUSH, ".hidden": b"", "a" * 253: b"x"})
    assert read_value(sqlite_stores, "dataops", SECRET, name, "_-.Az09") == HUSH
    assert read_value(sqlite_stores, "dataops", SECRET, name, ".hidden") == b""


@pytest.mark.parametrize("environment", ["..", ".", "", "a/b", "/tmp", "a\0", "A"])
def test_an_environment_cannot_name_its_way_out(sqlite_stores: Stores, environment: str) -> None:
    with pytest.raises(InvalidInput, match="name of an environment"):
        put(sqlite_stores, "db", environment, password=HUSH)
    assert not (sqlite_stores.root / "secrets").exists()


def test_a_value_in_the_place_of_a_key_is_not_repeated(sqlite_stores: Stores) -> None:
    with pytest.raises(InvalidInput) as caught:
        set_values(sqlite_stores, "dataops", SECRET, "db", {f"P={HUSH.decode()}": b"x"}, by="ada")
    assert "'P=…'" in str(caught.value)
    assert HUSH.decode() not in str(caught.value)


def test_sizes_are_bounded(sqlite_stores: Stores) -> None:
    most = MAX_BYTES - len("key")
    put(sqlite_stores, "big", key=b"x" * most)
    with pytest.raises(InvalidInput, match="1,048,576 is the most"):
        put(sqlite_stores, "big", key=b"x" * (most + 1))
    with pytest.raises(InvalidInput, match=r"1,048,578 bytes"):
        put(sqlite_stores, "big", a=b"x")  # together with what is there
    assert len(read_value(sqlite_stores, "dataops", SECRET, "big", "key")) == most
    with pytest.raises(InvalidInput, match="is given no key"):
        put(sqlite_stores, "none")


def test_what_is_missing_is_named_with_the_nearest(sqlite_stores: Stores) -> None:
    with pytest.raises(NotFound, match="There is none yet"):
        read_value(sqlite_stores, "dataops", SECRET, "db", "password")
    put(sqlite_stores, "db-login", password=HUSH)
    set_values(sqlite_stores, "dataops", CONFIG, "db-logins", {"a": b"1"}, by="ada")
    for call in (
        lambda: read_value(sqlite_stores, "dataops", SECRET, "db-logn", "password"),
        lambda: delete_keys(sqlite_stores, "dataops", SECRET, "db-logn", by="ada"),
        lambda: find_secret(sqlite_stores, "dataops", SECRET, "db-logn"),
    ):
        with pytest.raises(NotFound, match=r"'db-logn' in dataops\. Did you mean db-login\?"):
            call()
    with pytest.raises(NotFound, match=r"There is a config map of that name\."):
        read_value(sqlite_stores, "dataops", SECRET, "db-logins", "a")
    with pytest.raises(NotFound, match=r"no key 'pasword'\. Did you mean password\?"):
        read_value(sqlite_stores, "dataops", SECRET, "db-login", "pasword")
    with pytest.raises(NotFound, match="no key 'user'"):
        delete_keys(sqlite_stores, "dataops", SECRET, "db-login", ["password", "user"], by="ada")
    assert read_value(sqlite_stores, "dataops", SECRET, "db-login", "password") == HUSH


def test_text_for_an_environment_variable(sqlite_stores: Stores) -> None:
    put(sqlite_stores, "db", text="grün\n".encode(), binary=b"\xff", nul=b"a\0b")
    assert read_text(sqlite_stores, "dataops", SECRET, "db", "text") == "grün\n"
    for key in ("binary", "nul"):
        with pytest.raises(InvalidInput, match=f"{key!r} in the secret 'db' .dataops. is no text"):
            read_text(sqlite_stores, "dataops", SECRET, "db", key)


def test_a_file_of_another_environment_or_of_earlier_does_not_open(sqlite_stores: Stores) -> None:
    put(sqlite_stores, "db", "staging", password=b"s")
    put(sqlite_stores, "db", "production", password=b"p")
    (staging,) = (sqlite_stores.root / "secrets" / "staging").iterdir()
    (production,) = (sqlite_stores.root / "secrets" / "production").iterdir()
    earlier = production.read_bytes()
    production.write_bytes(staging.read_bytes())
    with pytest.raises(MachineryError, match="The secret 'db' of production cannot be opened"):
        read_value(sqlite_stores, "production", SECRET, "db", "password")
    production.write_bytes(earlier)
    put(sqlite_stores, "db", "production", password=b"p2")
    (production,) = (sqlite_stores.root / "secrets" / "production").iterdir()
    production.write_bytes(earlier)
    with pytest.raises(MachineryError, match="cannot be opened"):
        read_value(sqlite_stores, "production", SECRET, "db", "password")


@pytest.mark.parametrize("damage", [b"", b"SLS1", b"x" * 40, b"SLS1" + b"x" * 40])
def test_a_damaged_file_is_named_and_can_be_deleted(sqlite_stores: Stores, damage: bytes) -> None:
    put(sqlite_stores, "db", password=HUSH)
    (path,) = files(sqlite_stores)
    path.write_bytes(damage)
    with pytest.raises(MachineryError, match="The secret 'db' of dataops cannot be opened"):
        read_value(sqlite_stores, "dataops", SECRET, "db", "password")
    path.unlink()
    with pytest.raises(MachineryError, match="is missing"):
        read_value(sqlite_stores, "dataops", SECRET, "db", "password")
    delete_keys(sqlite_stores, "dataops", SECRET, "db", by="ada")
    put(sqlite_stores, "db", password=HUSH)
    assert read_value(sqlite_stores, "dataops", SECRET, "db", "password") == HUSH


def test_a_lost_key_is_not_made_anew_while_something_is_sealed(sqlite_stores: Stores) -> None:
    put(sqlite_stores, "db", password=HUSH)
    key = sqlite_stores.root / "keys" / "sealing.key"
    kept = key.read_bytes()
    key.unlink()
    for call in (
        lambda: read_value(sqlite_stores, "dataops", SECRET, "db", "password"),
        lambda: put(sqlite_stores, "other", "staging", password=HUSH),
    ):
        with pytest.raises(MachineryError, match=r"sealing\.key is missing"):
            call()
    assert not key.exists()
    key.write_bytes(kept)
    assert read_value(sqlite_stores, "dataops", SECRET, "db", "password") == HUSH
    key.unlink()
    delete_keys(sqlite_stores, "dataops", SECRET, "db", by="ada")
    put(sqlite_stores, "db", password=HUSH)
    assert key.read_bytes() != kept


def test_what_a_killed_process_left_is_swept_away(sqlite_stores: Stores) -> None:
    put(sqlite_stores, "db", password=HUSH)
    (path,) = files(sqlite_stores)
    (path.parent / "orphan").write_bytes(b"x")
    (path.parent / ".orphan.123.partial").write_bytes(b"x")
    put(sqlite_stores, "other", password=HUSH)
    assert len(files(sqlite_stores)) == 2
    assert path.exists()


def test_readers_never_meet_a_gap(stores: Stores) -> None:
    put(stores, "db", a=b"0", b=b"0")
    done = threading.Event()
    seen: list[tuple[bytes, bytes]] = []

    def read() -> None:
        while not done.is_set():
            values = read_values(stores, "dataops", SECRET, "db")
            seen.append((values["a"], values["b"]))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 40):
            put(stores, "db", a=b"%d" % number, b=b"%d" % number)
    finally:
        done.set()
        reader.join()
    assert seen
    assert all(a == b for a, b in seen)


def test_writers_queue_and_none_is_lost(stores: Stores) -> None:
    """Also the first two of an environment, where there is no row to wait for yet."""
    errors: list[BaseException] = []
    gate = threading.Barrier(6)

    def write(number: int) -> None:
        try:
            gate.wait()
            for turn in range(4):
                put(stores, "db", **{f"k{number}-{turn}": b"%d" % number})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert read_values(stores, "dataops", SECRET, "db") == {
        f"k{number}-{turn}": b"%d" % number for number in range(6) for turn in range(4)
    }
    with stores.db.read() as connection:
        assert verify_chain(connection).broken is None
        assert len(connection.execute(select(FACTS.c.id)).all()) == 24
