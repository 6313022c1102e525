"""`seamline model …`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.cli.model_names import one_version
from seamline.cli.model_text import say_diff, say_model


@click.group()
def model() -> None:
    """Models and their versions."""


@command(model, "list")
@click.option("--of", metavar="NAME", help="A model, or what has one model per scenario.")
@click.option("--run", "run_id", metavar="RUN", help="Only what this run has made so far.")
def list_(client: Client, of: str | None, run_id: str | None) -> tuple[Any, str]:
    """All model versions, newest first.

    Models of which there is one per scenario are one line, unless they are asked for. With --run,
    what is no model is said, too, and why.
    """
    found = client.get("/models", of=of, run_id=run_id)
    columns = ["model", "version", "wheel_digest", "run_id", "live_in", "registered_at"]
    rows = [{**one, "live_in": ", ".join(one["live_in"]) or "-"} for one in found]
    if of is not None or run_id is not None:
        refused = client.get("/model-refusals", run_id=run_id) if run_id is not None else []
        said = [f"\nrefused: {one['model']}: {one['reason']}" for one in refused]
        return found, table(rows, columns, "No such models yet.") + "".join(said)
    alone = [one for one in rows if not one["scenario"]]
    families = sorted({one["family"] for one in rows if one["scenario"]})
    lines = [
        _family([one for one in rows if one["scenario"] and one["family"] == family])
        for family in families
    ]
    more = [f"\nEach of them: seamline model list --of {family}" for family in families]
    return found, table([*alone, *lines], columns, "No models yet.") + "".join(more)


def _family(versions: list[dict[str, Any]]) -> dict[str, Any]:
    """One line for all models of a family."""
    models = len({one["model"] for one in versions})
    newest = max(versions, key=lambda one: str(one["registered_at"]))
    live = sorted({one["model"] for one in versions if one["live_in"] != "-"})
    return {
        **newest,
        "model": f"{newest['family']}-…",
        "version": f"{models} model{'s' if models != 1 else ''}",
        "wheel_digest": None,
        "live_in": f"{len(live)} of them" if live else "-",
    }


@command(model)
@click.argument("name", metavar="NAME[==VERSION]")
@click.option("--version", help="Default: the newest.")
def show(client: Client, name: str, version: str | None) -> tuple[Any, str]:
    """One version: signature, parameters, metrics, how it was trained and on what."""
    name, version = one_version(name, version)
    found = client.get(f"/models/{name}", version=version)
    return found, say_model(found)


@command(model)
@click.argument("before")
@click.argument("after")
def diff(client: Client, before: str, after: str) -> tuple[Any, str]:
    """What differs between two versions: NAME==VERSION or NAME@VERSION; NAME alone is the newest,
    and AFTER can be a version alone.

    Parameters, metrics, inputs, the lock of libraries, and the versions of data between them.
    """
    found = client.get("/model-diff", before=before, after=after)
    return found, say_diff(found)


@command(model)
@click.argument("name", metavar="NAME[==VERSION]")
@click.option("--version", help="Default: the newest.")
def verify(client: Client, name: str, version: str | None) -> tuple[Any, str]:
    """Recompute the digests of the wheel and its payload, and check the signed statement."""
    name, version = one_version(name, version)
    found = client.get(f"/models/{name}/verify", version=version)
    return found, f"{found['model']} {found['version']}: wheel, payload and statement agree"
