"""`seamline plan` and `seamline apply`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import text_of
from seamline.cli.command import Client, command

FILE = click.argument(
    "file", type=click.Path(path_type=Path), default=Path("seamline.toml"), required=False
)


@command()
@FILE
def plan(client: Client, file: Path) -> tuple[Any, str]:
    """Say what applying FILE (default: seamline.toml) would change."""
    data = client.post("/project/plan", _body(file))
    return data, _text(data, "would change")


@command()
@FILE
def apply(client: Client, file: Path) -> tuple[Any, str]:
    """Apply FILE (default: seamline.toml); the same file again changes nothing."""
    data = client.post("/project/apply", _body(file))
    return data, _text(data, "changed")


def _body(file: Path) -> dict[str, Any]:
    text = text_of(file)
    paths = contract_paths(text)
    found = {path: text_of(file.parent / path) for path in paths if (file.parent / path).is_file()}
    return {"file": str(file), "text": text, "contracts": found}


def contract_paths(text: str) -> list[str]:
    """The contracts' files that the datasets name; what does not read is the server's to tell.

    >>> contract_paths('[datasets.calls]\\ncontract = "contracts/calls.yaml"')
    ['contracts/calls.yaml']
    """
    try:
        datasets = tomllib.loads(text).get("datasets", {})
    except (tomllib.TOMLDecodeError, RecursionError):
        return []
    tables = datasets.values() if isinstance(datasets, dict) else []
    named = (one.get("contract") for one in tables if isinstance(one, dict))
    return sorted({path for path in named if isinstance(path, str)})


def _text(data: dict[str, Any], verb: str) -> str:
    if not data["changes"]:
        return f"{data['project']}: nothing {verb}."
    lines = [
        f"  {one['sign']} {one['section']}.{one['name']}"
        + (f": {one['detail']}" if one["detail"] else "")
        for one in data["changes"]
    ]
    return "\n".join([f"{data['project']}: {len(lines)} {verb}", *lines])
