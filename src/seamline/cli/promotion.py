"""`seamline promote` and `seamline promotion …`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, record, table
from seamline.cli.promotion_plan import plan_text
from seamline.domain.errors import Refused

SETTLED = {
    "awaiting_approval",
    "live",
    "rejected",
    "failed",
    "errored",
    "superseded",
    "rolled_back",
}


@command()
@click.argument("release")
@click.option("--to", "environment", required=True)
@click.option("--plan", "plan_only", is_flag=True, help="Say what would happen; ask for nothing.")
@click.option("--emergency", is_flag=True, help="Under glass that you have broken.")
@click.option("--reason", default="", help="Why; whoever approves reads it.")
@click.option("--wait/--no-wait", default=True, show_default=True)
def promote(
    client: Client,
    release: str,
    environment: str,
    plan_only: bool,
    emergency: bool,
    reason: str,
    wait: bool,
) -> tuple[Any, str]:
    """Ask for RELEASE (alias or digest) to become live in an environment."""
    body = {"release": release, "environment": environment, "emergency": emergency}
    if plan_only:
        planned = client.post("/promotions/plan", body)
        return planned, plan_text(planned)
    found = client.post("/promotions", {**body, "reason": reason})
    if wait:
        found = settle(client, found["id"])
    return found, promotion_text(found)


@click.group()
def promotion() -> None:
    """Promotions: see, approve, reject."""


@command(promotion, "list")
def list_(client: Client) -> tuple[Any, str]:
    """Promotions, newest first."""
    found = client.get("/promotions")
    columns = ["id", "release_alias", "environment", "phase", "requested_by", "requested_at"]
    return found, table(found, columns, "No promotions yet.")


@command(promotion)
@click.argument("promotion_id")
def show(client: Client, promotion_id: str) -> tuple[Any, str]:
    """One promotion: gates with evidence, approvals, why not yet."""
    found = client.get(f"/promotions/{promotion_id}")
    return found, promotion_text(found)


@command(promotion)
@click.argument("promotion_id")
@click.option("--comment", default="")
def approve(client: Client, promotion_id: str, comment: str) -> tuple[Any, str]:
    """Approve, bound to the release, the environment, the policy and the evidence as they are."""
    client.post(f"/promotions/{promotion_id}/approve", {"comment": comment})
    found = settle(client, promotion_id)
    return found, promotion_text(found)


@command(promotion)
@click.argument("promotion_id")
@click.option("--reason", required=True)
def reject(client: Client, promotion_id: str, reason: str) -> tuple[Any, str]:
    """Reject, with a reason."""
    found = client.post(f"/promotions/{promotion_id}/reject", {"reason": reason})
    return found, promotion_text(found)


def settle(client: Client, promotion_id: str) -> Any:
    found = client.get(f"/promotions/{promotion_id}", wait_s=20)
    while found["phase"] not in SETTLED:
        found = client.get(f"/promotions/{promotion_id}", wait_s=20)
    if found["phase"] in {"failed", "errored"}:
        raise Refused(
            f"Promotion {promotion_id} of {found['release_alias']} to {found['environment']} "
            f"{found['phase']}: {found['reason']}",
            next_step=f"See the evidence: seamline promotion show {promotion_id}.",
        )
    return found


def promotion_text(found: dict[str, Any]) -> str:
    names = ["id", "kind", "release_alias", "release", "environment", "phase", "requested_by"]
    names += ["why_asked", "reason"]
    gates = table(found["gates"], ["gate", "verdict", "sentence"], "No gates.")
    approvals = table(
        found["approvals"], ["principal", "at", "self_approved", "comment"], "No approvals yet."
    )
    waits = "".join(f"\nwaits for {reason}" for reason in found["why_not_yet"])
    return f"{record(found, names)}{waits}\n\n{gates}\n\n{approvals}"
