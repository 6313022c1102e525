"""`seamline backtest`: a model over one window of time after another."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import click

from seamline.cli.client import Client
from seamline.cli.command import table
from seamline.cli.evaluate import DAY, answer, days_of
from seamline.cli.evaluation_text import exit_code, say
from seamline.cli.follow import end_of_run
from seamline.cli.following import Patient
from seamline.cli.model_names import one_version

#: Packaging follows a run's end and offers nothing to wait for.
_PAUSE_S = 0.5


@click.command()
@click.argument("model", metavar="MODEL[==VERSION]")
@click.option("--version", help="Default: the newest.")
@click.option("--data", metavar="NAME@VERSION", required=True, help="Holds the windows.")
@click.option("--against", help="The incumbent: its version, or the environment it is live in.")
@click.option("--since", type=DAY, help="Only days from this one on.")
@click.option("--until", type=DAY, help="Only days before this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def backtest(
    context: click.Context, /, model: str, version: str | None, as_json: bool, **given: Any
) -> None:
    """Judge MODEL over the last windows of the data, as `[models.NAME.evaluation.backtest]` says.

    With `retrain`, the training pipeline is run for each window first. Ctrl-C leaves the runs
    going; the same command goes on with what is done. A window whose run fails is errored, and the
    others are judged.

    Exit code 0 when the verdict is pass, 1 when it is fail, 2 when that cannot be told.
    """
    name, chosen = one_version(model, version)
    body = {
        "model": name,
        "version": chosen,
        "data": given["data"],
        "against": given["against"],
        **days_of(given),
    }
    found = answer(context, lambda client: _follow(client, body))["backtest"]
    click.echo(json.dumps(found, indent=2) if as_json else say_backtest(found))
    context.exit(exit_code([found["verdict"]]))


def _follow(client: Client, body: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, str] = {}
    while True:
        found: dict[str, Any] = client.post("/backtests", dict(body))
        if found["note"] and not told:
            click.echo(found["note"], err=True)
        for one in found["windows"]:
            if told.get(one["window"]) != one["state"]:
                more = f": {one['sentence']}" if one["sentence"] else ""
                click.echo(f"{one['window']} {one['state']}{more}", err=True)
                told[one["window"]] = one["state"]
        if found["state"] == "ended":
            return found
        waits = found["waits_for"][0]
        if Patient(client).get(f"/runs/{waits}")["ended_at"] is None:
            end_of_run(client, waits)
        else:
            time.sleep(_PAUSE_S)


def say_backtest(found: Mapping[str, Any]) -> str:
    evidence = found["evidence"]
    against = f" against {found['against']}" if found["against"] else ""
    metric = evidence["metric"]
    lines = [
        f"{found['model']} {found['model_version']} on {found['data']}{against}: "
        f"{found['verdict']}",
        "",
        table([_row(one, metric) for one in evidence["windows"]], _columns(found), "No window."),
        "",
        *evidence["sentences"],
        f"back-test {found['id']}",
    ]
    return "\n".join(lines)


def _columns(found: Mapping[str, Any]) -> list[str]:
    rival = ["incumbent", "difference"] if found["against"] else []
    return ["window", "version", "outcome", "value", *rival]


def _row(window: Mapping[str, Any], metric: str) -> dict[str, Any]:
    found = window["metrics"].get(metric)
    row = {"window": window["window"], "version": window["version"], "outcome": window["outcome"]}
    if found is None:
        return row
    row["value"] = say(found["candidate"])
    if found["incumbent"] is not None:
        row["incumbent"] = say(found["incumbent"])
        row["difference"] = say(found["difference"], signed=True)
    return row
