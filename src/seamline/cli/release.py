"""`seamline release …`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.cli.promotion_plan import change_text
from seamline.domain.errors import Refused


@click.group()
def release() -> None:
    """Releases: immutable sets of digests."""


@command(release)
@click.argument("alias")
@click.option("--model", "models", multiple=True, metavar="NAME[==VERSION]")
@click.option("--pipeline", "pipelines", multiple=True, metavar="NAME@TAG")
def create(
    client: Client, alias: str, models: tuple[str, ...], pipelines: tuple[str, ...]
) -> tuple[Any, str]:
    """Bundle model versions and pipelines, with their locks, contracts and training data."""
    body = {"alias": alias, "models": list(models), "pipelines": list(pipelines)}
    found = client.post("/releases", body)
    known = (
        "" if found["alias"] == alias else f"these contents are a release already, {alias} is not\n"
    )
    return found, known + _text(found)


@command(release, "list")
def list_(client: Client) -> tuple[Any, str]:
    """Releases, newest first."""
    found = client.get("/releases")
    return found, table(found, ["alias", "digest", "created_by", "created_at"], "No releases yet.")


@command(release)
@click.argument("reference")
def show(client: Client, reference: str) -> tuple[Any, str]:
    """One release (alias or digest): its contents."""
    found = client.get(f"/releases/{reference}")
    return found, _text(found)


@command(release)
@click.argument("before")
@click.argument("after")
def diff(client: Client, before: str, after: str) -> tuple[Any, str]:
    """What two releases do not have in common."""
    found = client.get(f"/releases/{after}/diff", against=before)
    return found, "\n".join(map(change_text, found["changes"])) or "the same contents"


@command(release)
@click.argument("reference")
def verify(client: Client, reference: str) -> tuple[Any, str]:
    """Hash every byte that it names, and ask for every statement."""
    found = client.get(f"/releases/{reference}/verify")
    if not found["verified"]:
        bad = " ".join(one["sentence"] for one in found["checks"] if one["verdict"] != "pass")
        raise Refused(f"Release {found['alias']} does not hold: {bad}")
    return found, table(found["checks"], ["gate", "verdict", "sentence"], "")


def _text(found: dict[str, Any]) -> str:
    contents = found["contents"]
    rows = [
        {"kind": kind.rstrip("s"), **pin}
        for kind in sorted(contents)
        if isinstance(contents[kind], list)
        for pin in contents[kind]
    ]
    return f"release {found['alias']} {found['digest']}\n\n" + table(
        rows, ["kind", "name", "version", "digest"], "It is empty."
    )
