"""A contract's YAML → the contract, with errors that point at the line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from seamline.data.contracts.located import Located, nearest_of, read_yaml
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import InvalidInput
from seamline.measure.casting import DType
from seamline.measure.contracts import (
    NULL_VALUES,
    Column,
    Contract,
    Freshness,
    Policy,
    RowBounds,
    RowRule,
    check_contract,
)

Choice = TypeVar("Choice", bound=StrEnum)
Number = TypeVar("Number", int, float)

_TOP = ("on_breach", "rows", "freshness", "keys", "columns", "rules")
_COLUMN = (
    *("type", "nullable", "required", "at_least", "at_most", "one_of", "matches", "unique"),
    *("drift", "on_breach"),
)
#: What other tools say for them.
_OTHER_KEYS = {
    **dict.fromkeys(("min", "minimum", "ge", "gte", "low"), "at_least"),
    **dict.fromkeys(("max", "maximum", "le", "lte", "high"), "at_most"),
    **dict.fromkeys(("values", "enum", "isin", "allowed", "accepted_values"), "one_of"),
    **dict.fromkeys(("pattern", "regex", "format"), "matches"),
    **dict.fromkeys(("null", "nulls", "not_null"), "nullable"),
    **dict.fromkeys(("dtype", "kind"), "type"),
    **dict.fromkeys(("policy", "severity"), "on_breach"),
    **dict.fromkeys(("psi", "shift"), "drift"),
}
_OTHER_TYPES = {
    **dict.fromkeys(("integer", "bigint", "int64", "long"), "int"),
    **dict.fromkeys(("number", "double", "decimal", "float64", "numeric"), "float"),
    **dict.fromkeys(("text", "str", "varchar", "utf8", "category"), "string"),
    **dict.fromkeys(("timestamp", "timestamptz", "time"), "datetime"),
    **dict.fromkeys(("boolean", "flag"), "bool"),
}
_OTHER_POLICIES = {
    **dict.fromkeys(("error", "fail", "reject", "block", "abort"), "refuse"),
    **dict.fromkeys(("warning", "ignore", "info", "log"), "warn"),
    **dict.fromkeys(("drop", "filter"), "quarantine"),
    "retrain": "trigger",
}
_KEYS_UNIQUE_IN = ("delivery", "table")


def read_contract(
    text: str, file: str = "contract.yaml", null_values: tuple[str, ...] = NULL_VALUES
) -> Contract:
    """Raises InvalidInput that names file and line, and the nearest key where one was mistyped.

    >>> contract = read_contract('''
    ... columns:
    ...   hour: {type: int, at_least: 0, at_most: 23}
    ...   carrier: {type: string, one_of: [UA, NO]}
    ... ''')
    >>> contract.columns[1].values
    ('UA', 'NO')
    """
    top = read_yaml(text, file)
    fields = top.fields(_TOP)
    if "columns" not in fields:
        raise top.error("columns is missing.", "Add columns: with a line for each.")
    columns = tuple(_column(name, one) for name, one in fields["columns"].entries())
    if not columns:
        raise fields["columns"].error("columns names none.", "Add a line for each.")
    rules = tuple(map(_rule, fields["rules"].items())) if "rules" in fields else ()
    contract = Contract(
        columns=columns,
        null_values=null_values,
        on_breach=_choice(fields["on_breach"], Policy) if "on_breach" in fields else Policy.REFUSE,
        rules=rules,
        rows=_rows(fields["rows"]) if "rows" in fields else None,
        freshness=_freshness(fields["freshness"]) if "freshness" in fields else None,
        unique_in_table=_unique_in_table(fields["keys"]) if "keys" in fields else False,
    )
    _check_each(contract, fields)
    return contract


def _check_each(contract: Contract, fields: dict[str, Located]) -> None:
    """Column by column and rule by rule, so that the line can be named."""
    for column, (_, place) in zip(contract.columns, fields["columns"].entries(), strict=True):
        _pointing(place, lambda one: check_contract(Contract((one,))), column)
    places = fields["rules"].items() if "rules" in fields else []
    seen: set[str] = set()
    for rule, place in zip(contract.rules, places, strict=True):
        if rule.name in seen:  # breaches are told by the rule's name
            raise place.error(f"There are two rules of the name {rule.name!r}.")
        seen.add(rule.name)
        whole = Contract(contract.columns, rules=(rule,))
        _pointing(dict(place.entries())["holds"], check_contract, whole)


def _pointing(place: Located, check: Callable[[Any], object], value: object) -> Any:
    try:
        return check(value)
    except InvalidInput as error:
        raise place.error(error.message, error.next_step) from error


def _column(name: str, place: Located) -> Column:
    if not place.is_table and not place.is_empty:  # `hour: int`, all else as it is by default
        return Column(name, _choice(place, DType))
    fields = place.fields(_COLUMN, _OTHER_KEYS) if place.is_table else {}
    if "type" not in fields:
        raise place.at_key.error(f"{place.where} lacks its type.", f"One of {', '.join(DType)}.")
    drift, on_drift = _drift(fields["drift"]) if "drift" in fields else (None, None)
    return Column(
        name=name,
        dtype=_choice(fields["type"], DType),
        nullable=fields["nullable"].flag() if "nullable" in fields else True,
        required=fields["required"].flag() if "required" in fields else True,
        low=fields["at_least"].number() if "at_least" in fields else None,
        high=fields["at_most"].number() if "at_most" in fields else None,
        values=_texts(fields["one_of"]) if "one_of" in fields else None,
        pattern=fields["matches"].text() if "matches" in fields else None,
        unique=fields["unique"].flag() if "unique" in fields else False,
        drift=drift,
        on_drift=on_drift,
        on_breach=_choice(fields["on_breach"], Policy) if "on_breach" in fields else None,
    )


def _texts(place: Located) -> tuple[str, ...]:
    found = tuple(one.text() for one in place.items())
    if not found:
        raise place.error(f"{place.where} allows no value at all.")
    return found


def _drift(place: Located) -> tuple[float, Policy | None]:
    """`drift: 0.2`, or with a policy of its own."""
    if not place.is_table:
        return _positive(place), None
    fields = place.fields(("psi", "on_breach"))
    if "psi" not in fields:
        raise place.error(f"{place.where} lacks psi.", "Write drift: {psi: 0.2}.")
    policy = _choice(fields["on_breach"], Policy) if "on_breach" in fields else None
    return _positive(fields["psi"]), policy


def _positive(place: Located) -> float:
    found = place.number()
    if found <= 0:
        raise place.error(f"{place.where} has to be above 0.")
    return found


def _rule(place: Located) -> RowRule:
    fields = place.fields(("name", "holds", "on_breach"))
    for key in ("name", "holds"):
        if key not in fields:
            raise place.error(f"{place.where} lacks {key}.")
    policy = _choice(fields["on_breach"], Policy) if "on_breach" in fields else None
    return RowRule(fields["name"].text(), fields["holds"].text(), policy)


def _rows(place: Located) -> RowBounds:
    fields = _table(place, "rows: {at_least: 1}").fields(
        ("at_least", "at_most", "of_previous", "on_breach"), _OTHER_KEYS
    )
    shares: dict[str, Located] = {}
    if "of_previous" in fields:
        shares = _table(fields["of_previous"], "of_previous: {at_least: 0.5}").fields(
            ("at_least", "at_most"), _OTHER_KEYS
        )
    if not shares and not {"at_least", "at_most"} & set(fields):
        raise place.at_key.error(f"{place.where} says nothing.", "Write rows: {at_least: 1}.")
    return RowBounds(
        *_bounds(place, fields, Located.integer),
        *_bounds(fields.get("of_previous", place), shares, Located.number),
        on_breach=_choice(fields["on_breach"], Policy) if "on_breach" in fields else None,
    )


def _bounds(
    place: Located, fields: Mapping[str, Located], read: Callable[[Located], Number]
) -> tuple[Number | None, Number | None]:
    low, high = (read(fields[key]) if key in fields else None for key in ("at_least", "at_most"))
    if (low is not None and low < 0) or (high is not None and high < 0):
        raise place.error(f"{place.where} cannot be below 0.")
    if low is not None and high is not None and low > high:
        raise place.error(f"{place.where}: nothing is at least {low:g} and at most {high:g}.")
    return low, high


def _table(place: Located, example: str) -> Located:
    if not place.is_table:
        raise place.error(
            f"{place.where} has to be a table of keys and values.", f"Write {example}."
        )
    return place


def _freshness(place: Located) -> Freshness:
    fields = _table(place, "freshness: {max_age: 36h}").fields(("max_age", "on_breach"))
    if "max_age" not in fields:
        raise place.error("freshness lacks max_age.", "Write max_age: 36h.")
    age = fields["max_age"]
    max_age_s: float = _pointing(age, parse_duration_s, age.text())
    if max_age_s <= 0:
        raise age.error("Nothing is younger than that.", "Write max_age: 36h.")
    policy = _choice(fields["on_breach"], Policy) if "on_breach" in fields else None
    return Freshness(max_age_s, policy)


def _unique_in_table(place: Located) -> bool:
    fields = _table(place, "keys: {unique_in: table}").fields(("unique_in",))
    if "unique_in" not in fields:
        raise place.error("keys lacks unique_in.", "Write unique_in: table.")
    return _one_of(fields["unique_in"], _KEYS_UNIQUE_IN) == "table"


def _choice(place: Located, kind: type[Choice]) -> Choice:
    return kind(_one_of(place, [str(one) for one in kind], {**_OTHER_TYPES, **_OTHER_POLICIES}))


def _one_of(place: Located, known: Collection[str], others: Mapping[str, str] | None = None) -> str:
    text = place.text()
    if text not in known:
        meant = {word: one for word, one in (others or {}).items() if one in known}
        said = nearest_of(text, known, meant)
        raise place.error(f"{place.where}: {text!r} is not known.", said)
    return text
