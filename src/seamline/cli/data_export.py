"""`seamline data export|pin|pins`: rows that leave, and tables that stay where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seamline.cli.command import Client, command, table


@command(name="export")
@click.argument("what")
@click.option(
    "--to", required=True, help="URI: s3:// gs:// az:// postgresql:// mysql:// or a path."
)
@click.option(
    "--as",
    "form",
    type=click.Choice(["file", "folder", "delta", "table"]),
    help="Not said: a table of a database, a file where the name ends like one, else a folder.",
)
@click.option("--table", help="Table of a database: TABLE or SCHEMA.TABLE.")
@click.option("--credentials", help="Secret of the environment, whose key uri names the place.")
@click.option("--since", metavar="DAY", help="First day of the rows, as 2026-03-01.")
@click.option("--until", metavar="DAY", help="The day after the last.")
@click.option("--predictions", is_flag=True, help="WHAT is an endpoint: its logged predictions.")
@click.option("--environment", default="dataops", show_default=True)
def export(client: Client, what: str, to: str, predictions: bool, **given: Any) -> tuple[Any, str]:
    """Send the rows of WHAT (NAME@VERSION) to another place: once, however often it is asked."""
    place = to if "://" in to else f"file://{Path(to).absolute()}"
    path = f"/endpoints/{what}/exports" if predictions else f"/datasets/{what}/exports"
    said = {key: value for key, value in given.items() if value is not None}
    found = client.post(path, {"to": place, **said})
    verb = "are in" if found["is_new"] else "were already in"
    gone = f"\nSome have no features: {why}" if (why := found.get("features_gone")) else ""
    return found, (
        f"{found['rows']:,} rows of {found['what']} {verb} {found['target']} "
        f"(digest {found['digest'][7:19]}){gone}"
    )


@command(name="pin")
@click.argument("name")
@click.option("--copy", is_flag=True, help="Also take the rows in, as a version.")
def pin(client: Client, name: str, copy: bool) -> tuple[Any, str]:
    """Register the warehouse's table of dataset NAME as it is now; its rows stay there."""
    found = client.post(f"/datasets/{name}/pins", {"copy_rows": copy})
    verb = "is" if found["is_new"] else "was already"
    text = (
        f"{found['uri']} {verb} pinned as {name} pin {found['number']}: {found['kind']} "
        f"{found['value']}, {found['rows']:,} rows\n{found['statement']}"
    )
    if copy:
        version = found["version"]
        verb = "committed" if version["is_new"] else "was delivered before:"
        text += f"\n{name}@{version['version']} {verb} {version['rows']:,} rows"
    return found, text


@command(name="pins")
@click.argument("name")
def pins(client: Client, name: str) -> tuple[Any, str]:
    """The pins of dataset NAME, newest first."""
    found = client.get(f"/datasets/{name}/pins")
    columns = ["number", "kind", "value", "rows", "digest", "pinned_by", "at"]
    return found, table(found, columns, "No pins yet.")
