"""Findings in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from seamline.data.column_summary import show_value
from seamline.data.diff.columns import LARGE, OTHERS, Pair, Reading, Shift, share
from seamline.measure.basis import Kind
from seamline.measure.casting import DType
from seamline.measure.columns import ColumnProfile
from seamline.measure.drift import ValueChange

SAID_VALUES = 4
KEPT_VALUES = 20
LONG_VALUE = 40


def say_type(name: str, types: tuple[str, str], reading: Reading | None) -> str:
    """
    >>> bad = (ValueChange("n/a", 0, 21), ValueChange("12,50", 0, 39))
    >>> say_type("total_charges", ("float", "string"), Reading("numeric", 19_940, 20_000, bad))
    "total_charges: float → string; 19,940 of 20,000 still numeric; 60 text values: 'n/a' ×21, \
'12,50' ×39"
    """
    parts = [f"{name}: {types[0]} → {types[1]}" if types[0] != types[1] else f"{name}: {types[1]}"]
    if reading is not None:
        parts.append(f"{reading.reads:,} of {reading.present:,} still {reading.word}")
    if reading is not None and reading.n_unread:
        n = reading.n_unread
        kind = "text" if types[1] == "string" else "other"
        what = f"{n:,} {kind} value{'s' * (n != 1)}"
        if reading.unread:
            what += f": {say_values(reading.unread)}"
        parts.append(what)
    return "; ".join(parts)


def say_values(changes: Sequence[ValueChange], most: int = SAID_VALUES) -> str:
    """
    >>> say_values([ValueChange("n/a", 0, 21), ValueChange("12,50", 3, 9)])
    "'n/a' ×21, '12,50' ×9"
    """
    shown = [f"{cut(one.value)!r} ×{max(one.before, one.after):,}" for one in changes[:most]]
    return ", ".join([*shown, "…"] if len(changes) > most else shown)


def cut(value: str) -> str:
    return value if len(value) <= LONG_VALUE else value[: LONG_VALUE - 1] + "…"


def say_gone(name: str, dtype: str) -> str:
    return f"{name}: the column is gone (it was {dtype})"


def say_new(name: str, dtype: str) -> str:
    return f"{name}: a new column ({dtype})"


def say_rows(before: int, after: int, versions: int) -> str:
    """
    >>> say_rows(20_000, 21_200, 2)
    'rows: 20,000 → 21,200 (+1,200), by 2 versions'
    """
    by = f", by {versions:,} version{'s' * (versions != 1)}" if versions else ""
    return f"rows: {before:,} → {after:,} ({after - before:+,}){by}"


def say_missing(pair: Pair) -> str:
    was = share(pair.before.missing, pair.before.rows)
    now = share(pair.part.missing, pair.part.rows)
    count = f"{pair.part.missing:,} of {pair.part.rows:,}{_added(pair)}"
    return f"{pair.name}: missing {was:.1%} → {now:.1%} ({count})"


def _added(pair: Pair) -> str:
    return " added" if pair.is_added else ""


def say_new_values(pair: Pair, values: Sequence[ValueChange]) -> str:
    what = "new values"
    if pair.basis.is_binned:
        what = "new values outside of the range that was"
    return f"{pair.name}: {what}: {say_values(values)}"


def say_gone_values(pair: Pair, values: Sequence[ValueChange]) -> str:
    where = " from the rows added" if pair.is_added else ""
    return f"{pair.name}: values gone{where}: {say_values(values)}"


def say_shift(pair: Pair, shift: Shift, moves: Sequence[tuple[str, float, float]]) -> str:
    size = "large" if shift.psi >= LARGE else "moderate"
    text = f"{pair.name}: shifted, PSI {shift.psi:.2f} ({size}), JS distance {shift.js:.2f}"
    if pair.basis.kind is Kind.NUMERIC and pair.before.mean is not None:
        text += f"; mean {_mean(pair.before)} → {_mean(pair.part)}"
    elif moves:
        told = (f"{_quote(value)} {was:.1%} → {now:.1%}" for value, was, now in moves)
        text += f"; {', '.join(told)}"
    return text + (f" in the {pair.part.rows:,} rows added" if pair.is_added else "")


def _quote(value: str) -> str:
    return "other values" if value == OTHERS else repr(cut(value))


def _mean(column: ColumnProfile) -> str:
    value = show_value(column.mean, DType.FLOAT)
    return "–" if value is None else f"{value:.4g}"
