"""`seamline model …`."""

from __future__ import annotations

import json
from typing import Any

import click

from seamline.cli.command import Client, command, record, table


@click.group()
def model() -> None:
    """Models and their versions."""


@command(model, "list")
def list_(client: Client) -> tuple[Any, str]:
    """All model versions, newest first."""
    found = client.get("/models")
    columns = ["model", "version", "wheel_digest", "run_id", "live_in", "registered_at"]
    rows = [{**one, "live_in": ", ".join(one["live_in"]) or "-"} for one in found]
    return found, table(rows, columns, "No models yet.")


@command(model)
@click.argument("name")
@click.option("--version", help="Default: the newest.")
def show(client: Client, name: str, version: str | None) -> tuple[Any, str]:
    """One version: signature, metrics, lineage, digests."""
    found = client.get(f"/models/{name}", version=version)
    names = ["model", "version", "wheel_digest", "payload_digest", "run_id", "registered_at"]
    document = json.dumps(found["document"], indent=2)
    return found, f"{record(found, names)}\n\n{document}"


@command(model)
@click.argument("name")
@click.option("--version", help="Default: the newest.")
def verify(client: Client, name: str, version: str | None) -> tuple[Any, str]:
    """Recompute the digests of the wheel and its payload, and check the signed statement."""
    found = client.get(f"/models/{name}/verify", version=version)
    return found, f"{found['model']} {found['version']}: wheel, payload and statement agree"
