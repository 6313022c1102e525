"""`seamline team …`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, table


@click.group()
def team() -> None:
    """Teams, who is in them, and which published names are theirs."""


@command(team)
@click.argument("name")
def add(client: Client, name: str) -> tuple[Any, str]:
    """Add a team."""
    return client.post("/teams", {"name": name}), f"{name} added"


@command(team)
@click.argument("name", metavar="TEAM")
@click.argument("principal")
def join(client: Client, name: str, principal: str) -> tuple[Any, str]:
    """Put somebody into a team."""
    found = client.post(f"/teams/{name}/members", {"principal": principal})
    return found, f"{principal} belongs to {name}"


@command(team)
@click.argument("name", metavar="TEAM")
@click.argument("principal")
def leave(client: Client, name: str, principal: str) -> tuple[Any, str]:
    """Take somebody out of a team; their tokens for it stop at once."""
    found = client.delete(f"/teams/{name}/members/{principal}")
    return found, f"{principal} no longer belongs to {name}"


@command(team, "list")
def list_(client: Client) -> tuple[Any, str]:
    """All teams, with their members."""
    found = client.get("/teams")
    rows = [{**one, "members": ", ".join(one["members"])} for one in found]
    return found, table(rows, ["name", "members"], "No teams yet.")


@command(team)
@click.option("--team", "name", help="Of this team only.")
def names(client: Client, name: str | None) -> tuple[Any, str]:
    """Whose each published name is: packages, and pipelines by repository."""
    found = client.get("/names", team=name)
    rows = [{**one, "published first by": one["owner"]} for one in found]
    columns = ["registry", "name", "team", "published first by"]
    return found, table(rows, columns, "Nothing was published yet.")


@command(team)
@click.argument("name", metavar="TEAM")
@click.option("--package", help="Name of a package (wheel).")
@click.option("--pipeline", help="Name of a pipeline.")
@click.option("--repository", help="Of the pipeline.  [default: default/main]")
def give(
    client: Client,
    name: str,
    package: str | None,
    pipeline: str | None,
    repository: str | None,
) -> tuple[Any, str]:
    """Hand a published name over to a team, whoever published it first."""
    if (package is None) == (pipeline is None):
        raise click.UsageError("Give either --package or --pipeline.")
    if package is not None and repository is not None:
        raise click.UsageError("--repository goes with --pipeline.")
    body = {"kind": "package" if package else "pipeline", "name": package or pipeline}
    found = client.post(
        f"/teams/{name}/names", body if repository is None else {**body, "repository": repository}
    )
    return found, f"{found['name']} ({found['registry']}) belongs to {found['team']}"
