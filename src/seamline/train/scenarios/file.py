"""What a scenarios file says: a grid, a list, or a query over a dataset version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.ir.document import load_plain
from seamline.train.scenarios.loop import MAX_SCENARIOS, scenario_label

_KINDS = ("grid", "list", "query")
_EXAMPLE = "Write, for one: grid: {origin: [JFK, LGA], carrier: [AA, DL]}"


@dataclass(frozen=True)
class ScenarioQuery:
    """One scenario per row; who has the data runs it."""

    #: "flights@7", or "flights@latest".
    dataset: str
    #: SQL over a table that is called like the dataset.
    select: str


def load_scenarios(text: bytes) -> list[dict[str, Any]] | ScenarioQuery:
    """The same as `read_scenarios`, from the file's bytes (YAML or JSON)."""
    documents = load_plain(text, "The scenarios file", _EXAMPLE)
    if len(documents) != 1:
        raise InvalidInput(
            f"The scenarios file holds {len(documents)} documents; it has to be one object.",
            next_step=_EXAMPLE,
        )
    return read_scenarios(documents[0])


def read_scenarios(document: Any) -> list[dict[str, Any]] | ScenarioQuery:
    """The scenarios, unchecked against any pipeline; a query is handed back to be run.

    >>> read_scenarios({"grid": {"a": [1, 2], "b": ["x", "y"]}, "exclude": [{"a": 2, "b": "x"}]})
    [{'a': 1, 'b': 'x'}, {'a': 1, 'b': 'y'}, {'a': 2, 'b': 'y'}]
    >>> read_scenarios({"query": {"dataset": "flights@7", "select": "SELECT origin FROM flights"}})
    ScenarioQuery(dataset='flights@7', select='SELECT origin FROM flights')
    """
    given = _object(document, "The scenarios file")
    for key in given:
        if key not in (*_KINDS, "exclude"):
            raise InvalidInput(
                f"{key!r} is no part of a scenarios file.",
                next_step=nearest(key, (*_KINDS, "exclude")),
            )
    kinds = [kind for kind in _KINDS if kind in given]
    if len(kinds) != 1:
        raise InvalidInput(
            "A scenarios file has exactly one of grid, list and query; "
            f"this one has {' and '.join(kinds) or 'none'}.",
            next_step=_EXAMPLE,
        )
    if "exclude" in given and kinds != ["grid"]:
        raise InvalidInput(
            f"exclude belongs to a grid, and this file has a {kinds[0]}.",
            next_step="Leave those scenarios out of the list, or of the query's rows.",
        )
    match kinds[0]:
        case "grid":
            return _read_grid(given["grid"], given.get("exclude", []))
        case "list":
            listed = enumerate(_list(given["list"], "list"))
            return [_object(one, f"list[{number}]") for number, one in listed]
    return _read_query(_object(given["query"], "query"))


def _read_grid(grid: Any, exclude: Any) -> list[dict[str, Any]]:
    axes = {name: _list(axis, f"grid.{name}") for name, axis in _object(grid, "grid").items()}
    cells = prod(len(axis) for axis in axes.values())
    if cells > MAX_SCENARIOS:
        sizes = " × ".join(f"{name} ({len(axis)})" for name, axis in axes.items())
        raise InvalidInput(
            f"The grid {sizes} has {cells} cells; at most {MAX_SCENARIOS} are allowed.",
            next_step="List those that you want, or query them.",
        )
    left = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    for number, pattern in enumerate(_list(exclude, "exclude")):
        left = _without(left, _pattern(pattern, axes, f"exclude[{number}]"), f"exclude[{number}]")
    return left


def _pattern(pattern: Any, axes: Mapping[str, list[Any]], where: str) -> dict[str, Any]:
    given = _object(pattern, where)
    for name in given:
        if name not in axes:
            raise InvalidInput(
                f"{where} names {name!r}, which the grid does not have.",
                next_step=nearest(name, axes),
            )
    if not given:
        raise InvalidInput(f"{where} is empty.", next_step="Name what is left out, or delete it.")
    return given


def _without(
    scenarios: list[dict[str, Any]], pattern: Mapping[str, Any], where: str
) -> list[dict[str, Any]]:
    kept = [one for one in scenarios if any(one[name] != pattern[name] for name in pattern)]
    if len(kept) == len(scenarios):
        raise InvalidInput(
            f"{where} ({scenario_label(pattern)}) leaves nothing out.",
            next_step="Compare its values with those of the grid, or delete it.",
        )
    return kept


def _read_query(query: dict[str, Any]) -> ScenarioQuery:
    for key in query:
        if key not in ("dataset", "select"):
            raise InvalidInput(
                f"query has no {key!r}.", next_step=nearest(key, ("dataset", "select"))
            )
    texts = {key: query.get(key) for key in ("dataset", "select")}
    for key, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput(
                f"query.{key} is missing, or no text.",
                next_step="Write query: {dataset: flights@7, select: SELECT origin FROM flights "
                "GROUP BY origin}",
            )
    return ScenarioQuery(dataset=str(texts["dataset"]).strip(), select=str(texts["select"]))


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(
            f"{what} has to be an object, not {type(value).__name__}.", next_step=_EXAMPLE
        )
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInput(
            f"{what} has to be a list, not {type(value).__name__}.", next_step=_EXAMPLE
        )
    return value
