"""`seamline token …`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.domain.durations import parse_duration_s


@click.group()
def token() -> None:
    """Tokens: issue within limits, list, rotate, revoke."""


@command(token)
@click.argument("name")
@click.option("--team", help="For what this team owns, and nobody else.")
@click.option("--environment", "environments", multiple=True, help="For this one; repeatable.")
@click.option("--endpoint", "endpoints", multiple=True, help="To ask this, no more; repeatable.")
@click.option("--verb", "verbs", multiple=True, help="For this: read, publish, run, …; repeatable.")
@click.option("--days", type=float, default=90, show_default=True, help="Until it expires.")
def issue(
    client: Client,
    name: str,
    team: str | None,
    environments: tuple[str, ...],
    endpoints: tuple[str, ...],
    verbs: tuple[str, ...],
    days: float,
) -> tuple[Any, str]:
    """Issue a token for a person or a machine; prints it, once. Without limits, it may what they
    may."""
    body = {
        "principal": name,
        "team": team,
        "environments": list(environments) or None,
        "endpoints": list(endpoints) or None,
        "verbs": list(verbs) or None,
        "days": days,
    }
    found = client.post("/tokens", body)
    return found, f"{_about(found)}\ntoken (shown once): {found['token']}"


@command(token, "list")
@click.option("--of", "principal", help="Whose.")
def list_(client: Client, principal: str | None) -> tuple[Any, str]:
    """Tokens with their limits, and until when they hold. Those who are no admins see their own."""
    found = client.get("/tokens", principal=principal)
    rows = [{**one, "for": _limits(one), "ended": _end(one)} for one in found]
    return found, table(rows, ["id", "principal", "for", "expires_at", "ended"], "No tokens.")


@command(token)
@click.argument("token_id", metavar="ID")
@click.option("--grace", default="24h", show_default=True, help="How long the old one goes on.")
def rotate(client: Client, token_id: str, grace: str) -> tuple[Any, str]:
    """Issue another token with the same limits; the old one ends after the time of grace."""
    found = client.post(f"/tokens/{token_id}/rotate", {"grace_s": parse_duration_s(grace)})
    old = f"{found['replaces']} goes on until {found['old_until']}"
    return found, f"{_about(found)}\n{old}\ntoken (shown once): {found['token']}"


@command(token)
@click.argument("token_id", metavar="ID")
def revoke(client: Client, token_id: str) -> tuple[Any, str]:
    """Revoke one token, at once. All of a person: seamline principal revoke."""
    found = client.delete(f"/tokens/{token_id}")
    return found, f"{found['id']} of {found['principal']} revoked at {found['revoked_at']}"


def _about(one: dict[str, Any]) -> str:
    return f"{one['id']} of {one['principal']}, {_limits(one)}, until {one['expires_at']}"


def _limits(one: dict[str, Any]) -> str:
    """
    >>> nothing = {"team": None, "environments": None, "endpoints": None, "verbs": None}
    >>> _limits({**nothing, "team": "arrivals", "verbs": ["publish", "read"]})
    'team arrivals: publish, read'
    >>> _limits({**nothing, "environments": ["production"], "endpoints": ["late-arrival"]})
    'in production: predict with late-arrival'
    >>> _limits(nothing)
    'everything'
    """
    where = [f"team {one['team']}"] if one["team"] else []
    where += [f"in {', '.join(one['environments'])}"] if one["environments"] else []
    what = ", ".join(one["verbs"] or ["everything"])
    if one["endpoints"]:  # no other verb goes with them
        what = f"predict with {', '.join(one['endpoints'])}"
    return f"{' '.join(where)}: {what}" if where else what


def _end(one: dict[str, Any]) -> str:
    if one["revoked_at"]:
        return f"revoked at {one['revoked_at']}"
    return f"replaced by {one['replaced_by']}" if one["replaced_by"] else ""
