"""`seamline package …`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from seamline.cli.command import Client, command, table


@click.group()
def package() -> None:
    """Packages of the indexes, and their versions."""


@command(package, "list")
def list_(client: Client) -> tuple[Any, str]:
    """Every name that was ever published here, models' included, and whose it is."""
    found = client.get("/packages")
    columns = ["name", "kind", "owner", "newest", "versions"]
    return found, table(found, columns, "No packages yet.")


@command(package)
@click.argument("name")
def show(client: Client, name: str) -> tuple[Any, str]:
    """A package's versions, oldest first: files, where they are listed, whether they are yanked."""
    found = client.get(f"/packages/{_part(name)}")
    rows = [
        {
            "version": one["version"],
            "filename": file["filename"],
            "size_bytes": file["size_bytes"],
            "digest": file["digest"],
            "listed_in": ", ".join(one["environments"]),
            "uploaded_by": one["uploaded_by"],
            "yanked": _spoken(one["yanked"]),
        }
        for one in found
        for file in one["files"]
    ]
    columns = ["version", "filename", "size_bytes", "digest", "listed_in", "uploaded_by", "yanked"]
    return found, table(rows, columns, "No versions.")


@command(package)
@click.argument("name")
@click.argument("version")
@click.option("--reason", default="", help="One line, which installers print.")
@click.option("--undo", is_flag=True, help="Installers take it again.")
def yank(client: Client, name: str, version: str, reason: str, undo: bool) -> tuple[Any, str]:
    """Have installers pass a version over, in every environment's index.

    Nothing is deleted: whoever pins the version still gets it, and releases go on. The owner of
    the name may do it, and an admin.
    """
    path = f"/packages/{_part(name)}/versions/{_part(version)}/yank"
    if undo:
        found = client.delete(path)
        return found, f"{found['name']} {found['version']} is offered again"
    found = client.post(path, {"reason": reason})
    return found, f"{found['name']} {found['version']} is yanked: {_spoken(found['yanked'])}"


def _spoken(yanked: dict[str, str] | None) -> str:
    return "-" if yanked is None else yanked["reason"] or "no reason given"


def _part(text: str) -> str:
    return quote(text, safe="")
