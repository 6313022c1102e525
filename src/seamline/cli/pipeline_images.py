"""`seamline pipeline images`: what the images of a pipeline stand for."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.cli.pipeline_options import in_repository
from seamline.domain.errors import InvalidInput


@command()
@click.argument("reference", metavar="NAME@TAG")
@click.option("--again", is_flag=True, help="Ask the registries for those without a digest.")
@in_repository
def images(client: Client, reference: str, again: bool, repository: str) -> tuple[Any, str]:
    """Images of container components with their digests, as they were looked up at publishing.

    A release needs a digest for each. Lightweight components run without their images, which are
    not listed.
    """
    name, _, tag = reference.partition("@")
    if not tag:
        raise InvalidInput(f"{reference!r} names no tag.", next_step=f"Write {name}@1.0.0.")
    path = f"/pipeline-images/{name}/{tag}"
    if again:
        found = client.post(path, repository=repository)
    else:
        found = client.get(path, repository=repository)
    columns = ["reference", "digest", "note", "looked_up_at"]
    return found, table(found, columns, "No component runs in an image.")
