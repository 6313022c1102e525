"""`seamline status` and `seamline board`."""

from __future__ import annotations

import json
from typing import Any

import click

from seamline import __version__
from seamline.cli.client import find_server
from seamline.cli.command import Client, command, record, table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(settings: Any, as_json: bool) -> None:
    """What runs here, and where. Answers also when nothing does."""
    url = find_server(settings)
    data: dict[str, Any] = {
        "version": __version__,
        "workspace": str(settings.workspace.resolve()),
        "running": False,
    }
    if url is not None:
        data |= {"running": True, "url": url, **Client(url, settings.token).get("/status")}
    if as_json:
        click.echo(json.dumps(data, indent=2))
        return
    click.echo(record(data, list(data)))
    if not data["running"]:
        click.echo("\nnext: seamline up")


@command()
def board(client: Client) -> tuple[Any, str]:
    """Environments, what is live in each, what waits for whom and why not yet."""
    data = client.get("/board")
    rows = [
        {
            "environment": one["name"],
            "live": one["live"]["alias"] if one["live"] else "-",
            "waiting": "; ".join(
                f"{waiting['release_alias']} ({waiting['phase']}): "
                + ", ".join(waiting["why_not_yet"])
                for waiting in one["waiting"]
            )
            or "-",
            "next": _next_text(one["next"]),
            "standbys": "; ".join(
                f"{standby['release_alias']} ({standby['state']})"
                + (f": {standby['error']}" if standby["error"] else "")
                for standby in one["standbys"]
            )
            or "-",
        }
        for one in data["environments"]
    ]
    return data, table(
        rows, ["environment", "live", "waiting", "next", "standbys"], "No environments."
    )


def _next_text(following: dict[str, Any] | None) -> str:
    """What could come in, and why it is not there yet.

    >>> _next_text({"release_alias": "r2", "refused": None, "waits": ["1 more approval"]})
    'r2: 1 more approval'
    """
    if following is None:
        return "-"
    why = following["refused"] or ", ".join(following["waits"])
    return f"{following['release_alias']}: {why}" if why else str(following["release_alias"])
