"""`seamline data …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seamline.cli.client import body_of
from seamline.cli.command import Client, command, record, table
from seamline.cli.data_columns import column_table
from seamline.cli.data_contract import contract, quarantine, say_breaches
from seamline.cli.data_diff import diff
from seamline.cli.data_export import export, pin, pins
from seamline.cli.data_mirror import mirror
from seamline.cli.data_rows import list_versions, read, splits, tag, tags
from seamline.cli.ingesting import counted, ingest_bar


@click.group()
def data() -> None:
    """Datasets and their versions."""


for outside in (contract, diff, export, mirror, pin, pins, quarantine, read, splits, tag, tags):
    data.add_command(outside)


@command(data)
@click.argument("name")
@click.argument("delivery", metavar="[PATH|URI]", required=False)
@click.option("--since", help="Begin with rows at this value of a database's `since` column.")
def ingest(client: Client, name: str, delivery: str | None, since: str | None) -> tuple[Any, str]:
    """Check a delivery against the contract of dataset NAME and commit it as a new version.

    PATH is a file of this machine. A URI (s3:// gs:// az:// file:// postgresql:// …) is read by the
    server and has to lie below the dataset's declared source; without either, that source is read.
    The same delivery twice is one version.
    """
    if delivery is None or "://" in delivery:
        with ingest_bar(client, name):
            found = client.post(f"/datasets/{name}/ingests", {"uri": delivery, "since": since})
    elif since is not None:
        raise click.UsageError("--since is for a declared source, not for a file.")
    else:
        file = Path(delivery)
        body, size = body_of(file)
        with body, ingest_bar(client, name) as bar:
            sent = counted(body, file, size, bar)
            found = client.upload(f"/datasets/{name}/deliveries", sent, size, source=file.name)
    verb = "committed" if found["is_new"] else "was delivered before, or brings nothing new:"
    told = (
        f"{found['dataset']}@{found['version']} {verb} {found['rows_added']:,} rows "
        f"({found['rows']:,} in all), digest {found['digest'][7:19]}"
    )
    return found, "\n".join([told, *say_breaches(found)])


@command(data, "list")
@click.argument("name", required=False)
def list_(client: Client, name: str | None) -> tuple[Any, str]:
    """All datasets; or the versions of dataset NAME, newest first."""
    if name is not None:
        return list_versions(client, name)
    found = client.get("/datasets")
    return found, table(found, ["name", "version", "rows", "digest", "at"], "No datasets yet.")


@command(data)
@click.argument("reference")
def show(client: Client, reference: str) -> tuple[Any, str]:
    """One version (NAME@VERSION, or NAME for the newest): schema, profile, origin."""
    found = client.get(f"/datasets/{reference}")
    shown = {**found, "tags": ", ".join(found["tags"]) or None}
    names = ["dataset", "version", "tags", "digest", "rows", "source", "run_id", "at"]
    head = record(shown, names)
    if found["removal"] is not None:
        head += f"\nits rows are gone: {found['removal']['reason']}"
    lines = [head, *say_breaches(found), "", column_table(found["columns"])]
    return found, "\n".join(lines)


@command(data)
@click.argument("reference")
def verify(client: Client, reference: str) -> tuple[Any, str]:
    """Recompute the digest of every file of a version."""
    found = client.get(f"/datasets/{reference}/verify")
    return found, f"{found['dataset']}@{found['version']}: {found['files']} files agree"
