"""`seamline promote` and `seamline promotion …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from seamline.cli.command import Client, command, record, table, wants_json
from seamline.cli.promotion_plan import plan_text
from seamline.cli.promotion_wait import STILL_WAITING, await_live
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import Refused
from seamline.trust.approval_statements import ApprovalStatement, sign_approval
from seamline.trust.key_files import read_private_key

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
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
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until gates are checked.")
@click.option("--live", "for_s", metavar="DURATION", help="Wait until it is live, for so long.")
def promote(
    client: Client,
    release: str,
    environment: str,
    plan_only: bool,
    emergency: bool,
    reason: str,
    wait: bool,
    for_s: str | None,
) -> tuple[Any, str]:
    """Ask for RELEASE (alias or digest) to become live in an environment.

    With --live, exit codes are 0: live, 1: refused, rejected, failed or superseded, 3: the time is
    over and it still waits (go on with seamline promotion wait).
    """
    patience_s = None if for_s is None else parse_duration_s(for_s)
    body = {"release": release, "environment": environment, "emergency": emergency}
    if plan_only:
        planned = client.post("/promotions/plan", body)
        return planned, plan_text(planned)
    found = client.post("/promotions", {**body, "reason": reason})
    if patience_s is not None:
        return _wait(client, found["id"], patience_s)
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
@click.option("--for", "for_s", default="1h", show_default=True, metavar="DURATION")
def wait(client: Client, promotion_id: str, for_s: str) -> tuple[Any, str]:
    """Wait until a promotion is live.

    Exit codes are 0: it is (or was), 1: rejected, failed, errored or superseded, 3: the time is
    over and it still waits. What it waits for is said on stderr.
    """
    return _wait(client, promotion_id, parse_duration_s(for_s))


@command(promotion)
@click.argument("promotion_id")
@click.option("--comment", default="")
@click.option("--sign-with", "key", type=_FILE, help="Your own private key (Ed25519).")
def approve(client: Client, promotion_id: str, comment: str, key: Path | None) -> tuple[Any, str]:
    """Approve, bound to the release, the environment, the policy and the evidence as they are."""
    opinion = {"comment": comment}
    if key is not None:
        opinion["signed"] = _signed(client, promotion_id, comment, key)
    client.post(f"/promotions/{promotion_id}/approve", opinion)
    found = settle(client, promotion_id)
    return found, promotion_text(found)


@command(promotion)
@click.argument("promotion_id")
@click.option("--reason", required=True)
def reject(client: Client, promotion_id: str, reason: str) -> tuple[Any, str]:
    """Reject, with a reason."""
    found = client.post(f"/promotions/{promotion_id}/reject", {"reason": reason})
    return found, promotion_text(found)


def _signed(client: Client, promotion_id: str, comment: str, path: Path) -> str:
    """What the server says that there is to approve, signed here: the key stays here."""
    found = client.get(f"/promotions/{promotion_id}")
    statement = ApprovalStatement(
        found["id"],
        found["release"],
        found["environment"],
        found["policy_digest"] or "",
        found["evidence_digest"] or "",
        comment,
        client.get("/status")["you"],
    )
    return sign_approval(statement, read_private_key(path)).decode()


def _wait(client: Client, promotion_id: str, patience_s: float) -> tuple[Any, str]:
    found, is_ended = await_live(client, promotion_id, patience_s)
    if is_ended:
        return found, promotion_text(found)
    click.echo(json.dumps(found, indent=2) if wants_json() else promotion_text(found))
    raise click.exceptions.Exit(STILL_WAITING)


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
        found["approvals"],
        ["principal", "at", "self_approved", "key_id", "comment"],
        "No approvals yet.",
    )
    waits = "".join(f"\nwaits for {reason}" for reason in found["why_not_yet"])
    return f"{record(found, names)}{waits}\n\n{gates}\n\n{approvals}"
