"""`seamline compare`: two versions of a model, two runs or two releases side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import Client
from seamline.cli.evaluate import DAY, answer, days_of, predict, write_page
from seamline.cli.evaluation_text import exit_code, say_evaluation


@click.command()
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER")
@click.option("--data", metavar="NAME@VERSION", help="Judge both on this, running what is needed.")
@click.option("--since", type=DAY, help="Only days from this one on.")
@click.option("--until", type=DAY, help="Only days before this one.")
@click.option("--html", type=click.Path(path_type=Path), help="Write it to this file, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def compare(
    context: click.Context,
    /,
    before: str,
    after: str,
    html: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """AFTER against BEFORE on the same rows: metrics with intervals, paired differences, checks.

    Two versions of a model (NAME==VERSION; AFTER can be a version alone), two runs of prediction
    pipelines, or two releases: these model by model. Shows what is on record; --data judges anew.

    Exit code 0 when all checks pass, 1 when one fails, 2 when that cannot be told.
    """

    def ask(client: Client) -> dict[str, Any]:
        found: dict[str, Any] = client.get("/comparisons", before=before, after=after)
        pairs = [_judged(client, pair, given) for pair in found["pairs"]]
        judged = [pair["evaluation"]["id"] for pair in pairs if pair["evaluation"] is not None]
        write_page(client, html, judged)
        return {**found, "pairs": pairs}

    found = answer(context, ask)
    click.echo(json.dumps(found, indent=2) if as_json else _say(found))
    verdicts = [
        pair["evaluation"]["verdict"] if pair["evaluation"] else "inconclusive"
        for pair in found["pairs"]
    ]
    context.exit(exit_code(verdicts or ["pass"]))


def _judged(client: Client, pair: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """With its evaluation, made where it is asked for and can be."""
    body = {"model": pair["model"], "version": pair["after"], "against": pair["before"]}
    if pair["after_run"] is not None and pair["evaluation"] is None:
        runs = {"run_id": pair["after_run"], "against_run": pair["before_run"]}
        asked = {**body, **runs, "data": given["data"], **days_of(given)}
        return {**pair, "evaluation": client.post("/evaluations", asked)}
    if given["data"] is not None and pair["after_run"] is None:
        asked = {**body, "data": given["data"], **days_of(given)}
        made = client.post("/evaluations", {**asked, **predict(client, asked)})
        return {**pair, "evaluation": made}
    return pair


def _say(found: dict[str, Any]) -> str:
    parts = [_say_pair(pair) for pair in found["pairs"]]
    notes = "\n".join(found["notes"])
    return "\n\n".join([*parts, *([notes] if notes else [])]) or "They hold the same models."


def _say_pair(pair: dict[str, Any]) -> str:
    if pair["evaluation"] is not None:
        return say_evaluation(pair["evaluation"])
    return (
        f"{pair['model']} {pair['after']} was not compared with {pair['before']} yet: add "
        "--data NAME@VERSION"
    )
