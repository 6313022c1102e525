"""A contract suggested from a version's profile: what to start from, and edit. No row is read.

Rules are written only where a breach would be news for sure. Types always. Missing values are
forbidden in the columns that tell a row's day and key. A set of values is closed where it is small
and nothing in it is rare: then a value nobody saw among n rows has a share below 3/n (95 %).
Ranges stand as comments: the largest value so far is no limit, and a limit that turns away
tomorrow's true record is switched off the day after.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from seamline.data.column_summary import summarise_column
from seamline.data.contracts.writing import write_contract
from seamline.data.declaration import DatasetDeclaration
from seamline.data.versions import DatasetVersion
from seamline.measure.basis import ColumnBasis, Kind
from seamline.measure.casting import DType
from seamline.measure.columns import ColumnProfile
from seamline.measure.contracts import Column, Contract
from seamline.measure.profiles import Profile

#: A set is closed with so many values at most, each of them so often at least.
MOST_VALUES = 20
LEAST_COUNT = 30
_SHOWN = {"p1": "1 %", "p99": "99 %"}


def suggest_contract(
    schema: Sequence[tuple[str, DType]], profile: Profile, closed: Collection[str]
) -> tuple[Contract, dict[str, str]]:
    """The contract, and a comment for each column; `closed`: columns that tell day and key.

    >>> import polars as pl
    >>> from seamline.measure.basis import make_basis
    >>> from seamline.measure.profiles import profile_frame
    >>> frame = pl.DataFrame({"hour": [5, 23, None] * 40, "carrier": ["UA", "DL", "UA"] * 40})
    >>> profile = profile_frame(frame, make_basis(frame))
    >>> schema = [("hour", DType.INT), ("carrier", DType.STRING)]
    >>> contract, hints = suggest_contract(schema, profile, [])
    >>> contract.columns[1].values, hints["hour"]
    (('DL', 'UA'), '5 to 23 so far; 33.33 % missing')
    """
    columns, hints = [], {}
    for name, dtype in schema:
        basis, counts = profile.basis.columns.get(name), profile.columns.get(name)
        if basis is None or counts is None:
            columns.append(Column(name, dtype))
            continue
        nullable = name not in closed or counts.missing > 0
        columns.append(Column(name, dtype, nullable, values=_closed_set(dtype, basis, counts)))
        said = _hint(summarise_column(name, dtype, basis, counts), columns[-1])
        if said:
            hints[name] = said
    return Contract(tuple(columns)), hints


def write_suggested(
    version: DatasetVersion, declaration: DatasetDeclaration, profile: Profile
) -> str:
    """As YAML, with what it was made from at its top."""
    schema = [(name, DType(dtype)) for name, dtype in version.schema]
    closed = {*declaration.day_columns, *declaration.keys}
    contract, hints = suggest_contract(schema, profile, closed)
    title = (
        f"Contract of dataset {version.dataset}, suggested from version {version.version} "
        f"({version.rows:,} rows).\n"
        "on_breach: refuse | quarantine | trigger | warn; a column or rule may have its own.\n"
        "A column: type nullable required at_least at_most one_of matches unique drift on_breach.\n"
        f"rows: {{at_least: …, of_previous: {{at_least: 0.5}}}}  (this delivery: "
        f"{version.rows_added:,})   freshness: {{max_age: 36h}}   keys: {{unique_in: table}}\n"
        'rules: a list of {name: …, holds: "arrival >= departure"}'
    )
    return write_contract(contract, title, hints)


def _closed_set(dtype: DType, basis: ColumnBasis, counts: ColumnProfile) -> tuple[str, ...] | None:
    if dtype is not DType.STRING or basis.kind is not Kind.CATEGORICAL or counts.mistyped:
        return None
    held = [(value, n) for value, n in zip(basis.values, counts.counts, strict=False) if n]
    is_small = 0 < len(held) <= MOST_VALUES and not counts.counts[-1]
    if not is_small or min(n for _, n in held) < LEAST_COUNT:
        return None
    return tuple(sorted(value for value, _ in held))


def _hint(summary: Mapping[str, Any], column: Column) -> str:
    parts = []
    quantiles = summary["quantiles"] or {}
    if summary["min"] is not None:
        parts.append(f"{_short(summary['min'])} to {_short(summary['max'])} so far")
        inner = [quantiles.get(key) for key in _SHOWN]
        if None not in inner and column.dtype is DType.FLOAT:
            parts.append(f"98 % within {_short(inner[0])} to {_short(inner[1])}")
    elif column.values is None and summary["distinct"] is not None:
        about = "" if summary["distinct_is_exact"] else "about "
        parts.append(f"{about}{summary['distinct']:,} different values")
    if summary["missing"]:
        parts.append(f"{100 * summary['missing']:.4g} % missing")
    reads_as = summary["reads_as"]
    if reads_as is not None and reads_as["type"] != "text":
        parts.append(f"{100 * reads_as['share']:.4g} % read as {reads_as['type']}")
    return "; ".join(parts)


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
