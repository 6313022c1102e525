"""`seamline evaluate`."""

from __future__ import annotations

from typing import Any

import click

from seamline.cli.command import Client, command
from seamline.cli.model_names import one_version


@command()
@click.argument("model", metavar="MODEL[==VERSION]")
@click.option("--version", help="Default: the newest.")
@click.option("--run", "run_id", required=True, help="Run of the prediction pipeline to judge by.")
@click.option("--task", default="", help="Where the predictions are: task path, if not the root.")
@click.option("--against", help="Version of the incumbent; --against-run holds its predictions.")
@click.option("--against-run")
def evaluate(
    client: Client,
    model: str,
    version: str | None,
    run_id: str,
    task: str,
    against: str | None,
    against_run: str | None,
) -> tuple[Any, str]:
    """Prove a version of MODEL: metrics with intervals over blocks, slices, checks."""
    model, version = one_version(model, version)
    found = client.post(
        "/evaluations",
        {
            "model": model,
            "version": version,
            "run_id": run_id,
            "task": task,
            "against": against,
            "against_run": against_run,
        },
    )
    lines = [f"{found['model']} {found['model_version']} on {found['data']}: {found['verdict']}"]
    lines += [f"  {sentence}" for sentence in found["sentences"]]
    return found, "\n".join([*lines, f"evaluation {found['id']}"])
