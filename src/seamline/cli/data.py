"""`seamline data …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seamline.cli.client import body_of
from seamline.cli.command import Client, command, record, table
from seamline.cli.progress import read_with_progress


@click.group()
def data() -> None:
    """Datasets and their versions."""


@command(data)
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
def ingest(client: Client, name: str, file: Path) -> tuple[Any, str]:
    """Check a delivery against the contract of dataset NAME and commit it as a new version."""
    body, size = body_of(file)
    with body, read_with_progress(body, file, size) as sent:
        found = client.upload(f"/datasets/{name}/deliveries", sent, size, source=file.name)
    verb = "committed" if found["is_new"] else "was delivered before:"
    return found, (
        f"{found['dataset']}@{found['version']} {verb} {found['rows_added']:,} rows "
        f"({found['rows']:,} in all), digest {found['digest'][7:19]}"
    )


@command(data, "list")
def list_(client: Client) -> tuple[Any, str]:
    """All datasets."""
    found = client.get("/datasets")
    return found, table(found, ["name", "version", "rows", "digest", "at"], "No datasets yet.")


@command(data)
@click.argument("reference")
def show(client: Client, reference: str) -> tuple[Any, str]:
    """One version (NAME@VERSION, or NAME for the newest): schema, profile, origin."""
    found = client.get(f"/datasets/{reference}")
    head = record(found, ["dataset", "version", "digest", "rows", "source", "run_id", "at"])
    columns = table(found["columns"], ["name", "dtype", "missing", "min", "max", "mean"], "")
    return found, f"{head}\n\n{columns}"


@command(data)
@click.argument("reference")
def verify(client: Client, reference: str) -> tuple[Any, str]:
    """Recompute the digest of every file of a version."""
    found = client.get(f"/datasets/{reference}/verify")
    return found, f"{found['dataset']}@{found['version']}: {found['files']} files agree"
