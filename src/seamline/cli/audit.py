"""`seamline audit …` and `seamline why`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.domain.errors import Refused


@click.group()
def audit() -> None:
    """The ledger of facts: verify and read it."""


@command(audit)
def verify(client: Client) -> tuple[Any, str]:
    """Recompute the hash chain of governance facts; names the first broken one."""
    found = client.get("/audit/verify")
    if found["broken"] is not None:
        raise Refused(
            f"The chain of {found['checked']} facts breaks at {found['broken']}.",
            next_step="The database was changed by hand; compare with a backup.",
        )
    return found, f"{found['checked']} facts verified, head {found['head']}"


@command(audit)
@click.option("--subject", help="Only facts about this id.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
def log(client: Client, subject: str | None, limit: int) -> tuple[Any, str]:
    """Facts, newest first."""
    found = client.get("/facts", subject=subject, limit=limit)
    return found, table(found, ["at", "kind", "subject", "by", "caused_by"], "No facts yet.")


@command()
@click.argument("prediction_id")
def why(client: Client, prediction_id: str) -> tuple[Any, str]:
    """The chain behind one prediction, from the answer back to the data and the commit."""
    found = client.get(f"/predictions/{prediction_id}/why")
    lines = [f"{one['step'].ljust(14)} {one['sentence']}" for one in found["chain"]]
    return found, "\n".join(lines)
