"""`seamline data diff`: what differs between two versions of a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import connect
from seamline.cli.root import report_defect
from seamline.domain.errors import InvalidInput, SeamlineError

SHOWN_FINDINGS = 18
SHOWN_COLUMNS = 5
DIFFERS, ERROR = 1, 2


@click.command()
@click.argument("before", metavar="NAME@VERSION")
@click.argument("after", metavar="NAME@VERSION")
@click.option("--rows", is_flag=True, help="Also row by row, by the keys that are declared.")
@click.option("--html", type=click.Path(path_type=Path), help="Write it to this file, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def diff(
    context: click.Context,
    before: str,
    after: str,
    rows: bool,
    html: Path | None,
    as_json: bool,
) -> None:
    """What differs between two versions of a dataset, the worst first: types, rows, missing
    values, values gone and new, shifted distributions.

    Exit code 0 when they are the same, 1 when they differ, 2 when that cannot be told.
    """
    query = {"before": before, "after": after}
    query |= {"rows": "true"} if rows else {}
    query |= {"html": "true"} if html is not None else {}
    try:
        with connect(context.find_root().obj, must_exist=True) as client:
            found = client.get("/dataset-diffs", **query)
        if html is not None:
            _write(html, found.pop("html"))
    except SeamlineError as error:
        click.echo(f"{error.code}: {error}", err=True)
        context.exit(ERROR)
    except Exception as error:  # 1 would say that they differ
        report_defect(error)
        context.exit(ERROR)
    click.echo(json.dumps(found, indent=2) if as_json else say_diff(found))
    context.exit(DIFFERS if found["differs"] else 0)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error


def say_diff(found: Mapping[str, Any]) -> str:
    """One screen: the worst is the first line.

    >>> print(say_diff({"before": "a@1", "after": "a@1", "findings": [], "rows": None,
    ...                 "notes": [], "differs": False, "is_same_digest": True}))
    a@1 and a@1 do not differ.
    """
    findings = found["findings"]
    lines = [one["sentence"] for one in findings[:SHOWN_FINDINGS]]
    if len(findings) > SHOWN_FINDINGS:
        lines.append(f"… and {len(findings) - SHOWN_FINDINGS} more: --json has all.")
    if found["rows"] is not None:
        lines += _say_rows(found["rows"])
    if not findings:
        lines.append(_say_same(found))
    else:
        n = len(findings)
        lines.append(
            f"{found['before']} → {found['after']}: {n} finding{'s' * (n != 1)}, "
            f"{found['part']} held against {found['before']}."
        )
    return "\n".join([*lines, *found["notes"]])


def _say_same(found: Mapping[str, Any]) -> str:
    pair = f"{found['before']} and {found['after']}"
    if not found["differs"]:
        return f"{pair} do not differ."
    if found["rows"] is not None:
        return f"{pair} differ in rows, and not in schema or distributions."
    return (
        f"{pair} do not differ in schema, rows or distributions; their files do. "
        "--rows compares row by row."
    )


def _say_rows(rows: Mapping[str, Any]) -> list[str]:
    lines = [
        f"rows by {', '.join(rows['keys'])}: {rows['added']:,} added, {rows['removed']:,} removed, "
        f"{rows['changed']:,} changed"
    ]
    for one in rows["columns"][:SHOWN_COLUMNS]:
        told = "; ".join(_say_cell(cell) for cell in one["examples"][:2])
        cells = f"  {one['column']}: {one['n']:,} cell{'s' * (one['n'] != 1)} changed"
        lines.append(f"{cells}, e.g. {told}" if told else cells)
    if len(rows["columns"]) > SHOWN_COLUMNS:
        lines.append(f"  … and {len(rows['columns']) - SHOWN_COLUMNS} more columns")
    return lines


def _say_cell(cell: Mapping[str, Any]) -> str:
    """
    >>> _say_cell({"key": ["17"], "before": "12.5", "after": None})
    '17: 12.5 → (missing)'
    """
    before, after = ("(missing)" if v is None else v for v in (cell["before"], cell["after"]))
    return f"{', '.join(cell['key'])}: {before} → {after}"
