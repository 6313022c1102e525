"""`seamline gate …`."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.cli.evaluate import answer, write_html

_WIDTH = 88


@click.group()
def gate() -> None:
    """Gates: what each proves, and what one says about a release."""


@gate.command()
@click.argument("name")
@click.argument("release")
@click.option("-e", "--env", "environment", required=True, help="For which environment.")
@click.option("--evidence", is_flag=True, help="Print the evidence, too.")
@click.option("--html", type=click.Path(path_type=Path), help="Write it to this file, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def run(
    context: click.Context,
    /,
    name: str,
    release: str,
    environment: str,
    evidence: bool,
    html: Path | None,
    as_json: bool,
) -> None:
    """Decide one gate about RELEASE, outside of any promotion.

    Recorded nowhere, and nothing opens by it: a promotion asks all of its gates anew. Gates that
    run something do so only for a release that is live in the environment or being checked for it.
    Exits with 1 unless the verdict is pass, and with 2 where nothing could be decided.
    """
    asked = {"release": release, "environment": environment, "html": html is not None}
    found = answer(context, lambda client: client.post(f"/gates/{name}/decisions", asked))
    page = found.pop("html", None)
    if html is not None and page is not None:
        write_html(html, page)
    said = f"{found['gate']} ({found['verdict']}): {found['sentence'].rstrip('.')}."
    told = json.dumps(found["evidence"], indent=2) if evidence else ""
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found["verdict"] == "pass":
        click.echo(f"{said}\n{told}".rstrip())
    else:
        opens = f"What opens it: seamline gate explain {name}"
        click.echo("\n".join(filter(None, (f"refused: {said}", told, opens))), err=True)
    context.exit(0 if found["verdict"] == "pass" else 1)


@command(gate, "list")
@click.option("-e", "--env", "environment", help="Those that this environment asks for, in order.")
def list_(client: Client, environment: str | None) -> tuple[Any, str]:
    """The gates that there are, and which environments ask for them."""
    found = client.get("/gates", environment=environment)
    rows = [{**one, "asked in": ", ".join(one["asked_in"]) or "-"} for one in found]
    rows = [{**one, "what it asks": one["title"].rstrip(".")} for one in rows]
    return found, table(rows, ["gate", "asked in", "what it asks"], "No gate is asked for here.")


@command(gate)
@click.argument("name")
def explain(client: Client, name: str) -> tuple[Any, str]:
    """What a gate proves and what not, what it needs, and what opens it."""
    found = client.get(f"/gates/{name}")
    lines = [f"{found['gate']}: {found['title']}", "", *_wrapped(found["explains"])]
    for key in ("needs", "opens"):
        if found[key]:
            lines += ["", *_wrapped(f"{key.capitalize()}: {found[key]}")]
    lines += ["", f"Asked in: {', '.join(found['asked_in']) or 'no environment'}"]
    for environment, limits in found["limits"].items():
        told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in limits.items())
        lines += _wrapped(f"{environment}: {told}") if told else []
    return found, "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
