"""`seamline run …`; each file beside this one that starts with `run_` holds some of it."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.client import Client
from seamline.cli.command import command, table
from seamline.cli.follow import follow, wait
from seamline.cli.run_debug import debug
from seamline.cli.run_logs import logs
from seamline.cli.run_show import show
from seamline.cli.run_submit import rerun, retry, submit
from seamline.cli.run_words import (
    count_done,
    name_of,
    plain,
    say_moment,
    say_state,
    say_took,
    seconds_between,
)
from seamline.domain.states import RunState

_STATES = [one.value for one in RunState]
_COLUMNS = ["id", "run", "environment", "state", "tasks", "took", "requested_by", "created"]


@click.group()
def run() -> None:
    """Runs of pipelines."""


@command(name="list")
@click.option("--environment", "-e", help="Only runs there.")
@click.option("--pipeline", help="Only runs of the pipeline with this name.")
@click.option("--state", type=click.Choice(_STATES), help="Only runs in that state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
def list_(client: Client, **given: Any) -> tuple[Any, str]:
    """Runs, newest first."""
    found = client.get("/runs", **given)
    rows = [_row(one) for one in found]
    return found, table(rows, _COLUMNS, "No runs yet.")


@command()
@click.argument("run_id", metavar="RUN")
def cancel(client: Client, run_id: str) -> tuple[Any, str]:
    """Stop a run; its running tasks are ended."""
    found = client.post(f"/runs/{run_id}/cancel")
    state = say_state(found["state"])
    return found, f"run {run_id} is to end; {state} until then" if state == "running" else (
        f"run {run_id} {state}"
    )


@command()
@click.argument("run_id", metavar="RUN")
@click.argument("task")
def explain(client: Client, run_id: str, task: str) -> tuple[Any, str]:
    """Why TASK was, or was not, taken from the cache."""
    found = client.get(f"/runs/{run_id}/explain", task=task)
    lines = [f"{task} ({say_state(found['state'])}): {plain(found['sentence'])}"]
    if found["cache_key"]:
        lines.append(f"key       {found['cache_key']}")
    if found["compared_with"] and found["differences"]:
        other = found["compared_with"]
        lines.append(f"compared  {other['task']} in run {other['run_id']}")
        lines += [f"differs   {plain(one)}" for one in found["differences"]]
    return found, "\n".join(lines)


def _row(one: dict[str, Any]) -> dict[str, Any]:
    done, total = count_done(one["tasks"])
    failed = one["tasks"].get("failed", 0)
    took = seconds_between(one["started_at"], one["ended_at"])
    return {
        **one,
        "run": name_of(one),
        "state": say_state(one["state"]),
        "tasks": f"{done:,}/{total:,}" + (f", {failed:,} failed" if failed else ""),
        "took": None if took is None else say_took(took),
        "created": say_moment(one["created_at"]),
    }


for _one in (submit, list_, show, logs, follow, wait, cancel, retry, rerun, explain, debug):
    run.add_command(_one)
