"""`seamline run …`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import text_of
from seamline.cli.command import Client, command, key_values, record, table
from seamline.cli.progress import progress_bar
from seamline.domain.errors import InvalidInput, Refused

ENDED = {"succeeded", "partially_failed", "failed", "canceled"}


@click.group()
def run() -> None:
    """Runs of pipelines."""


@command(run)
@click.argument("pipeline")
@click.option("--argument", "-a", "arguments", multiple=True, metavar="NAME=VALUE")
@click.option("--environment", "-e", default="dataops", show_default=True)
@click.option("--wait", is_flag=True, help="Wait for its end; fail unless it succeeded.")
def submit(
    client: Client, pipeline: str, arguments: tuple[str, ...], environment: str, wait: bool
) -> tuple[Any, str]:
    """Run PIPELINE: NAME@TAG from the registry, or a compiled file."""
    body: dict[str, Any] = {"arguments": key_values(arguments), "environment": environment}
    path = Path(pipeline)
    if path.suffix in {".yaml", ".yml", ".json"}:
        body["ir"] = text_of(path)
    elif path.suffix == ".py":
        raise InvalidInput(
            f"{path} is source code.",
            next_step="Compile it, and submit the YAML that comes out.",
        )
    else:
        body["pipeline"] = pipeline
    found = client.post("/runs", body)
    if not wait:
        return found, f"run {found['id']} of {found['pipeline']} in {environment}"
    return _wait(client, found["id"])


@command(run)
@click.argument("run_id")
def wait(client: Client, run_id: str) -> tuple[Any, str]:
    """Wait for the run's end; fail unless it succeeded."""
    return _wait(client, run_id)


def _wait(client: Client, run_id: str) -> tuple[Any, str]:
    with progress_bar(f"run {run_id}") as bar:
        found = client.get(f"/runs/{run_id}", wait_s=bar.every_s)
        while found["state"] not in ENDED:
            ended = [one for one in found["tasks"] if one["ended_at"]]
            going = [one["name"] for one in found["tasks"] if one["state"] == "running"]
            bar.update(len(ended), len(found["tasks"]), ", ".join(going) or found["state"])
            found = client.get(f"/runs/{run_id}", wait_s=bar.every_s)
    if found["state"] in {"failed", "canceled"}:
        raise Refused(
            f"Run {run_id} {found['state']}: {found['sentence']}",
            next_step=f"See its logs: seamline run logs {run_id} TASK.",
        )
    return found, _text(found)


@command(run, "list")
@click.option("--environment", "-e")
def list_(client: Client, environment: str | None) -> tuple[Any, str]:
    """Runs, newest first."""
    found = client.get("/runs", environment=environment)
    columns = ["id", "pipeline", "environment", "state", "requested_by", "created_at"]
    return found, table(found, columns, "No runs yet.")


@command(run)
@click.argument("run_id")
def show(client: Client, run_id: str) -> tuple[Any, str]:
    """One run: its tasks, and which branch failed and why."""
    found = client.get(f"/runs/{run_id}")
    return found, _text(found)


@command(run)
@click.argument("run_id")
@click.argument("task")
@click.option("--follow", "-f", is_flag=True, help="Go on until the task has ended.")
def logs(client: Client, run_id: str, task: str, follow: bool) -> tuple[Any, str]:
    """What a task printed."""
    found = client.get(f"/runs/{run_id}/log", task=task)
    text = found["text"]
    while found["next_offset"] < found["size_bytes"] or (follow and not found["is_complete"]):
        if follow:
            click.echo(text, nl=False)
            text = ""
            if found["next_offset"] == found["size_bytes"]:
                time.sleep(0.5)
        found = client.get(f"/runs/{run_id}/log", task=task, offset=found["next_offset"])
        text += found["text"]
    return {**found, "offset": 0, "text": text}, text


@command(run)
@click.argument("run_id")
def cancel(client: Client, run_id: str) -> tuple[Any, str]:
    """Stop a run; its running tasks are ended."""
    found = client.post(f"/runs/{run_id}/cancel")
    return found, f"run {run_id} {found['state']}"


def _text(found: dict[str, Any]) -> str:
    names = ["id", "pipeline", "environment", "state", "requested_by"]
    head = record(found, [*names, "sentence"] if found["sentence"] else names)
    rows = [
        {
            **one,
            "error": (one.get("error") or {}).get("message"),
            "wall_s": None if one["wall_s"] is None else f"{one['wall_s']:.1f}",
        }
        for one in found["tasks"]
    ]
    tasks = table(rows, ["name", "state", "attempt", "wall_s", "error"], "")
    return f"{head}\narguments  {json.dumps(found['arguments'])}\n\n{tasks}"
