"""`seamline data mirror`."""

from __future__ import annotations

import re
from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.domain.errors import InvalidInput


@command(name="mirror")
@click.argument("name")
@click.argument("environments", metavar="FROM→TO")
@click.option("--check", is_flag=True, help="Only say whether TO's rows are like FROM's.")
def mirror(client: Client, name: str, environments: str, check: bool) -> tuple[Any, str]:
    """Give environment TO the rows that FROM has of dataset NAME, such as production→staging (or
    production:staging): sampled and masked as [datasets.NAME.mirror] says."""
    source, target = _parts(environments)
    if check:
        found = client.get(f"/datasets/{name}/mirrors/{target}")
        return found, _say_likeness(found)
    found = client.post(f"/datasets/{name}/mirrors", {"source": source, "environment": target})
    verb = "committed" if found["is_new"] else "was mirrored before:"
    head = (
        f"{found['dataset']}@{found['version']} {verb} {found['rows']:,} rows of "
        f"{found['mirror_of']}, recipe {found['recipe_digest'][7:19]}"
    )
    return found, f"{head}\n{_say_likeness(found['likeness'])}"


def _parts(text: str) -> tuple[str, str]:
    """
    >>> _parts("production→staging"), _parts("production:staging"), _parts("a->b")
    (('production', 'staging'), ('production', 'staging'), ('a', 'b'))
    """
    found = re.fullmatch(r"([a-z0-9-]+?)\s*(?:→|->|:)\s*([a-z0-9-]+)", text.strip())
    if found is None:
        raise InvalidInput(
            f"{text!r} does not name two environments.", next_step="Write production→staging."
        )
    return found[1], found[2]


def _say_likeness(found: dict[str, Any]) -> str:
    rows = [
        {"column": one["column"], "psi": f"{one['psi']:.3f}" if one["psi"] is not None else None}
        for one in found["columns"]
    ]
    told = f"{found['verdict']}: {found['sentence']}"
    masked = f"masked: {', '.join(found['masked'])}" if found["masked"] else ""
    parts = [told, masked, table(rows, ["column", "psi"], "")]
    return "\n".join(part for part in parts if part)
