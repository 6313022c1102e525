"""Rows of any kind as the declared columns, or a ValueError that names what does not fit."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

#: The types that a value of each datatype may have, next to None where the column is nullable.
TYPES: dict[str, tuple[type, ...]] = {
    "BOOL": (bool,),
    "INT64": (int,),
    "FP64": (float, int),
    "BYTES": (str, bytes),
}


def read_columns(rows: Any, inputs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The declared columns as plain lists of one length, nulls as None; others are ignored."""
    names = [declared["name"] for declared in inputs]
    columns = _pick(rows, names)
    wrong = [
        f"{declared['name']} ({complaint})"
        for declared in inputs
        if (complaint := _complaint(columns[declared["name"]], declared))
    ]
    if wrong:
        raise ValueError(f"Columns of another type: {', '.join(wrong)}.")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"Columns of different lengths: {lengths}.")
    return columns


def _pick(rows: Any, names: list[str]) -> dict[str, list[Any]]:
    if isinstance(rows, Mapping) or hasattr(rows, "columns"):
        present: set[str] = set(rows) if isinstance(rows, Mapping) else set(rows.columns)
        _check_present(names, present)
        return {name: _listed(rows[name]) for name in names}
    listed = list(rows)
    for row in listed:
        if not isinstance(row, Mapping):
            raise ValueError(f"Each row must be a mapping, not {type(row).__name__}.")
        _check_present(names, set(row))
    return {name: [_null(row[name]) for row in listed] for name in names}


def _check_present(names: list[str], present: set[str]) -> None:
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(f"Missing columns: {', '.join(missing)}.")


def _listed(values: Any) -> list[Any]:
    if hasattr(values, "isna"):  # pandas keeps nulls as NaN, NaT or NA
        values = values.astype(object).where(values.notna(), None)
    for method in ("tolist", "to_list"):
        if hasattr(values, method):
            values = getattr(values, method)()
            break
    return [_null(value) for value in values]


def _null(value: Any) -> Any:
    """NaN as None; numpy's scalars as Python's."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def _complaint(values: list[Any], declared: Mapping[str, Any]) -> str:
    """Empty when the column is what it should be.

    >>> _complaint([1, None], {"name": "n", "datatype": "INT64", "nullable": False})
    'null in a column without nulls'
    >>> _complaint(["a"], {"name": "n", "datatype": "FP64", "nullable": True})
    'wanted FP64, got str'
    """
    wanted = TYPES[declared["datatype"]]
    for found in set(map(type, values)):
        if found is type(None):
            if not declared["nullable"]:
                return "null in a column without nulls"
        elif found is float and declared["datatype"] == "INT64":
            if not all(value.is_integer() for value in values if isinstance(value, float)):
                return "wanted INT64, got fractions"
        elif found not in wanted:
            return f"wanted {declared['datatype']}, got {found.__name__}"
    return ""


def typed_arrays(rows: Any, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What is in arrays of the declared types already, as a server sends it; None for all else,
    which is to be read value by value."""
    if not isinstance(rows, Mapping):
        return None
    np = importlib.import_module("numpy")
    arrays: dict[str, Any] = {}
    for declared in inputs:
        values = rows.get(declared["name"])
        if declared["datatype"] == "BYTES":
            allowed = {str, type(None)} if declared["nullable"] else {str}
            if type(values) is not list or not set(map(type, values)) <= allowed:
                return None
            values = array_of(values, "BYTES")
        elif not _is_typed(np, values, declared):
            return None
        arrays[declared["name"]] = values
    return arrays if len({len(values) for values in arrays.values()}) == 1 else None


def _is_typed(np: Any, values: Any, declared: Mapping[str, Any]) -> bool:
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        return False
    if values.dtype != _dtype(np, declared["datatype"]):
        return False
    return values.dtype.kind != "f" or declared["nullable"] or not np.isnan(values).any()


def _dtype(np: Any, datatype: str) -> Any:
    return {"BOOL": np.bool_, "INT64": np.int64, "FP64": np.float64}[datatype]


def array_of(values: list[Any], datatype: str) -> Any:
    np = importlib.import_module("numpy")
    if datatype == "BYTES":
        texts = [value.decode() if isinstance(value, bytes) else value for value in values]
        array = np.empty(len(texts), dtype=object)
        array[:] = texts
        return array
    if None in values:
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array(values, _dtype(np, datatype))
