"""A workspace's statements and the rotation of its key, on both databases."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from seamline.domain.clock import ManualClock
from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch, MachineryError, Refused
from seamline.store.facts import read_facts, verify_chain
from seamline.store.stores import Stores
from seamline.trust import signing
from seamline.trust.key_history import make_entry, read_history
from seamline.trust.keys import KEYS, NEXT, SIGNING, SigningKey, load_or_create_key, load_public_key
from seamline.trust.statement_rows import SIGNING_KEYS, STATEMENTS
from seamline.trust.statements import (
    SNAPSHOT_TYPE,
    STATEMENT_TYPE,
    make_statement,
    open_envelope,
    sign_envelope,
)

SAYS: dict[str, Any] = {"runDetails": {}}


def state(stores: Stores, name: str) -> signing.Statement:
    digest = digest_of(name.encode())
    with stores.db.transaction() as tx:
        signing.sign_statement(stores, tx, "package", {name: digest}, SAYS)
    with stores.db.read() as connection:
        [found] = signing.find_statements(connection, digest)
    return found


def current(stores: Stores) -> SigningKey:
    return load_or_create_key(stores.root / KEYS)


def check(stores: Stores, stated: signing.Statement) -> None:
    anchor = current(stores).public
    signing.check_signed(stores, stated.statement, stated.digest, stated.subject, anchor)


def test_the_same_is_stated_once(stores: Stores, clock: ManualClock) -> None:
    first = state(stores, "a.whl")
    clock.advance(1)
    assert state(stores, "a.whl") == first
    assert first.key_id == current(stores).public.key_id
    with stores.db.transaction() as tx:  # one more name for the same bytes
        subjects = {"a.whl": first.digest, "b.whl": first.digest}
        signing.sign_statement(stores, tx, "package", subjects, SAYS)
    with stores.db.read() as connection:
        found = signing.find_statements(connection, first.digest)
    assert [one.subject for one in found] == ["a.whl", "b.whl"]
    assert found[0] == first
    check(stores, found[1])


def test_after_a_rotation_old_statements_hold_and_old_keys_sign_nothing(
    stores: Stores, clock: ManualClock
) -> None:
    before, old = state(stores, "a.whl"), current(stores)
    for _ in range(2):
        clock.advance(1)
        signing.rotate_key(stores, [], by="ada")
    after = state(stores, "b.whl")
    assert after.key_id == current(stores).public.key_id != before.key_id
    check(stores, before)
    check(stores, after)
    # Whoever has a copy of the first key:
    digest = digest_of(b"evil")
    envelope = sign_envelope(STATEMENT_TYPE, make_statement({"c.whl": digest}, SAYS), old)
    statement = stores.blobs.put(envelope)
    with pytest.raises(Refused, match="ended"):
        signing.check_signed(stores, statement, digest, "c.whl", current(stores).public)
    stranger = load_or_create_key(stores.root / "other")
    with pytest.raises(Refused, match="No trusted key"):
        signing.check_signed(stores, after.statement, after.digest, "b.whl", stranger.public)
    with stores.db.read() as connection:
        told = read_facts(connection, kinds=["key.rotated"])
        assert verify_chain(connection).broken is None
        history = read_history(signing.key_history(connection))
    assert [fact.body["key_id"] for fact in told] == [
        entry.public.key_id for entry in history.entries[1:]
    ]
    assert {path.name for path in (stores.root / KEYS).iterdir()} == {"signing.pem", "signing.pub"}


def test_statements_of_before_there_was_a_history_are_the_first_keys(stores: Stores) -> None:
    """As migration 0007 leaves those of model wheels."""
    stated = state(stores, "a.whl")
    with stores.db.transaction() as tx:
        tx.execute(update(STATEMENTS).values(key_id=""))
        tx.execute(delete(SIGNING_KEYS))
    check(stores, stated)
    signing.rotate_key(stores, [], by="ada")
    check(stores, stated)


@pytest.mark.parametrize("is_adopted", [True, False])
def test_a_rotation_that_was_killed_is_finished_or_never_began(
    sqlite_stores: Stores, monkeypatch: pytest.MonkeyPatch, is_adopted: bool
) -> None:
    stores = sqlite_stores
    before, old = state(stores, "a.whl"), current(stores)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    # Where it dies: before the database knows of it, or after, with the files as they were.
    at = (signing, "finish_rotation") if is_adopted else (signing, "_insert_entry")
    with monkeypatch.context() as patch:
        patch.setattr(*at, die)
        with pytest.raises(KeyboardInterrupt):
            signing.rotate_key(stores, [], by="ada")
    assert (stores.root / KEYS / NEXT).exists()
    assert current(stores) is not old and current(stores).public == old.public
    during = state(stores, "b.whl")
    assert (during.key_id != before.key_id) is is_adopted
    signing.finish_rotation(stores, [])
    assert current(stores).public.key_id == during.key_id
    signing.finish_rotation(stores, [])
    for stated in (before, during, state(stores, "c.whl")):
        check(stores, stated)
    signing.rotate_key(stores, [], by="ada")
    check(stores, during)


def test_snapshots_follow_the_key(sqlite_stores: Stores, tmp_path: Path) -> None:
    state(sqlite_stores, "a.whl")
    path = tmp_path / "production.json"
    path.write_bytes(sign_envelope(SNAPSHOT_TYPE, b'{"version":1}', current(sqlite_stores)))
    signing.rotate_key(sqlite_stores, [path], by="ada")
    obeyed = load_public_key(sqlite_stores.root / KEYS / "signing.pub")
    assert obeyed == current(sqlite_stores).public
    assert open_envelope(path.read_bytes(), SNAPSHOT_TYPE, [obeyed]) == b'{"version":1}'


def test_keys_of_another_backup_are_told(sqlite_stores: Stores) -> None:
    state(sqlite_stores, "a.whl")
    (sqlite_stores.root / KEYS / SIGNING).unlink()
    with pytest.raises(MachineryError, match="says that key"):
        state(sqlite_stores, "b.whl")


def test_a_key_that_the_database_makes_up_is_not_trusted(sqlite_stores: Stores) -> None:
    stores = sqlite_stores
    stated = state(stores, "a.whl")
    thief = load_or_create_key(stores.root / "thief")
    with stores.db.transaction() as tx:
        last = read_history(signing.key_history(tx)).current
        forged = make_entry(thief, "2026-01-02T00:00:00.000000Z", (last, thief), last.envelope)
        values = {"number": 1, "key_id": thief.public.key_id, "begins_at": "", "sealed": None}
        tx.execute(insert(SIGNING_KEYS).values(envelope=forged.decode(), **values))
    with pytest.raises(Refused, match="Entry 1"):
        check(stores, stated)


def test_a_flipped_statement_names_both_digests(sqlite_stores: Stores) -> None:
    stated = state(sqlite_stores, "a.whl")
    path = sqlite_stores.blobs.path_of(stated.statement)
    document = json.loads(path.read_bytes())
    document["payload"] = document["payload"].replace("e", "f", 1)
    path.write_text(json.dumps(document))
    with pytest.raises(DigestMismatch, match=stated.statement):
        check(sqlite_stores, stated)


# -- two at the same moment --------------------------------------------------------------------
def beside(monkeypatch: pytest.MonkeyPatch, where: str, do: Callable[[], Any]) -> Future[Any]:
    """`do` begins on another thread in the middle of `where` of this module, and is waited for
    there, unless it waits for us."""
    whole, done = getattr(signing, where), Future[Any]()

    def run() -> None:
        try:
            done.set_result(do())
        except Exception as error:
            done.set_exception(error)

    def stopped(*given: Any) -> Any:
        found = whole(*given)
        monkeypatch.setattr(signing, where, whole)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(0.3)
        return found

    monkeypatch.setattr(signing, where, stopped)
    return done


def check_keys(stores: Stores) -> None:
    """Files and database say the same."""
    with stores.db.read() as connection:
        newest = read_history(signing.key_history(connection)).current.public
    folder = stores.root / KEYS
    assert load_public_key(folder / "signing.pub") == newest == current(stores).public
    assert {path.name for path in folder.iterdir()} == {"signing.pem", "signing.pub"}


def test_two_rotations_at_once(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(stores, "a.whl")
    rotate = partial(signing.rotate_key, stores, [], by="ada")
    other = beside(monkeypatch, "write_public_key", rotate)
    rotate()
    other.result(120)
    check_keys(stores)
    with stores.db.read() as connection:
        assert len(signing.key_history(connection)) == 3
    check(stores, before)


def test_a_rotation_that_fails_takes_no_key_from_one_that_goes_on(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came in between the other's transaction and its end."""
    rotate, finish = partial(signing.rotate_key, stores, [], by="ada"), signing.finish_rotation

    def another_first(*given: Any) -> None:
        with monkeypatch.context() as full_disk:
            full_disk.setattr(signing, "_insert_entry", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                rotate()
        finish(*given)

    monkeypatch.setattr(signing, "finish_rotation", another_first)
    rotate()
    check(stores, state(stores, "a.whl"))


def test_who_signs_while_a_rotation_ends_has_a_key(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(signing, "finish_rotation", lambda *_: None)
        signing.rotate_key(stores, [], by="ada")
    finish = partial(signing.finish_rotation, stores, [])
    other = beside(monkeypatch, "load_or_create_key", finish)
    stated = state(stores, "a.whl")
    other.result(120)
    check_keys(stores)
    check(stores, stated)
