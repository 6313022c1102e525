"""`seamline data read|tag|tags|splits`: rows of versions, and names for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.domain.errors import InvalidInput

FORMATS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".arrow", ".feather")


@command(name="read")
@click.argument("reference")
@click.option("--columns", help="Their names, with commas between.")
@click.option("--since", metavar="DAY", help="First day of the rows, as 2026-03-01.")
@click.option("--until", metavar="DAY", help="The day after the last.")
@click.option("--limit", type=int, help="So many rows; 20 unless --out is given.")
@click.option("--with-labels", is_flag=True, help="Add the labels that were known.")
@click.option("--as-of", help="With labels: known when, as 2026-03-01T00:00:00Z. Now unless given.")
@click.option("--labels", help="With labels: NAME@VERSION of their dataset.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="All rows to this .csv, .parquet, .jsonl, …"
)
def read(
    client: Client, reference: str, out: Path | None, columns: str | None, **given: Any
) -> tuple[Any, str]:
    """Rows of NAME@VERSION (or NAME@TAG, NAME@VERSION/SPLIT), each file verified as it is read."""
    version, _, split = reference.partition("/")
    query = {
        **given,
        "as_of": _moment(given["as_of"]),
        "split": split or None,
        "column": [name.strip() for name in columns.split(",")] if columns else None,
    }
    if out is None:
        found = client.get(f"/datasets/{version}/rows", **query)
        rows = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
        return found, table(rows, found["columns"], "No rows.")
    return _to_file(client, f"/datasets/{version}/rows/file", query, out, reference)


def _to_file(
    client: Client, path: str, query: dict[str, Any], out: Path, reference: str
) -> tuple[Any, str]:
    """Seen when it is whole."""
    if out.suffix.lower() not in FORMATS:
        raise InvalidInput(
            f"{out.name!r} does not say which format to write.",
            next_step=f"Let it end in one of {', '.join(FORMATS)}.",
        )
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            digest = client.fetch(path, file, **query, name=out.name)
        partial.replace(out)
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    size = out.stat().st_size
    found = {"reference": reference, "file": str(out), "bytes": size, "digest": digest}
    return found, f"{reference} is in {out}: {size:,} bytes, digest {digest[7:19]}"


def _moment(text: str | None) -> str | None:
    """A day is its first moment; without an offset it is UTC.

    >>> _moment("2026-03-01"), _moment("2026-03-01T10:00:00+01:00")
    ('2026-03-01T00:00:00Z', '2026-03-01T10:00:00+01:00')
    """
    if text is None:
        return None
    if "T" not in text and " " not in text:
        return f"{text}T00:00:00Z"
    is_told = text.endswith("Z") or "+" in text or text.count("-") > 2
    return text if is_told else f"{text}Z"


def list_versions(client: Client, name: str) -> tuple[Any, str]:
    """The versions of a dataset, with their tags."""
    found = client.get(f"/datasets/{name}/versions")
    rows = [
        {**one, "tags": ", ".join(one["tags"]) or None, "kept": not one["is_removed"]}
        for one in found
    ]
    columns = ["version", "tags", "rows", "rows_added", "digest", "source", "at", "kept"]
    return found, table(rows, columns, "No versions yet.")


@command(name="tag")
@click.argument("reference")
@click.argument("tag")
@click.option("--delete", is_flag=True, help="Take the tag away: REFERENCE is the dataset's name.")
def tag(client: Client, reference: str, tag: str, delete: bool) -> tuple[Any, str]:
    """Name a version: NAME@VERSION is NAME@TAG from then on, and its rows are kept.

    Tags like 1.0.0 never move; others do.
    """
    if delete:
        found = client.delete(f"/datasets/{reference}/tags/{tag}")
        return found, f"{reference}@{tag} is gone; it was version {found['version']}"
    found = client.post(f"/datasets/{reference}/tags", {"tag": tag})
    verb = "is now" if found["is_new"] else "was already"
    return found, f"{found['dataset']}@{tag} {verb} version {found['version']}"


@command(name="tags")
@click.argument("name")
def tags(client: Client, name: str) -> tuple[Any, str]:
    """The tags of dataset NAME."""
    found = client.get(f"/datasets/{name}/tags")
    return found, table(found, ["tag", "version", "tagged_by", "tagged_at"], "No tags yet.")


@command(name="splits")
@click.argument("reference")
def splits(client: Client, reference: str) -> tuple[Any, str]:
    """The splits of a version: fixed when a run first used one, else as declared now."""
    found = client.get(f"/datasets/{reference}/splits")
    columns = ["split", "rows", "digest", "fixed_by", "fixed_at", "is_declared"]
    return found, table(found, columns, "No splits are declared.")
