"""`seamline pipeline check|diff`: would a version break the users of another, and what changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import body_of
from seamline.cli.command import Client, command, wants_json
from seamline.cli.pipeline_options import in_repository
from seamline.cli.pipeline_words import say_diff, say_verdict


@command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--against", metavar="TAG", help="TAG or NAME@TAG; default: what --as follows.")
@click.option("--as", "version", metavar="VERSION", help="The intended version, 1.3.0 for one.")
@in_repository
def check(
    client: Client, file: Path, against: str | None, version: str | None, repository: str
) -> tuple[Any, str]:
    """The verdict that publishing FILE would get; exit code 1 when it would be refused.

    Without --as, any break is one.
    """
    body, size = body_of(file)
    with body:
        query = {"against": against, "as": version, "repository": repository}
        found = client.upload("/pipeline-checks", body, size, **query)
    if found["verdict"] == "breaking":
        click.echo(json.dumps(found, indent=2) if wants_json() else say_verdict(found))
        click.get_current_context().exit(1)
    return found, say_verdict(found)


@command()
@click.argument("before", metavar="NAME@TAG")
@click.argument("after", metavar="NAME@TAG|TAG")
@in_repository
def diff(client: Client, before: str, after: str, repository: str) -> tuple[Any, str]:
    """What changed between two versions: inputs, outputs, components."""
    named = after if "@" in after else f"{before.partition('@')[0]}@{after}"
    found = client.get("/pipeline-diffs", before=before, after=named, repository=repository)
    return found, say_diff(found)
