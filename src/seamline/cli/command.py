"""What every command shares: `--json`, a client, and one way to print."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from seamline.cli.client import Client, connect

#: Commands of these names, of whatever group, change nothing: a mistyped `cd` makes no workspace.
READING = frozenset({
    "board", "compare", "deliveries", "diff", "export", "follow", "list", "log", "logs", "names",
    "pins", "pull", "quarantine", "read", "show", "splits", "tags", "verify", "wait", "why",
})  # fmt: skip


def command(
    group: click.Group | None = None, name: str | None = None
) -> Callable[[Callable[..., Any]], click.Command]:
    """A command whose function takes a Client first and returns (data, text for people).

    Data goes to stdout as JSON with `--json`, else the text; talk goes to stderr. A function that
    has printed everything itself returns None (see `wants_json`).
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        spoken = name or function.__name__.rstrip("_").replace("_", "-")

        def run(as_json: bool, **arguments: Any) -> None:
            settings = click.get_current_context().find_root().obj
            with connect(settings, must_exist=spoken in READING) as client:
                found = function(client, **arguments)
                # Now: a server in this process goes on until nothing is left to do.
                if found is not None:
                    data, text = found
                    click.echo(json.dumps(data, indent=2) if as_json else text)

        functools.update_wrapper(run, function)
        json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
        return click.command(spoken)(json_flag(run))

    def register(function: Callable[..., Any]) -> click.Command:
        made = decorate(function)
        if group is not None:
            group.add_command(made)
        return made

    return register


def wants_json() -> bool:
    """Whether the command that is running was asked for JSON."""
    return bool(click.get_current_context().params["as_json"])


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str], none: str) -> str:
    """Plain aligned text: the same on a terminal and in a pipe."""
    if not rows:
        return none
    texts = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [
        max(len(column), *(len(line[index]) for line in texts))
        for index, column in enumerate(columns)
    ]
    lines = [columns, *texts]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def record(row: dict[str, Any], names: Sequence[str]) -> str:
    width = max(map(len, names))
    return "\n".join(f"{name.ljust(width)}  {_cell(row.get(name))}" for name in names)


def key_values(pairs: Sequence[str]) -> dict[str, str]:
    """["a=1"] → {"a": "1"}; a usage error otherwise."""
    found = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{pair!r} has to be NAME=VALUE.")
        found[name] = value
    return found


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, str) and value.startswith("sha256:"):
        return value[7:19]
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(value)


__all__ = ["Client", "command", "key_values", "record", "table", "wants_json"]
