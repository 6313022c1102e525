"""`seamline run debug`: in this very process, without a server."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seamline.cli.client import text_of
from seamline.cli.run_options import argument_options, arguments_body
from seamline.cli.run_show import say_run
from seamline.cli.run_words import BAD_END, plain, say_took

if TYPE_CHECKING:
    from seamline.runtime.outcomes import TaskOutcome


@click.command()
@click.argument("pipeline", type=click.Path(path_type=Path))
@argument_options
@click.option("--pdb", "post_mortem", is_flag=True, help="Look into whatever a task raises.")
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Keep the run's workspace there; otherwise nothing of it is kept.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def debug(
    pipeline: Path, post_mortem: bool, keep: Path | None, as_json: bool, **given: Any
) -> None:
    """Run a compiled PIPELINE in this process: breakpoints work.

    One task at a time, on this terminal. No server is needed, and none takes part. Datasets and
    models are read from the workspace; what the run makes goes to a workspace of its own and is
    thrown away, so it never stands in for a real result.
    """
    from seamline.app.train.debug_run import Watcher, debug_run

    ir = text_of(pipeline).encode()
    watcher = Watcher(_say_start, _say_end, _look_into if post_mortem else None)
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="seamline-")))
        if as_json:  # What tasks print is talk then.
            stack.enter_context(redirect_stdout(sys.stderr))
        found = debug_run(
            click.get_current_context().find_root().obj,
            folder,
            ir,
            **arguments_body(given),
            watcher=watcher,
        )
    click.echo(json.dumps(found, indent=2) if as_json else "\n" + say_run(found, can_go_on=False))
    if keep is not None:
        click.echo(f"Kept: seamline --workspace {keep} run show {found['id']}", err=True)
    if found["state"] in BAD_END:
        raise click.exceptions.Exit(1)


def _say_start(task_id: str) -> None:
    click.echo(f"── {_path_of(task_id)} ──", err=True)


def _say_end(outcome: TaskOutcome) -> None:
    took = say_took(outcome.wall_s)
    told = "succeeded" if outcome.error is None else f"failed: {outcome.error.type}"
    click.echo(plain(f"── {_path_of(outcome.task_id)} {told}, {took} ──"), err=True)


def _path_of(task_id: str) -> str:
    """
    >>> _path_of("01-ab/loop-1[2]/train#1")
    'loop-1[2]/train'
    """
    return plain(task_id.partition("/")[2].rpartition("#")[0])


def _look_into(error: BaseException) -> Any:
    import pdb

    pdb.post_mortem(error.__traceback__)
