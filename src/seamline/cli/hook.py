"""`seamline hook …`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.domain.errors import InvalidInput

_STATES = ("pending", "delivered", "failed", "canceled")
_DELIVERY = ["fact_id", "kind", "state", "attempts", "status", "tried_at", "error"]


@click.group()
def hook() -> None:
    """Hooks: who is told of facts, and what became of it."""


@command(hook, "list")
def list_(client: Client) -> tuple[Any, str]:
    """Hooks that are declared, how much each was told, and what it waits for."""
    found = client.get("/hooks")
    rows = [{**one, "waits_for": _waits(one["next"])} for one in found]
    columns = ["name", "url", "delivered", "pending", "failed", "waits_for"]
    return found, table(rows, columns, "No hooks: declare one as [hooks.NAME] in seamline.toml.")


@command(hook)
@click.argument("name")
@click.option("--state", type=click.Choice(_STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
def deliveries(client: Client, name: str, state: str | None, limit: int) -> tuple[Any, str]:
    """What a hook was told, newest first."""
    found = client.get(f"/hooks/{name}/deliveries", state=state, limit=limit)
    return found, table(found, _DELIVERY, "Nothing yet.")


@command(hook)
@click.argument("name")
@click.argument("fact_id", required=False, metavar="[FACT]")
@click.option("--failed", is_flag=True, help="All that were given up.")
def redeliver(client: Client, name: str, fact_id: str | None, failed: bool) -> tuple[Any, str]:
    """Tell a hook of a fact again, or of all that were given up (--failed); before what waits."""
    if (fact_id is None) != failed:
        raise InvalidInput(
            "Name one fact, or say --failed.", next_step=f"seamline hook deliveries {name}"
        )
    found = client.post(f"/hooks/{name}/redeliveries", {"fact_id": fact_id})
    return found, table(found, ["fact_id", "kind", "state"], "Nothing was given up.")


def _waits(first: dict[str, Any] | None) -> str | None:
    """
    >>> _waits({"attempts": 2, "error": "It answered 500.", "due_at": "2026-01-01T00:00:04Z"})
    'It answered 500. (attempt 3 at 2026-01-01T00:00:04Z)'
    """
    if first is None:
        return None
    if not first["error"] or not first["attempts"]:
        return "its turn"
    at = f" at {first['due_at']}" if first["due_at"] else ""
    return f"{first['error']} (attempt {first['attempts'] + 1}{at})"
