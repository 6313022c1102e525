"""`seamline predict`: fill a table with what a live model says."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command
from seamline.cli.ingesting import ingest_bar

_DEFAULT = "production"


@command()
@click.argument("model")
@click.option("--data", required=True, metavar="NAME@VERSION", help="The rows to answer.")
@click.option(
    "--query", metavar="SELECT", help="Which of them: one SELECT over that dataset, joins included."
)
@click.option("--to", required=True, metavar="NAME", help="The dataset that the answers go to.")
@click.option("-e", "--environment", default=_DEFAULT, show_default=True)
def predict(
    client: Client, model: str, data: str, query: str | None, to: str, environment: str
) -> tuple[Any, str]:
    """Answer rows of a dataset version by what is live, as a new version of dataset NAME.

    MODEL is an endpoint of the environment, or the model that answers there. Inputs are checked,
    and rows logged, as at the endpoint. Outside of dataops the dataset is called NAME-ENVIRONMENT.

    Answered are all rows, or what --query finds, as in "SELECT * FROM flights WHERE hour > 20"; the
    answers then keep what it selects beside the model's inputs. It may look up rows of other
    versions: "SELECT f.*, w.wind FROM flights AS f LEFT JOIN weather@3 AS w ON w.at = f.hour".

    The same again is the version that it has made. Killed or ended at any moment, the same command
    goes on where it was: no row is there twice, none is missing.
    """
    body = {"model": model, "data": data, "to": to, "environment": environment, "query": query}
    name = to if environment == "dataops" else f"{to}-{environment}"
    with ingest_bar(client, name):
        found = client.post("/batch-predictions", body)
    verb = "holds" if found["is_new"] else "was predicted before; it brought"
    lines = [
        f"{found['dataset']}@{found['version']} {verb} {found['rows_added']:,} answers, "
        f"digest {found['digest'][7:19]}"
        + (", by the ONNX twin" if found["answered_by"] == "twin" else "")
    ]
    lines += [f"  {count:,} × {what}" for what, count in found["input_breaches"].items()]
    return found, "\n".join(lines)
