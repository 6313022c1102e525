"""`seamline evaluation …`: those on record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import Client
from seamline.cli.command import command, table
from seamline.cli.evaluate import answer, write_page
from seamline.cli.evaluation_text import exit_code, say_evaluation


@click.group()
def evaluation() -> None:
    """Evaluations: list, show, decide other checks."""


@command(evaluation, "list")
@click.argument("model", required=False)
def list_(client: Client, model: str | None) -> tuple[Any, str]:
    """Newest first; of MODEL, or all."""
    found = client.get("/evaluations", model=model)
    columns = ["id", "model", "model_version", "data", "against", "verdict", "at", "by"]
    return found, table(found, columns, "Nothing has been evaluated yet.")


@evaluation.command()
@click.argument("evaluation_id", metavar="EVALUATION")
@click.option("--html", type=click.Path(path_type=Path), help="Write it to this file, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(context: click.Context, evaluation_id: str, html: Path | None, as_json: bool) -> None:
    """One evaluation: metrics, slices, checks."""

    def ask(client: Client) -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/evaluations/{evaluation_id}")
        write_page(client, html, [found["id"]])
        return found

    found = answer(context, ask)
    click.echo(json.dumps(found, indent=2) if as_json else say_evaluation(found))


@evaluation.command()
@click.argument("evaluation_id", metavar="EVALUATION")
@click.argument("checks", metavar="CHECK", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def decide(
    context: click.Context, evaluation_id: str, checks: tuple[str, ...], as_json: bool
) -> None:
    """Decide other checks on an evaluation: 'brier.worst_slice(hour) <= 0.2'.

    What it keeps is enough: no row is read, nothing is recorded, and no gate opens by it. Exit
    code 0 when all pass, 1 when one fails, 2 when that cannot be told.
    """
    body = {"checks": list(checks)}
    path = f"/evaluations/{evaluation_id}/decide"
    found = answer(context, lambda client: client.post(path, body))
    said = "\n".join(one["sentence"] for one in found["checks"])
    click.echo(json.dumps(found, indent=2) if as_json else said)
    context.exit(exit_code([one["verdict"] for one in found["checks"]]))
