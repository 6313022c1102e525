"""`seamline approver-key …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.domain.errors import InvalidInput
from seamline.trust.key_files import create_key_files, read_public_key

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("approver-key")
def approver_key() -> None:
    """Keys that approvers sign their approvals with."""


@approver_key.command()
@click.argument("path", type=_FILE, metavar="FILE")
def create(path: Path) -> None:
    """Make a key of your own in FILE; FILE.pub is to be registered. Asks no server."""
    key, public_path = create_key_files(path)
    click.echo(f"{key.public.key_id} in {path}, which nobody else should ever see")
    click.echo(f"register it: seamline approver-key add {public_path}")


@command(approver_key)
@click.argument("path", type=_FILE, metavar="FILE.pub")
def add(client: Client, path: Path) -> tuple[Any, str]:
    """Register your own public key; ssh-ed25519 keys will do. From then on your approvals have to
    be signed with it."""
    try:
        public = read_public_key(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as a public key: {error}.") from error
    found = client.post("/approver-keys", {"public_key": public.text})
    return found, f"{found['key_id']} is {found['principal']}'s ({found['public_key']})"


@command(approver_key, "list")
def list_(client: Client) -> tuple[Any, str]:
    """Everybody's, those that ended among them."""
    found = client.get("/approver-keys")
    columns = ["key_id", "principal", "public_key", "added_at", "ended_at"]
    return found, table(found, columns, "No approver has a key.")


@command(approver_key)
@click.argument("key_id", metavar="ID")
def end(client: Client, key_id: str) -> tuple[Any, str]:
    """End a key: nothing is signed with it any more. An admin does it."""
    found = client.delete(f"/approver-keys/{key_id}")
    return found, f"{found['key_id']} of {found['principal']} ended at {found['ended_at']}"
