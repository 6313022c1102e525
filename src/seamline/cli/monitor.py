"""`seamline monitor …` and `seamline retraining …`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, record, table


@click.group()
def monitor() -> None:
    """Measure what is served; see measurements."""


@command(monitor, "run")
@click.argument("name")
@click.option("--until", help="Event day (ISO date) up to which windows count as complete.")
def run_(client: Client, name: str, until: str | None) -> tuple[Any, str]:
    """Measure every complete window that has not been measured with the rows it has now."""
    found = client.post(f"/monitors/{name}/measure", {"until": until})
    return found, _text(found)


@command(monitor)
@click.argument("name")
def show(client: Client, name: str) -> tuple[Any, str]:
    """Measurements of a monitor, oldest window first."""
    found = client.get(f"/monitors/{name}")
    return found, _text(found)


@click.group()
def retraining() -> None:
    """Retrainings that triggers asked for."""


@command(retraining, "list")
def list_(client: Client) -> tuple[Any, str]:
    """Retrainings, newest first."""
    found = client.get("/retrainings")
    columns = ["id", "trigger", "phase", "candidate_version", "incumbent_version", "sentence"]
    return found, table(found, columns, "No retrainings yet.")


@command(retraining, "show")
@click.argument("retraining_id")
@click.option("--wait", is_flag=True, help="Wait until it is decided.")
def show_retraining(client: Client, retraining_id: str, wait: bool) -> tuple[Any, str]:
    """One retraining: cause, run, comparison, outcome."""
    found = client.get(f"/retrainings/{retraining_id}", wait_s=20 if wait else None)
    while wait and not found["is_ended"]:
        found = client.get(f"/retrainings/{retraining_id}", wait_s=20)
    return found, record(found, list(found))


def _text(found: Any) -> str:
    rows = [one for one in found["measurements"] if one["verdict"] != "pass"] or found[
        "measurements"
    ]
    lines = table(
        rows, ["window", "kind", "subject", "verdict", "sentence"], "Nothing measured yet."
    )
    return f"monitor {found['monitor']}\n\n{lines}"
