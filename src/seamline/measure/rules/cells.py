"""One column's values as its contract has them: typed, with the rows whose value is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

_DAY = re.compile(r"(\d{4})-(\d\d?)-(\d\d?)", re.ASCII)
#: As a delivery's times are read: seconds and offset may be left out, a bare day is midnight.
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[zZ]|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_INT = re.compile(r"[+-]?\d+", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MOST_DIGITS = 100
_LEAST, _MOST = -(2**63), 2**63 - 1


class CellKind(StrEnum):
    """Named as the types of a contract are."""

    INT = "int"
    FLOAT = "float"
    STRING = "string"
    BOOL = "bool"
    DATE = "date"
    DATETIME = "datetime"

    @property
    def is_number(self) -> bool:
        return self in (CellKind.INT, CellKind.FLOAT)

    @property
    def is_time(self) -> bool:
        return self in (CellKind.DATE, CellKind.DATETIME)


@dataclass(frozen=True)
class Cells:
    """`values` holds something of its kind in every row; `unknown` says where that means nothing.

    Both may be of one row that stands for all.
    """

    values: Array
    unknown: Mask


@dataclass(frozen=True)
class ReadCells:
    """`missing`: no value was sent; `mistyped`: one that does not read as the kind."""

    cells: Cells
    missing: Mask
    mistyped: Mask


_EMPTY: dict[CellKind, tuple[Any, str]] = {
    CellKind.INT: (0, "i8"),
    CellKind.FLOAT: (0.0, "f8"),
    CellKind.STRING: ("", "O"),
    CellKind.BOOL: (False, "?"),
    CellKind.DATE: (np.datetime64(0, "D"), "M8[D]"),
    CellKind.DATETIME: (np.datetime64(0, "us"), "M8[us]"),
}


def can_read(kind: CellKind, datatype: str) -> bool:
    """Whether an input of this Open Inference Protocol datatype can hold such values.

    Texts are read as those of a delivery are.

    >>> can_read(CellKind.INT, "FP64"), can_read(CellKind.DATE, "BYTES")
    (True, True)
    >>> can_read(CellKind.STRING, "INT64"), can_read(CellKind.BOOL, "INT8")
    (False, False)
    """
    if datatype == "BYTES":
        return True
    return kind is CellKind.BOOL if datatype == "BOOL" else kind.is_number


def read_cells(
    values: Array | Sequence[Any], kind: CellKind, null_values: Collection[str] = ()
) -> ReadCells:
    """`values` as a request's column: an array, or a list with None where one is null.

    Texts among `null_values` and NaN are missing, as in a delivery.

    >>> read = read_cells(["2013-07-09", "soon", None, "NA"], CellKind.DATE, ["NA"])
    >>> read.mistyped.tolist(), read.missing.tolist()
    ([False, True, False, False], [False, False, True, True])
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
        return _read_numbers(values, kind)
    return _read_list(list(values), kind, frozenset(null_values))


def allowed_cells(texts: Sequence[str], kind: CellKind) -> Array:
    """The values of a closed set, as `Cells` of the kind hold them; what does not read is left out.

    >>> allowed_cells(["1", "02", "x"], CellKind.INT).tolist()
    [1, 2]
    """
    found = [one for text in texts if (one := _read_text(text, kind)) is not None]
    allowed = np.empty(len(found), _EMPTY[kind][1])
    allowed[:] = found
    return allowed


def _read_numbers(values: Array, kind: CellKind) -> ReadCells:
    none = np.zeros(len(values), np.bool_)
    is_float = values.dtype.kind == "f"
    missing = np.isnan(values) if is_float else none
    if kind is CellKind.INT and is_float:
        whole = ~missing & (np.trunc(values) == values) & (np.abs(values) < 2.0**63)
        mistyped = ~missing & ~whole
        return _made(np.where(whole, values, 0).astype(np.int64), missing, mistyped)
    if kind is CellKind.INT and values.dtype == np.uint64:
        mistyped = values > np.uint64(_MOST)
        return _made(np.where(mistyped, 0, values).astype(np.int64), missing, mistyped)
    wanted = {CellKind.INT: "i", CellKind.FLOAT: "f", CellKind.BOOL: "b"}.get(kind)
    if wanted is None or (wanted == "b") != (values.dtype.kind == "b"):
        return _made(np.full(len(values), *_EMPTY[kind]), missing, ~missing)
    typed = values.astype(_EMPTY[kind][1], copy=False)
    return _made(np.where(missing, 0.0, typed) if missing.any() else typed, missing, none)


def _read_list(values: list[Any], kind: CellKind, null_values: frozenset[str]) -> ReadCells:
    empty, dtype = _EMPTY[kind]
    missing = np.array([one is None or one in null_values for one in values], np.bool_)
    if kind is CellKind.STRING and set(map(type, values)) <= {str, type(None)}:
        read, mistyped = values, np.zeros(len(values), np.bool_)
    else:
        pairs = zip(values, missing.tolist(), strict=True)
        read = [None if gone else _read_one(one, kind) for one, gone in pairs]
        mistyped = np.array([one is None for one in read], np.bool_) & ~missing
    typed = np.empty(len(values), dtype)
    typed[:] = [empty if one is None else one for one in read] if None in read else read
    return _made(typed, missing, mistyped)


def _made(values: Array, missing: Mask, mistyped: Mask) -> ReadCells:
    return ReadCells(Cells(values, missing | mistyped), missing, mistyped)


def _read_one(value: Any, kind: CellKind) -> Any:
    """None where it does not read."""
    if isinstance(value, str):
        return _read_text(value, kind)
    if isinstance(value, bool):
        return value if kind is CellKind.BOOL else None
    if not kind.is_number or not isinstance(value, int | float):
        return None
    if kind is CellKind.FLOAT:
        return float(value)
    is_whole = math.isfinite(value) and value == int(value)
    return int(value) if is_whole and _LEAST <= value <= _MOST else None


def _read_text(text: str, kind: CellKind) -> Any:
    if kind is CellKind.STRING:
        return text
    if kind is CellKind.BOOL:
        return {"true": True, "false": False}.get(text.lower())
    if kind is CellKind.INT:
        is_int = _INT.fullmatch(text) and len(text) < _MOST_DIGITS
        return _read_one(int(text), kind) if is_int else None
    if kind is CellKind.FLOAT:
        found = float(text) if _FLOAT.fullmatch(text) else math.inf
        return found if math.isfinite(found) else None
    return _read_day_or_time(text, kind)


def _read_day_or_time(text: str, kind: CellKind) -> np.datetime64 | None:
    day, time = _DAY.fullmatch(text), _TIME.fullmatch(text)
    try:
        if kind is CellKind.DATE:
            return np.datetime64(date(*map(int, day.groups())), "D") if day else None
        # Python reads six digits of a second.
        sent = re.sub(r"(\.\d{6})\d+", r"\1", text.replace("z", "Z")) if time else ""
        found = datetime.fromisoformat(sent)
    except ValueError:
        return None
    if found.tzinfo is not None:
        found = found.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(found, "us")
