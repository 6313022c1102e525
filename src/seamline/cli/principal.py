"""`seamline principal …`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.domain.errors import InvalidInput

_IN = "Only in this environment."
_FOR = "Only for this team's things."


@click.group()
def principal() -> None:
    """People: their roles and tokens."""


@command(principal)
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, help="Repeatable.")
@click.option("--in", "environments", multiple=True, help=f"{_IN} Repeatable.")
@click.option("--team", "teams", multiple=True, help=f"{_FOR} Repeatable.")
def add(
    client: Client,
    name: str,
    roles: tuple[str, ...],
    environments: tuple[str, ...],
    teams: tuple[str, ...],
) -> tuple[Any, str]:
    """Add a person; prints their token, once."""
    body = {
        "name": name,
        "roles": list(roles),
        "environments": list(environments) or None,
        "teams": list(teams) or None,
    }
    found = client.post("/principals", body)
    return found, f"{_about(found)}\ntoken (shown once): {found['token']}"


@command(principal)
@click.argument("name")
def show(client: Client, name: str) -> tuple[Any, str]:
    """A person: roles, teams, and what is known of their tokens."""
    found = client.get(f"/principals/{name}")
    tokens = [{**one, "ended": one["revoked_at"] or ""} for one in found.get("tokens", ())]
    columns = ["id", "team", "environments", "endpoints", "verbs", "expires_at", "ended"]
    said = f"\n\n{table(tokens, columns, 'No tokens.')}" if "tokens" in found else ""
    return found, f"{_about(found)}\nteams: {', '.join(found['teams']) or 'none'}{said}"


@command(principal)
@click.argument("name")
@click.option("--role", required=True)
@click.option("--in", "environment", help=_IN)
@click.option("--team", help=_FOR)
def grant(
    client: Client, name: str, role: str, environment: str | None, team: str | None
) -> tuple[Any, str]:
    """Give a person another role: everywhere, or in an environment, or for a team."""
    body = {"role": role, "environment": environment, "team": team}
    found = client.post(f"/principals/{name}/roles", body)
    return found, _about(found)


@command(principal)
@click.argument("name")
@click.option("--role", help="Only this role, as it was granted; else every token.")
@click.option("--in", "environment", help=_IN)
@click.option("--team", help=_FOR)
def revoke(
    client: Client, name: str, role: str | None, environment: str | None, team: str | None
) -> tuple[Any, str]:
    """Revoke every token of a person; with --role, take back that role instead."""
    if role is not None:
        body = {"role": role, "environment": environment, "team": team}
        found = client.post(f"/principals/{name}/roles/take", body)
        return found, _about(found)
    if environment is not None or team is not None:
        raise InvalidInput("--in and --team say which role is meant.", next_step="Name it: --role.")
    found = client.delete(f"/principals/{name}/tokens")
    return found, f"{found['revoked']} tokens of {name} revoked"


@command(principal)
@click.argument("name")
def token(client: Client, name: str) -> tuple[Any, str]:
    """Issue another token without limits; prints it, once. With limits: seamline token issue."""
    found = client.post(f"/principals/{name}/tokens")
    return found, f"token {found['id']} (shown once): {found['token']}"


@command(principal, "list")
def list_(client: Client) -> tuple[Any, str]:
    """Everybody, with their roles and teams."""
    found = client.get("/principals")
    rows = [{**one, "roles": _roles(one), "teams": ", ".join(one["teams"])} for one in found]
    return found, table(rows, ["name", "roles", "teams"], "Nobody yet.")


def _about(one: dict[str, Any]) -> str:
    return f"{one['name']} ({_roles(one)})"


def _roles(one: dict[str, Any]) -> str:
    """
    >>> limited = {"role": "approver", "environment": "production", "team": "arrivals"}
    >>> _roles({"roles": ["viewer"], "grants": [limited]})
    'viewer, approver in production for arrivals'
    >>> _roles({"roles": [], "grants": []})
    'no role'
    """
    said = list(one["roles"])
    for grant in one["grants"]:
        where = f" in {grant['environment']}" if grant["environment"] else ""
        whose = f" for {grant['team']}" if grant["team"] else ""
        said.append(f"{grant['role']}{where}{whose}")
    return ", ".join(said) or "no role"
