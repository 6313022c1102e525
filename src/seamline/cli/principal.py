"""`seamline principal …`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, table


@click.group()
def principal() -> None:
    """People and their tokens."""


@command(principal)
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True)
def add(client: Client, name: str, roles: tuple[str, ...]) -> tuple[Any, str]:
    """Add a person; prints their token, once."""
    found = client.post("/principals", {"name": name, "roles": list(roles)})
    return found, f"{name} ({', '.join(roles)})\ntoken (shown once): {found['token']}"


@command(principal)
@click.argument("name")
def token(client: Client, name: str) -> tuple[Any, str]:
    """Issue another token without limits; prints it, once. With limits: seamline token issue."""
    found = client.post(f"/principals/{name}/tokens")
    return found, f"token {found['id']} (shown once): {found['token']}"


@command(principal)
@click.argument("name")
def revoke(client: Client, name: str) -> tuple[Any, str]:
    """Revoke every token of a person."""
    found = client.delete(f"/principals/{name}/tokens")
    return found, f"{found['revoked']} tokens of {name} revoked"


@command(principal, "list")
def list_(client: Client) -> tuple[Any, str]:
    """Everybody, with their roles and teams."""
    found = client.get("/principals")
    rows = [
        {**one, "roles": ", ".join(one["roles"]), "teams": ", ".join(one["teams"])} for one in found
    ]
    return found, table(rows, ["name", "roles", "teams"], "Nobody yet.")
