"""`seamline run submit`, `retry` and `rerun`: what starts a run, or parts of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seamline.cli.client import Client, text_of
from seamline.cli.command import command
from seamline.cli.follow import follow_run, wait_for_run
from seamline.cli.run_options import (
    argument_options,
    arguments_body,
    end_options,
    options_body,
    read_object,
    run_options,
)
from seamline.cli.run_words import plain
from seamline.domain.errors import InvalidInput

Answer = tuple[Any, str] | None


@command()
@click.argument("pipeline")
@argument_options
@click.option("--environment", "-e", default="dataops", show_default=True, help="Where it runs.")
@click.option(
    "--release",
    metavar="ALIAS",
    help="Outside dataops: one that is being checked there; default: the live one.",
)
@click.option("--name", default="", help="What it is called; several runs may share a name.")
@click.option("--team", default="", help="Whose share of the slots it takes.")
@click.option(
    "--scenarios",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A grid, a list or a query: one run over all of them.",
)
@run_options
def submit(client: Client, pipeline: str, **given: Any) -> Answer:
    """Run PIPELINE: NAME@TAG from the registry, or a compiled file."""
    _check_ends(given)
    body = {
        **_pipeline(pipeline),
        **arguments_body(given),
        "environment": given["environment"],
        "release": given["release"],
        "name": given["name"],
        "team": given["team"],
        "options": options_body(given),
    }
    if given["scenarios"] is not None:
        example = "Write, for one: grid: {origin: [JFK, LGA], carrier: [AA, DL]}"
        body["scenarios"] = read_object(given["scenarios"], "The scenarios file", example)
    found = client.post("/runs", body)
    where = f"{found['pipeline']} in {found['environment']}"
    return _started(client, found, f"run {found['id']} of {where}", given)


@command()
@click.argument("run_id", metavar="RUN")
@end_options
def retry(client: Client, run_id: str, **given: Any) -> Answer:
    """Do what failed again, in the same run.

    Also what was canceled or never ran, and what comes after it. What has succeeded stays: of 500
    scenarios with three failed ones, those three go again.
    """
    _check_ends(given)
    found = client.post(f"/runs/{run_id}/retry")
    again = found["again"]
    named = ", ".join(plain(one) for one in again[:5])
    more = f" and {len(again) - 5:,} more" if len(again) > 5 else ""
    tasks = f"{len(again):,} task{'s' * (len(again) != 1)}"
    return _started(client, found, f"run {run_id}: {tasks} again: {named}{more}", given)


@command()
@click.argument("run_id", metavar="RUN")
@click.option("--from", "from_task", metavar="TASK", help="It and all that comes after it run.")
@argument_options
@run_options
def rerun(client: Client, run_id: str, **given: Any) -> Answer:
    """A new run of the same pipeline, with what you change.

    Results of the old run stand in wherever nothing has changed; with --no-cache only before the
    task of --from. How it runs is kept from the old run, but for its cache.
    """
    _check_ends(given)
    options = options_body(given)
    if given["from_task"] is not None:
        options["from_task"] = given["from_task"]
    found = client.post(f"/runs/{run_id}/rerun", {**arguments_body(given), "options": options})
    where = f"{found['pipeline']} in {found['environment']}, after {run_id}"
    return _started(client, found, f"run {found['id']} of {where}", given)


def _pipeline(named: str) -> dict[str, str]:
    path = Path(named)
    if path.suffix in {".yaml", ".yml", ".json"}:
        return {"ir": text_of(path)}
    if path.suffix == ".py":
        raise InvalidInput(
            f"{path} is source code.",
            next_step="Compile it, and submit the YAML that comes out.",
        )
    return {"pipeline": named}


def _check_ends(given: dict[str, Any]) -> None:
    """Before anything is started."""
    if given["wait"] and given["follow"]:
        raise click.UsageError("--wait and --follow are two ways to wait: give one.")


def _started(client: Client, found: Any, says: str, given: dict[str, Any]) -> Answer:
    """Its id, or its end, as the flags ask; what this machine lacks is told in any case."""
    for note in found["notes"]:
        click.echo(f"note: {plain(note)}", err=True)
    if given["follow"]:
        follow_run(client, found["id"])
        return None
    if given["wait"]:
        return wait_for_run(client, found["id"])
    if not client.is_own_server:
        click.echo(f"Watch it: seamline run follow {found['id']}", err=True)
    return found, says
