"""`seamline data contract …`, `seamline data quarantine`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import text_of
from seamline.cli.command import Client, command
from seamline.domain.errors import InvalidInput, SeamlineError

_BROKEN, _ERROR = 1, 2
_OUT = click.option(
    "--out", type=click.Path(path_type=Path), help="Write it to this file, and not to the terminal."
)


@click.group()
def contract() -> None:
    """What the deliveries of a dataset are held to."""


@command(contract)
@click.argument("reference", metavar="NAME[@VERSION]")
@_OUT
def infer(client: Client, reference: str, out: Path | None) -> tuple[Any, str]:
    """Suggest a contract from a version's profile, as YAML to be edited.

    Types, keys and small sets of values are rules; ranges stand as comments.
    """
    found = client.get(f"/datasets/{reference}/suggested-contract")
    return found, _put(found["text"], out)


@command(contract)
@click.argument("name")
def show(client: Client, name: str) -> tuple[Any, str]:
    """What the next delivery of dataset NAME is held to."""
    found = client.get(f"/datasets/{name}/contract")
    lines = [f"# {found['from']}, digest {found['digest'][7:19]}", found["text"].rstrip()]
    if found["newest"] is not None:
        lines += [f"# {line}" for line in say_breaches(found["newest"])]
    return found, "\n".join(lines)


@command(contract)
@click.argument("name")
@click.option("--to", required=True, type=click.Choice(["pandera", "json-schema"]))
@_OUT
def export(client: Client, name: str, to: str, out: Path | None) -> tuple[Any, str]:
    """The contract of dataset NAME for another tool: a Pandera module, or JSON Schema of a row."""
    found = client.get(f"/datasets/{name}/contract/export", to=to)
    return found, _put(found["text"], out)


@contract.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--null", "nulls", multiple=True, help="Text that means missing (repeatable).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(
    context: click.Context, file: Path, data: Path, nulls: tuple[str, ...], as_json: bool
) -> None:
    """Hold DATA to the contract in FILE, here and without a server.

    Exit code 0 when it keeps it, 1 when it breaks it, 2 when that cannot be told.
    """
    from seamline.data.contracts.offline import check_file
    from seamline.measure.contracts import NULL_VALUES

    try:
        with tempfile.TemporaryDirectory() as folder:
            found = check_file(text_of(file), str(file), data, Path(folder), nulls or NULL_VALUES)
    except SeamlineError as error:
        click.echo(f"{error.code}: {error}", err=True)
        context.exit(_ERROR)
    if as_json:
        told = [violation.to_json() for violation in found.violations]
        click.echo(json.dumps({"rows": found.rows, "violations": told}, indent=2))
    else:
        lines = [f"{one.does}: {one.sentence()}" for one in found.violations]
        lines.append(f"{data.name}: {found.rows:,} rows, {len(lines)} rules of {file.name} broken")
        click.echo("\n".join(lines))
    context.exit(_BROKEN if found.violations else 0)


@command(name="quarantine")
@click.argument("reference", metavar="NAME[@VERSION]")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
def quarantine(client: Client, reference: str, limit: int) -> tuple[Any, str]:
    """Rows that a version's delivery had to leave behind, as they were delivered, and why."""
    found = client.get(f"/datasets/{reference}/quarantine", limit=limit)
    name = f"{found['dataset']}@{found['version']}"
    lines = [f"{name}: {found['rows_quarantined']:,} rows of {found['source']} are set aside"]
    for row in found["rows"]:
        values = json.dumps(row["values"], ensure_ascii=False)
        lines.append(f"  row {row['row']:,}: {row['reasons']}: {values}")
    return found, "\n".join(lines)


def say_breaches(version: Mapping[str, Any]) -> list[str]:
    """
    >>> bad = {"version": 3, "breaches": [{"sentence": "a: bad."}], "rows_quarantined": 2}
    >>> say_breaches(bad)
    ['version 3 breaks its contract: a: bad.', 'version 3: 2 rows are set aside']
    """
    number = version["version"]
    broken = (one["sentence"] for one in version["breaches"])
    lines = [f"version {number} breaks its contract: {one}" for one in broken]
    if version["rows_quarantined"]:
        lines.append(f"version {number}: {version['rows_quarantined']:,} rows are set aside")
    return lines


def _put(text: str, out: Path | None) -> str:
    if out is None:
        return text.rstrip()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror}.") from error
    return f"{out} is written."
