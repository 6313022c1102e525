"""`seamline run follow` and `wait`."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from seamline.cli.client import Client
from seamline.cli.command import command, wants_json
from seamline.cli.following import await_end, read_news
from seamline.cli.progress import is_watched, live_view, progress_bar
from seamline.cli.run_lines import Changes, say_change
from seamline.cli.run_models import await_models, refusal_of, say_model
from seamline.cli.run_show import say_run
from seamline.cli.run_tree import Size, Words
from seamline.cli.run_view import draw
from seamline.cli.run_words import BAD_END, count_done, plain, say_state, shorten_path
from seamline.domain.clock import from_iso
from seamline.domain.errors import Refused

#: As a shell has it for a program that Ctrl-C ended.
_INTERRUPTED = 130
_RECENT = 8


@command()
@click.argument("run_id", metavar="RUN")
def follow(client: Client, run_id: str) -> None:
    """Watch a run until it ends and its models are packaged.

    Fails when the run failed or was canceled, or when a model was refused.

    On a terminal, a view of what runs, fails and has ended; in a pipe one plain line per change,
    from the beginning of the run on; with --json one JSON document per line. Ctrl-C leaves the
    run going.
    """
    follow_run(client, run_id)


@command()
@click.argument("run_id", metavar="RUN")
def wait(client: Client, run_id: str) -> tuple[Any, str] | None:
    """Wait until a run has ended and its models are packaged.

    Fails when the run failed or was canceled, or when a model was refused.
    """
    return wait_for_run(client, run_id)


def follow_run(client: Client, run_id: str) -> None:
    """Prints all there is to print; raises click's Exit when the run ended badly."""
    is_live = not wants_json() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    try:
        state = _watch(client, run_id) if is_live else _tell(client, run_id)
        models = await_models(client, run_id)
    except KeyboardInterrupt:
        _say_how_to_come_back(client, run_id)
        raise click.exceptions.Exit(_INTERRUPTED) from None
    if is_live:
        click.echo(say_run({**client.get(f"/runs/{run_id}"), "models": models}))
    else:
        for one in models:
            click.echo(json.dumps({"run_id": run_id, **one}) if wants_json() else say_model(one))
    if state in BAD_END or refusal_of(run_id, state, models) is not None:
        raise click.exceptions.Exit(1)


def wait_for_run(client: Client, run_id: str) -> tuple[Any, str] | None:
    try:
        found = end_of_run(client, run_id)
        found = {**found, "models": await_models(client, run_id)}
    except KeyboardInterrupt:
        _say_how_to_come_back(client, run_id)
        raise click.exceptions.Exit(_INTERRUPTED) from None
    refused = refusal_of(run_id, say_state(found["state"]), found["models"])
    if found["state"] not in BAD_END and refused is None:
        return found, say_run(found)
    if wants_json():
        click.echo(json.dumps(found, indent=2))
    if found["state"] not in BAD_END and refused is not None:
        raise refused
    raise Refused(
        f"Run {run_id} {say_state(found['state'])}: {plain(found['sentence'])}",
        next_step=f"See its logs: seamline run logs {run_id} --failed.",
    )


def end_of_run(client: Client, run_id: str) -> Any:
    """The whole run, once it has ended; on a terminal with a bar meanwhile."""
    return _wait_with_bar(client, run_id) if is_watched() else await_end(client, run_id)


def _tell(client: Client, run_id: str) -> str:
    changes = Changes()
    state = ""
    for found in read_news(client, run_id):
        for entry in changes.take(found):
            click.echo(json.dumps(entry) if wants_json() else say_change(entry))
        state = found["state"]
    return state


def _watch(client: Client, run_id: str) -> str:
    """The answers come on this thread; the view is drawn on one of its own."""
    news = read_news(client, run_id, newest=_RECENT)
    found = next(news)
    behind = _behind(found)

    def lines(columns: int, rows: int) -> list[Words]:
        return draw(found, datetime.now(UTC) - behind, Size(columns, rows))

    with live_view(lines):
        for found in news:
            behind = _behind(found)
    return str(found["state"])


def _behind(found: Any) -> timedelta:
    """By how much the server's clock is behind ours."""
    return datetime.now(UTC) - from_iso(found["now"])


def _wait_with_bar(client: Client, run_id: str) -> Any:
    with progress_bar(f"run {run_id}") as bar:
        for found in read_news(client, run_id, newest=1):
            going = [shorten_path(plain(one["name"]), 40) for one in found["running"][:1]]
            bar.update(*count_done(found["tasks"]), *(going or [say_state(found["state"])]))
    return client.get(f"/runs/{run_id}")


def _say_how_to_come_back(client: Client, run_id: str) -> None:
    goes_on = f"\nRun {run_id} goes on."
    if client.is_own_server:
        goes_on = (
            f"\nRun {run_id} pauses: no server runs here. It goes on with the next command, or as "
            "soon as one does: seamline up."
        )
    click.echo(
        f"{goes_on}\nCome back: seamline run follow {run_id}\n"
        f"End it:    seamline run cancel {run_id}",
        err=True,
    )
