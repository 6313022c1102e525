"""The access list follows the ledger: what is revoked is not in it, whatever the loop is at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seamline.app.trust.keep_access import AccessKeeper
from seamline.app.trust.rotate_key import rotate_key
from seamline.domain.digests import digest_of
from seamline.domain.states import Role
from seamline.store.stores import Stores
from seamline.trust.access_list import AccessList, access_list_path, read_access_list
from seamline.trust.keys import KEYS, load_or_create_key, load_public_key
from seamline.trust.principals import add_principal
from seamline.trust.tokens import list_tokens, revoke_tokens


@pytest.fixture
def workspace(sqlite_stores: Stores) -> Stores:
    load_or_create_key(sqlite_stores.root / KEYS)
    return sqlite_stores


@pytest.fixture
def keeper(workspace: Stores) -> Iterator[AccessKeeper]:
    made = AccessKeeper(workspace)
    made.start(is_required=True)
    yield made
    made.stop()


def add(stores: Stores, name: str) -> str:
    with stores.db.transaction() as tx:
        roles = frozenset({Role.CALLER})
        return add_principal(tx, stores.facts, stores.clock, name, roles, by="root")


def revoke(stores: Stores, name: str) -> None:
    with stores.db.transaction() as tx:
        revoke_tokens(tx, stores.facts, stores.clock, name, by="root")


def present(stores: Stores) -> AccessList:
    public = load_public_key(stores.root / KEYS / "signing.pub")
    return read_access_list(access_list_path(stores.root), public)


def known(stores: Stores) -> set[str]:
    return {one.token_digest for one in present(stores).entries}


def await_list(stores: Stores, holds: Callable[[AccessList], bool]) -> None:
    """Not by a commit: the file is looked at again and again."""
    for _ in range(10_000):
        try:
            if holds(present(stores)):
                return
        except Exception:
            pass
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen in time")


def test_it_follows_what_is_committed(workspace: Stores, keeper: AccessKeeper) -> None:
    assert (present(workspace).is_required, known(workspace)) == (True, set())
    token = add(workspace, "app")
    await_list(workspace, lambda found: len(found.entries) == 1)
    assert known(workspace) == {digest_of(token.encode())}
    version = present(workspace).version
    revoke(workspace, "app")
    await_list(workspace, lambda found: not found.entries)
    assert present(workspace).version > version


def test_a_commit_that_it_does_not_depend_on_writes_nothing(workspace: Stores) -> None:
    keeper = AccessKeeper(workspace, is_required=None)
    add(workspace, "app")
    keeper.look()
    before = access_list_path(workspace.root).stat().st_ino
    with workspace.db.read() as connection:
        assert len(list_tokens(connection)) == 1
    keeper.look()
    again = AccessKeeper(workspace, is_required=None)
    again.look()
    assert access_list_path(workspace.root).stat().st_ino == before


def test_what_a_killed_server_left_undone_is_done_by_the_next(workspace: Stores) -> None:
    AccessKeeper(workspace, is_required=True).look()
    token = add(workspace, "app")  # and nobody keeps the list
    assert known(workspace) == set()
    AccessKeeper(workspace, is_required=None).look()
    assert known(workspace) == {digest_of(token.encode())}


@pytest.mark.parametrize("was", [True, False])
def test_a_command_leaves_whether_one_is_required_as_it_was(workspace: Stores, was: bool) -> None:
    AccessKeeper(workspace, is_required=was).look()
    add(workspace, "app")
    AccessKeeper(workspace, is_required=None).look()
    assert (present(workspace).is_required, len(known(workspace))) == (was, 1)
    AccessKeeper(workspace, is_required=not was).look()
    assert present(workspace).is_required is not was


def test_what_was_altered_by_hand_is_written_again(workspace: Stores, keeper: AccessKeeper) -> None:
    path: Path = access_list_path(workspace.root)
    path.write_bytes(path.read_bytes()[:-7])
    await_list(workspace, lambda found: found.is_required)
    path.unlink()
    await_list(workspace, lambda found: found.is_required)


def test_where_nothing_holds_that_says_so_a_command_closes_it(workspace: Stores) -> None:
    AccessKeeper(workspace, is_required=False).look()
    path = access_list_path(workspace.root)
    path.write_bytes(path.read_bytes()[:-7])
    AccessKeeper(workspace, is_required=None).look()
    assert present(workspace).is_required


def test_after_a_rotation_it_is_signed_with_the_new_key(
    workspace: Stores, keeper: AccessKeeper
) -> None:
    add(workspace, "app")
    await_list(workspace, lambda found: len(found.entries) == 1)
    rotate_key(workspace, by="root")
    await_list(workspace, lambda found: len(found.entries) == 1)
