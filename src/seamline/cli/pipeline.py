"""`seamline pipeline …`: the same registry that kfp's RegistryClient speaks to."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import body_of
from seamline.cli.command import Client, command, record, table


@click.group()
def pipeline() -> None:
    """Pipelines and their tags."""


@command(pipeline)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--tag", "tags", multiple=True, help="Tag to set; can be given several times.")
@click.option("--commit", help="Of the code it was compiled from; default: git's, right here.")
def push(client: Client, file: Path, tags: tuple[str, ...], commit: str | None) -> tuple[Any, str]:
    """Publish a compiled pipeline."""
    body, size = body_of(file)
    with body:
        found = client.upload(
            "/pipelines", body, size, tags=",".join(tags) or None, commit=commit or _commit_here()
        )
    return found, f"{found['package']} {found['digest']} {' '.join(found['tags'])}".rstrip()


@command(pipeline, "list")
def list_(client: Client) -> tuple[Any, str]:
    """All pipelines of the default repository."""
    found = client.get("/pipelines")
    rows = [{**one, "tags": " ".join(one["tags"])} for one in found]
    return found, table(rows, ["package", "versions", "tags"], "No pipelines yet.")


@command(pipeline)
@click.argument("reference")
def show(client: Client, reference: str) -> tuple[Any, str]:
    """One pipeline, NAME@TAG: digest, and where the server keeps it."""
    found = client.get(f"/pipelines/{reference}")
    return found, record(found, ["package", "digest", "path"])


def _commit_here() -> str | None:
    """The checked-out commit, with +changes when files differ from it; None outside of git."""
    try:
        head, changes = (
            subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.strip() + ("+changes" if changes.strip() else "")
