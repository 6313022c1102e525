"""`seamline rollback`, `seamline hold …` and `seamline glass …`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.cli.promotion import promotion_text, settle
from seamline.domain.durations import parse_duration_s

_HOLDS = ["environment", "set_by", "set_at", "reason", "release"]
_GLASS = ["environment", "principal", "until", "reason"]


@command()
@click.argument("environment")
@click.option("--reason", required=True)
@click.option("--to", metavar="RELEASE", help="Another one than that which was live before.")
def rollback(client: Client, environment: str, reason: str, to: str | None) -> tuple[Any, str]:
    """Back to the release that was live before, and hold the one that goes."""
    body = {"environment": environment, "reason": reason, "to": to}
    found = settle(client, client.post("/rollbacks", body)["id"])
    held = f"\n\n{environment} is on hold; when it may go on: seamline hold lift {environment}"
    return found, promotion_text(found) + held


@click.group()
def hold() -> None:
    """Holds: nothing comes into the environment by itself."""


@command(hold, "list")
def list_holds(client: Client) -> tuple[Any, str]:
    """What is on hold, since when and why."""
    found = client.get("/holds")
    return found, table(found, _HOLDS, "Nothing is on hold.")


@command(hold, "set")
@click.argument("environment")
@click.option("--reason", required=True)
def set_(client: Client, environment: str, reason: str) -> tuple[Any, str]:
    """Keep every regular promotion out of an environment until the hold is lifted."""
    found = client.post("/holds", {"environment": environment, "reason": reason})
    return found, table([found], _HOLDS, "")


@command(hold)
@click.argument("environment")
@click.option("--reason", required=True)
def lift(client: Client, environment: str, reason: str) -> tuple[Any, str]:
    """Lift all holds of an environment."""
    found = client.post("/holds/lift", {"environment": environment, "reason": reason})
    return found, f"lifted {len(found)} on {environment}"


@click.group()
def glass() -> None:
    """Emergencies: break the glass, promote with --emergency, mend it."""


@command(glass, "list")
def list_glass(client: Client) -> tuple[Any, str]:
    """What is broken now, by whom and until when."""
    found = client.get("/glass")
    return found, table(found, _GLASS, "All glass is whole.")


@command(glass, "break")
@click.argument("environment")
@click.option("--reason", required=True)
@click.option("--for", "lasts", default="1h", show_default=True, metavar="DURATION")
def break_(client: Client, environment: str, reason: str, lasts: str) -> tuple[Any, str]:
    """Promote past approvals, soak, windows and gates on quality, for a while; all see it."""
    body = {"environment": environment, "reason": reason, "lasts_s": parse_duration_s(lasts)}
    found = client.post("/glass", body)
    next_step = f"seamline promote RELEASE --to {environment} --emergency"
    return found, f"{table([found], _GLASS, '')}\n\n{next_step}"


@command(glass)
@click.argument("environment")
def mend(client: Client, environment: str) -> tuple[Any, str]:
    """Close it before its time."""
    found = client.post("/glass/mend", {"environment": environment})
    return found, f"mended {len(found)} in {environment}"
