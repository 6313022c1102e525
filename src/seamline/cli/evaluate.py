"""`seamline evaluate`: prove a version, by a run of its prediction pipeline."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import Client, connect, text_of
from seamline.cli.evaluation_text import UNDECIDED, exit_code, say_evaluation
from seamline.cli.follow import end_of_run
from seamline.cli.model_names import one_version
from seamline.cli.root import report_defect
from seamline.domain.errors import InvalidInput, Refused, SeamlineError

RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.argument("target", metavar="MODEL[==VERSION]|RUN")
@click.option("--version", help="Default: the newest.")
@click.option("--run", "run_id", metavar="RUN", help="Run of the prediction pipeline to judge by.")
@click.option("--data", metavar="NAME@VERSION", help="Judge on this; without a run, one is made.")
@click.option("--task", default="", help="Where the predictions are: task path, if not the root.")
@click.option("--against", help="The incumbent: its version, or the environment it is live in.")
@click.option("--against-run", metavar="RUN", help="Holds the incumbent's predictions.")
@click.option("--since", type=DAY, help="Only days from this one on.")
@click.option("--until", type=DAY, help="Only days before this one.")
@click.option(
    "--spec", type=click.Path(path_type=Path), help="YAML or TOML: checks in place of the declared."
)
@click.option("--html", type=click.Path(path_type=Path), help="Write it to this file, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def evaluate(context: click.Context, /, html: Path | None, as_json: bool, **given: Any) -> None:
    """Prove a version of a model: metrics with intervals over blocks, slices, checks.

    By what a run has predicted (RUN, or MODEL with --run), or on a version of the data: then the
    prediction pipeline is run on it first, unless it has been, for the incumbent, too. The days
    that the model was trained on are left out.

    Exit code 0 when the verdict is pass, 1 when it is fail, 2 when it is inconclusive or an error,
    or when nothing could be judged. Checks of --spec open no gate.
    """

    def judge(client: Client) -> dict[str, Any]:
        found: dict[str, Any] = client.post("/evaluations", _request(client, given))
        write_page(client, html, [found["id"]])
        return found

    found = answer(context, judge)
    click.echo(json.dumps(found, indent=2) if as_json else say_evaluation(found))
    context.exit(exit_code([found["verdict"]]))


def answer(context: click.Context, ask: Callable[[Client], dict[str, Any]]) -> dict[str, Any]:
    """What is asked of the server; what goes wrong ends with exit code 2, for 1 is a verdict."""
    try:
        with connect(context.find_root().obj, must_exist=True) as client:
            return ask(client)
    except SeamlineError as error:
        click.echo(f"{error.code}: {error}", err=True)
    except (click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:
        report_defect(error)
    raise click.exceptions.Exit(UNDECIDED)


def write_page(client: Client, html: Path | None, evaluations: list[str]) -> None:
    if html is None or not evaluations:
        return
    write_html(html, client.get("/evaluation-pages", evaluation=evaluations)["html"])


def write_html(html: Path, page: str) -> None:
    try:
        html.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{html} cannot be written: {error.strerror}.") from error


def _request(client: Client, given: Mapping[str, Any]) -> dict[str, Any]:
    spec = given["spec"]
    body = {
        "task": given["task"],
        "against": given["against"],
        "against_run": given["against_run"],
        "data": given["data"],
        **days_of(given),
        "spec": None if spec is None else text_of(spec),
        "spec_name": "" if spec is None else spec.name,
    }
    if RUN_ID.fullmatch(given["target"]):
        if given["run_id"] is not None:
            raise click.UsageError("A run is named twice: as it is, and with --run.")
        return {**body, "run_id": given["target"], "version": given["version"]}
    model, version = one_version(given["target"], given["version"])
    named = {**body, "model": model, "version": version}
    if given["run_id"] is not None:
        return {**named, "run_id": given["run_id"]}
    if given["data"] is None:
        raise click.UsageError(
            "Name what to judge by: --run RUN, or --data NAME@VERSION to run the prediction "
            "pipeline on."
        )
    return {**named, **predict(client, named)}


def predict(client: Client, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Has the prediction pipelines run where they have not been; what then is judged by."""
    wanted = ("model", "version", "data", "against", "since", "until")
    found = client.post("/evaluation-runs", {name: asked[name] for name in wanted})
    if found["note"]:
        click.echo(found["note"], err=True)
    sides = {side: found[side] for side in ("candidate", "incumbent") if found[side] is not None}
    for side, run in sides.items():
        how = "runs" if run["is_new"] else "has run"
        click.echo(
            f"{side} {run['version']}: the prediction pipeline {how} on {found['data']} "
            f"(run {run['run_id']})",
            err=True,
        )
    for side, run in sides.items():
        ended = end_of_run(client, run["run_id"])
        if ended["state"] != "succeeded":
            raise Refused(
                f"The prediction pipeline of {side} {run['version']} ended as "
                f"{ended['state'].replace('_', ' ')}: run {run['run_id']}.",
                next_step=f"See its logs: seamline run logs {run['run_id']} --failed.",
            )
    incumbent = sides.get("incumbent", {})
    return {
        "version": sides["candidate"]["version"],
        "run_id": sides["candidate"]["run_id"],
        "against": incumbent.get("version"),
        "against_run": incumbent.get("run_id"),
        "since": found["since"],
        "until": found["until"],
    }


def days_of(given: Mapping[str, Any]) -> dict[str, str | None]:
    days: dict[str, datetime | None] = {name: given[name] for name in ("since", "until")}
    return {name: None if day is None else day.date().isoformat() for name, day in days.items()}
