"""`seamline secret …`. A value comes from a prompt, from stdin or from a file, never from argv:
arguments are in the shell's history, and every process of the machine can read them."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import body_of
from seamline.cli.command import Client, command, record, table

_environment = click.option("--environment", default="dataops", show_default=True)
_config = click.option(
    "--config", "kind", flag_value="config_map", help="A config map: not confidential."
)


@click.group()
def secret() -> None:
    """Secrets and config maps of an environment."""


def _checked_key(_context: click.Context, _parameter: click.Parameter, key: str) -> str:
    name, separator, _ = key.partition("=")
    if separator:
        raise click.BadParameter(
            f"give {name} alone: its value is asked for, or read from stdin or --file."
        )
    return key


@command(secret, "set")
@click.argument("name")
@click.argument("key", callback=_checked_key)
@click.option("--file", type=click.Path(path_type=Path), help="Its bytes, as they are.")
@_environment
@_config
def set_(
    client: Client, name: str, key: str, file: Path | None, environment: str, kind: str | None
) -> tuple[Any, str]:
    """Set a key of a secret: asks for the value, or reads stdin (less one newline at its end)."""
    if click.get_current_context().args:
        raise click.UsageError("A value is no argument: it is asked for, or read from stdin.")
    value = _bytes_of(file) if file else _typed_or_piped(key)
    found = client.post(
        _path(environment, name),
        {
            "kind": kind or "secret",
            "values_base64": {key: base64.b64encode(value).decode()},
        },
    )
    return found, f"{name} in {environment} has {', '.join(one['key'] for one in found['keys'])}"


# Else click would refuse a value that was typed there, and print it.
set_.allow_extra_args = True


@command(secret, "list")
@_environment
def list_(client: Client, environment: str) -> tuple[Any, str]:
    """Names and keys, and who set them when; never a value."""
    found = client.get(f"/environments/{environment}/secrets")
    rows = [
        {"name": one["name"], "kind": one["kind"], **key} for one in found for key in one["keys"]
    ]
    none = f"No secrets in {environment} yet."
    return found, table(rows, ["name", "key", "kind", "set_at", "set_by"], none)


@command(secret)
@click.argument("name")
@_environment
@_config
def show(client: Client, name: str, environment: str, kind: str | None) -> tuple[Any, str]:
    """One secret's keys; of a config map (--config) also the values."""
    found = client.get(_path(environment, name), kind=kind or "secret")
    values = found.get("values", {})
    rows = [{**one, "value": values.get(one["key"])} for one in found["keys"]]
    columns = ["key", "set_at", "set_by", *(["value"] if "values" in found else [])]
    return found, f"{record(found, ['name', 'environment'])}\n\n{table(rows, columns, '')}"


@command(secret)
@click.argument("name")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@_environment
@_config
def delete(
    client: Client, name: str, keys: tuple[str, ...], environment: str, kind: str | None
) -> tuple[Any, str]:
    """Delete keys of a secret, or all of it."""
    found = client.delete(_path(environment, name), kind=kind or "secret", key=keys)
    left = ", ".join(one["key"] for one in found["keys"])
    return found, f"{name} in {environment} has {left}" if left else f"{name} is deleted"


def _path(environment: str, name: str) -> str:
    return f"/environments/{environment}/secrets/{name}"


def _bytes_of(file: Path) -> bytes:
    body, _ = body_of(file)
    with body:
        return body.read()


def _typed_or_piped(key: str) -> bytes:
    if sys.stdin.isatty():
        typed: str = click.prompt(f"Value of {key}", hide_input=True, err=True)
        return typed.encode()
    piped = sys.stdin.buffer.read()
    if not piped:
        raise click.UsageError("Nothing came on stdin. For an empty value, give --file /dev/null.")
    return piped.removesuffix(b"\n").removesuffix(b"\r")
