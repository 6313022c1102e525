"""`seamline run logs`: what tasks printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from seamline.cli.client import Client
from seamline.cli.command import command, wants_json
from seamline.cli.following import Patient
from seamline.cli.run_show import failures_of
from seamline.cli.run_words import plain, quote_path, say_state
from seamline.domain.errors import InvalidInput

#: A log grows without telling.
_PAUSE_S = 0.5
_HOLDERS = {"dag": "a group of tasks", "loop": "a loop", "iteration": "an iteration of a loop"}


@command()
@click.argument("run_id", metavar="RUN")
@click.argument("task", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until the task has ended.")
@click.option(
    "--attempt", type=click.IntRange(min=1), metavar="N", help="Which one; default: the last."
)
@click.option("--failed", is_flag=True, help="The last lines of each task that failed.")
def logs(
    client: Client, run_id: str, task: str | None, follow: bool, attempt: int | None, failed: bool
) -> tuple[Any, str] | None:
    """What a task printed.

    TASK is its path in the run, as `run show` has it: 'for-loop-1[3]/train'.
    """
    if failed:
        if task is not None or follow or attempt is not None:
            raise click.UsageError("--failed goes with no task, --follow or --attempt.")
        return _last_lines(client, run_id)
    if task is None:
        raise click.UsageError("Name a TASK, or give --failed.")
    read = _Reader(client, run_id, task, attempt)
    try:
        found = read.follow(_print) if follow and not wants_json() else read.whole(follow)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None
    is_empty = not found["size_bytes"]
    if is_empty:
        _say_why_nothing(found)
    if wants_json():
        return found, ""
    return None if is_empty or follow else (found, found["text"].removesuffix("\n"))


class _Reader:
    """One task's log, piece by piece."""

    def __init__(self, client: Client, run_id: str, task: str, attempt: int | None) -> None:
        self._client = Patient(client)
        self._run_id = run_id
        self._query: dict[str, Any] = {"task": task, "attempt": attempt}

    def whole(self, until_ended: bool) -> dict[str, Any]:
        pieces: list[str] = []
        found = self.follow(pieces.append) if until_ended else self._read(pieces.append)
        return {**found, "offset": 0, "text": "".join(pieces)}

    def _read(self, take: Callable[[str], object], offset: int = 0) -> dict[str, Any]:
        """What there is now, from a byte on."""
        found = self._piece(offset)
        take(found["text"])
        while found["next_offset"] < found["size_bytes"]:
            found = self._piece(found["next_offset"])
            take(found["text"])
        return found

    def follow(self, take: Callable[[str], object]) -> dict[str, Any]:
        """Until the task has ended; a further attempt is read from its beginning."""
        found = self._read(take)
        while not found["is_complete"]:
            time.sleep(_PAUSE_S)
            last, offset = found.get("attempt"), found["next_offset"]
            found = self._piece(offset)
            if found.get("attempt") != last:
                click.echo(f"── attempt {found['attempt']} ──", err=True)
                found = self._read(take)
            else:
                take(found["text"])
        return found

    def _piece(self, offset: int) -> dict[str, Any]:
        query = {**self._query, "offset": offset or None}
        found: dict[str, Any] = self._client.get(f"/runs/{self._run_id}/log", **query)
        return found


def _print(text: str) -> None:
    if text:
        click.echo(text, nl=False)


def _say_why_nothing(found: Mapping[str, Any]) -> None:
    kind, cached = found.get("kind"), found.get("cached_from")
    if kind in _HOLDERS:
        raise InvalidInput(
            f"{found['task']} is {_HOLDERS[kind]}: it prints nothing by itself.",
            next_step="See what is in it: seamline run show "
            f"{found['run_id']} --within {quote_path(found['task'])}.",
        )
    if cached:
        told = (
            f"{found['task']} did not run here; its result came from another run: "
            f"seamline run logs {cached['run_id']} {quote_path(cached['task'])}"
        )
    else:
        state = say_state(str(found.get("state")))
        told = f"{found.get('task')} is {state}, and has printed nothing."
    click.echo(told, err=True)


def _last_lines(client: Client, run_id: str) -> tuple[Any, str]:
    """As they are kept with the tasks' errors."""
    run = client.get(f"/runs/{run_id}")
    failed = [
        {
            "task": one["name"],
            "attempt": one["attempt"],
            "error": {name: one["error"][name] for name in ("kind", "type", "message")},
            "text": one["error"]["log_tail"],
        }
        for one in failures_of(run["tasks"])
    ]
    parts = [
        f"── {plain(one['task'])}, attempt {one['attempt']} ──\n" + _text(one) for one in failed
    ]
    return failed, "\n\n".join(parts) or f"Nothing failed in run {run_id}."


def _text(failed: Mapping[str, Any]) -> str:
    error = failed["error"]
    printed = str(failed["text"]).rstrip("\n")
    return printed or plain(f"(nothing printed)  {error['type']}: {error['message']}")
