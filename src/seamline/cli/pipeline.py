"""`seamline pipeline …`: the same registry that kfp's RegistryClient speaks to."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import body_of
from seamline.cli.command import Client, command, record, table
from seamline.cli.pipeline_check import check, diff
from seamline.cli.pipeline_files import lock, outdated, pull
from seamline.cli.pipeline_images import images
from seamline.cli.pipeline_options import in_repository
from seamline.cli.pipeline_words import say_moving, say_pipeline


@click.group()
def pipeline() -> None:
    """Pipelines and their tags."""


@command(pipeline)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--tag", "tags", multiple=True, help="Tag to set; can be given several times.")
@click.option("--commit", help="Of the code it was compiled from; default: git's, right here.")
@in_repository
def push(
    client: Client, file: Path, tags: tuple[str, ...], commit: str | None, repository: str
) -> tuple[Any, str]:
    """Publish a compiled pipeline.

    Under an x.y.z tag its interface must not break the users of the version before, unless it is
    a new major version.
    """
    body, size = body_of(file)
    with body:
        found = client.upload(
            "/pipelines",
            body,
            size,
            tags=",".join(tags) or None,
            commit=commit or _commit_here(),
            repository=repository,
        )
    line = f"{found['package']} {found['digest']} {' '.join(found['tags'])}".rstrip()
    return found, "\n".join([line, *say_moving(tags)])


@command(pipeline, "list")
@in_repository
def list_(client: Client, repository: str) -> tuple[Any, str]:
    """All pipelines of a repository."""
    found = client.get("/pipelines", repository=repository)
    rows = [{**one, "tags": " ".join(one["tags"])} for one in found]
    return found, table(rows, ["package", "versions", "tags"], "No pipelines yet.")


@command(pipeline)
@click.argument("reference")
@in_repository
def show(client: Client, reference: str, repository: str) -> tuple[Any, str]:
    """One pipeline, NAME@TAG: interface, tags and who moved them, and who uses it."""
    found = client.get(f"/pipelines/{reference}", repository=repository)
    return found, say_pipeline(found)


@command(pipeline)
@click.argument("name")
@click.argument("version", metavar="DIGEST|TAG")
@click.argument("new_tag", metavar="NEWTAG")
@in_repository
def tag(client: Client, name: str, version: str, new_tag: str, repository: str) -> tuple[Any, str]:
    """Let NEWTAG stand for a version. Tags like 1.0.0 never move; all others do."""
    body = {"tag": new_tag, "version": version}
    found = client.post(f"/pipelines/{name}/tags", body, repository=repository)
    return found, "\n".join([record(found, ["package", "tag", "digest"]), *say_moving([new_tag])])


for one in (pull, lock, outdated, check, diff, images):
    pipeline.add_command(one)


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
