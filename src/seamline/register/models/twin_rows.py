"""The rows that a model and its twin have to agree on, and what each says of them.

A plain script for task processes, as package_task.py: the model's own environment writes the rows
with the model's answers, that of the converters compares the twin's with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

UNSEEN = "a category that was never seen"


def write_check(
    path: Path, model: Any, inputs: Sequence[dict[str, Any]], rows: Iterable[dict[str, Any]]
) -> int:
    """A file {rows, edge_rows, answers}; how many rows of training data it holds."""
    names = [declared["name"] for declared in inputs]
    known = [{name: row[name] for name in names} for row in rows if row.keys() >= set(names)]
    fitting = [row for row in known if is_fitting(row, inputs)]
    edges = edge_rows(fitting, inputs)
    said = [*answers(model, fitting), *answers(model, edges)]
    path.write_text(json.dumps({"rows": fitting, "edge_rows": edges, "answers": said}), "utf-8")
    return len(fitting)


def is_fitting(row: dict[str, Any], inputs: Sequence[dict[str, Any]]) -> bool:
    """Rows that the signature refuses are never predicted.

    >>> column = {"name": "a", "datatype": "INT64", "nullable": False}
    >>> is_fitting({"a": 1}, [column]), is_fitting({"a": None}, [column])
    (True, False)
    """
    types = {"BOOL": (bool,), "INT64": (int,), "FP64": (int, float), "BYTES": (str,)}
    for declared in inputs:
        value = row[declared["name"]]
        if value is None:
            if not declared["nullable"]:
                return False
        elif type(value) not in types[declared["datatype"]]:
            return False
    return True


def edge_rows(
    rows: Sequence[dict[str, Any]], inputs: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """An ordinary row with one column at a time at its minimum, maximum, missing, and never seen.

    Whole numbers may be categories: past their maximum is one that was never seen.

    >>> column = {"name": "n", "datatype": "INT64", "nullable": True}
    >>> edge_rows([{"n": 3}, {"n": 5}], [column])
    [{'n': 3}, {'n': 5}, {'n': None}, {'n': 6}]
    """
    if not rows:
        return []
    ordinary = rows[len(rows) // 2]
    return [
        {**ordinary, declared["name"]: value}
        for declared in inputs
        for value in _edges([row[declared["name"]] for row in rows], declared)
    ]


def _edges(values: list[Any], declared: dict[str, Any]) -> list[Any]:
    present = [value for value in values if value is not None]
    found = [min(present), max(present)] if present else []
    if declared["nullable"]:
        found.append(None)
    if declared["datatype"] == "BYTES":
        found.append(UNSEEN)
    elif declared["datatype"] == "INT64" and present:
        found.append(max(present) + 1)
    return found


def answers(model: Any, rows: list[dict[str, Any]]) -> list[float | None]:
    """Scores, or values of a regression; None for each row that the model refuses.

    One row that is refused takes all others with it, so what is refused is halved until it is one.
    """
    try:
        return _said(model, rows)
    except Exception:
        if len(rows) == 1:
            return [None]
    half = len(rows) // 2
    return [*answers(model, rows[:half]), *answers(model, rows[half:])]


def _said(model: Any, rows: list[dict[str, Any]]) -> list[float | None]:
    if not rows:
        return []
    outputs = model.outputs(rows)
    return list(outputs["score" if "score" in outputs else "prediction"].tolist())
