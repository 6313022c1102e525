"""A comparison as one HTML file: style and pictures inside, no script, nothing fetched. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from seamline.data.diff.findings import Change, Finding
from seamline.data.diff.rows import RowDiff
from seamline.data.diff.stored import Compared
from seamline.data.pictures import picture_column
from seamline.data.versions import DatasetVersion

#: Of all pictures together; what else there is of a page grows with what differs.
PICTURE_BYTES = 180_000
MAX_FINDINGS = 200

TITLES = {
    Change.TYPE: "Types",
    Change.COLUMN_GONE: "Columns gone",
    Change.COLUMN_NEW: "New columns",
    Change.ROWS: "Rows",
    Change.MISSING: "Missing values",
    Change.VALUES_GONE: "Values gone",
    Change.VALUES_NEW: "New values",
    Change.SHIFT: "Shifted distributions",
}


@dataclass(frozen=True)
class Picture:
    """`svg` shows the column after (filled) and before (outline)."""

    column: str
    types: str
    is_changed: bool
    svg: str


def render_page(
    before: DatasetVersion, after: DatasetVersion, compared: Compared, rows: RowDiff | None
) -> str:
    pages = Environment(
        loader=PackageLoader("seamline.data.diff"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    findings = compared.diff.findings
    drawn = draw_columns(before, after, compared)
    return pages.get_template("diff.html").render(
        before=before,
        after=after,
        diff=compared.diff,
        groups=group_findings(findings[:MAX_FINDINGS]),
        n_more=max(len(findings) - MAX_FINDINGS, 0),
        pictures=drawn,
        n_columns=len(_shared(before, after, compared)),
        rows=rows,
    )


def group_findings(findings: tuple[Finding, ...]) -> list[tuple[Change, str, list[Finding]]]:
    """By kind, as they come: the worst kind first."""
    grouped: dict[Change, list[Finding]] = {}
    for one in findings:
        grouped.setdefault(one.change, []).append(one)
    return [(change, TITLES[change], found) for change, found in grouped.items()]


def draw_columns(
    before: DatasetVersion, after: DatasetVersion, compared: Compared
) -> list[Picture]:
    """Each column of both versions, those that differ first, as many as there is room for."""
    was, now = dict(before.schema), dict(after.schema)
    order = list(dict.fromkeys(one.column for one in compared.diff.findings if one.column))
    shared = _shared(before, after, compared)
    names = [name for name in order if name in shared]
    names += [name for name in shared if name not in set(order)]
    drawn: list[Picture] = []
    room = PICTURE_BYTES
    for name in names:
        types = was[name] if was[name] == now[name] else f"{was[name]} → {now[name]}"
        columns = compared.after.columns[name], compared.before.columns[name]
        svg = picture_column(compared.before.basis.columns[name], *columns)
        room -= len(svg.encode())
        if room < 0:
            break
        drawn.append(Picture(name, types, name in order, svg))
    return drawn


def _shared(before: DatasetVersion, after: DatasetVersion, compared: Compared) -> list[str]:
    now = dict(after.schema)
    sides = compared.before.columns, compared.after.columns
    return [name for name, _ in before.schema if name in now and all(name in s for s in sides)]
