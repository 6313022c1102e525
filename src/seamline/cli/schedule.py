"""`seamline schedule …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seamline.cli.client import text_of
from seamline.cli.command import Client, command, key_values, record, table
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import InvalidInput

COLUMNS = ["name", "environment", "pipeline", "rhythm", "missed", "paused", "next_at", "id"]


@click.group()
def schedule() -> None:
    """Runs that come back: by a cron expression, or every so often."""


@command(schedule, "list")
@click.option("--environment", "-e")
def list_(client: Client, environment: str | None) -> tuple[Any, str]:
    """Schedules, oldest first."""
    found = client.get("/schedules", environment=environment)
    rows = [{**one, "paused": "yes" if one["is_paused"] else "no"} for one in found]
    return found, table(rows, COLUMNS, "No schedules yet.")


@command(schedule)
@click.argument("schedule")
def show(client: Client, schedule: str) -> tuple[Any, str]:
    """One schedule (its id, or its name), its next times and its newest runs."""
    found = client.get(f"/schedules/{schedule}")
    return found, _text(found)


@command(schedule)
@click.argument("pipeline")
@click.option("--name", help="What it is called; default: the pipeline.")
@click.option("--cron", help="Six fields, seconds first, or five; @daily and its like.")
@click.option("--every", metavar="DURATION", help="Instead of --cron: 15m, 6h, 7d.")
@click.option("--time-zone", help="IANA name, like Europe/Berlin. Default: UTC.")
@click.option("--start", "start_at", metavar="TIME", help="RFC 3339; due times lie after it.")
@click.option("--end", "end_at", metavar="TIME", help="RFC 3339; no due time lies after it.")
@click.option(
    "--missed",
    type=click.Choice(["all", "latest", "none"]),
    default="latest",
    show_default=True,
    help="Which of the times that passed unattended get their run.",
)
@click.option(
    "--max-concurrency",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Of its runs, so many go at the same time.",
)
@click.option("--argument", "-a", "arguments", multiple=True, metavar="NAME=VALUE")
@click.option("--environment", "-e", default="dataops", show_default=True)
@click.option("--paused", is_flag=True, help="Create it without starting it.")
def create(client: Client, pipeline: str, **given: Any) -> tuple[Any, str]:
    """Run PIPELINE again and again.

    NAME follows the latest version (outside of dataops: the live release's), NAME@TAG the tag,
    NAME@sha256:… stays; a compiled file stays, too.
    """
    found = client.post("/schedules", _body(pipeline, given))
    return found, _text({**found, "next_times": [found["next_at"]], "runs": []})


@command(schedule)
@click.argument("schedule")
def pause(client: Client, schedule: str) -> tuple[Any, str]:
    """No more runs until it is resumed; those that go on end as they would."""
    found = client.post(f"/schedules/{schedule}/pause")
    return found, f"schedule {found['name']} is paused"


@command(schedule)
@click.argument("schedule")
def resume(client: Client, schedule: str) -> tuple[Any, str]:
    """Go on; what was missed is made up for as --missed says."""
    found = client.post(f"/schedules/{schedule}/resume")
    return found, f"schedule {found['name']} goes on, next at {found['next_at']}"


@command(schedule)
@click.argument("schedule")
def delete(client: Client, schedule: str) -> tuple[Any, str]:
    """Delete a schedule; its runs stay."""
    found = client.delete(f"/schedules/{schedule}")
    return found, f"schedule {found['name']} ({found['id']}) is deleted"


def _body(pipeline: str, given: dict[str, Any]) -> dict[str, Any]:
    path = Path(pipeline)
    is_file = path.suffix in {".yaml", ".yml", ".json"}
    body = {
        "name": given["name"] or (path.stem if is_file else pipeline),
        "texts": key_values(given["arguments"]),
        "is_paused": given["paused"],
        **({"ir": text_of(path)} if is_file else {"pipeline": pipeline}),
    }
    if given["every"] is not None:
        body["interval_s"] = _whole_seconds(given["every"])
    kept = ("cron", "time_zone", "start_at", "end_at", "missed", "max_concurrency", "environment")
    return body | {name: given[name] for name in kept if given[name] is not None}


def _whole_seconds(text: str) -> int:
    """
    >>> _whole_seconds("15m")
    900
    """
    seconds = parse_duration_s(text)
    if not seconds.is_integer():
        raise InvalidInput(f"{text!r} is no whole number of seconds.")
    return int(seconds)


def _text(found: dict[str, Any]) -> str:
    names = ["id", "name", "environment", "pipeline", "rhythm", "missed", "max_concurrency"]
    shown = {
        **found,
        "state": "paused" if found["is_paused"] else "on",
        "next": ", ".join(filter(None, found["next_times"])) or "never",
    }
    names += ["arguments", "created_by", "state", "next"]
    head = record(shown, [*names, "last_error"] if found["last_error"] else names)
    columns = ["scheduled_for", "state", "id"]
    return f"{head}\n\n{table(found['runs'], columns, 'No run of it yet.')}"
