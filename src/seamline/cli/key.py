"""`seamline key …`: the keys that the workspace signs with."""

from __future__ import annotations

import os
from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.cli.pins import keep_pin, pinned_key, pins_path, place_of
from seamline.domain.errors import not_found
from seamline.trust.key_history import check_pin, read_history


@click.group()
def key() -> None:
    """The workspace's signing keys: see, rotate, pin."""


@command(key, "list")
def list_(client: Client) -> tuple[Any, str]:
    """All keys, the current one last."""
    found = client.get("/keys")["keys"]
    columns = ["key_id", "public_key", "begins_at", "ended_at", "statements"]
    return found, table(found, columns, "Nothing was signed yet.")


@command(key)
def rotate(client: Client) -> tuple[Any, str]:
    """End the current key; another signs from now on.

    What the old key has signed stays trusted: its end lists every statement of it. Its private
    half is deleted. Whoever has pinned it needs to do nothing.
    """
    found = client.post("/keys/rotate")
    return found, f"{found['key_id']} signs from now on ({found['public_key']})"


@command(key)
@click.argument("wanted", metavar="[KEY]", required=False)
def pin(client: Client, wanted: str | None) -> tuple[Any, str]:
    """Trust this workspace by its key from now on, as this user on this machine.

    KEY: id or public key, as the workspace's owner told it to you; without one, the key that the
    server names now is taken. Where another is pinned already, the history has to lead from that
    one to the current key.
    """
    settings, path = click.get_current_context().find_root().obj, pins_path(os.environ)
    told = client.get("/keys")["history"]
    history = read_history([entry.encode() for entry in told])
    before = pinned_key(settings, path)
    if before is not None:
        check_pin(history, before)
    if wanted is not None and history.find(wanted) is None:
        known = [name for one in history.keys for name in (one.key_id, one.text)]
        raise not_found("key of this workspace", wanted, known)
    current = history.current.public
    keep_pin(settings, path, current.text)
    data = {"place": place_of(settings), "key_id": current.key_id, "public_key": current.text}
    return data, f"{place_of(settings)} is trusted by key {current.key_id}, kept in {path}"
