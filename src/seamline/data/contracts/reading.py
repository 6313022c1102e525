"""A contract's YAML → the contract, with errors that point at the line."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Any, TypeVar

from seamline.data.contracts.located import Located, read_yaml
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import InvalidInput, nearest
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

_TOP = ("on_breach", "rows", "freshness", "keys", "columns", "rules")
_COLUMN = (
    *("type", "nullable", "required", "at_least", "at_most", "one_of", "matches", "unique"),
    *("drift", "on_breach"),
)
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
    for rule, place in zip(contract.rules, places, strict=True):
        whole = Contract(contract.columns, rules=(rule,))
        _pointing(place, check_contract, whole)


def _pointing(place: Located, check: Callable[[Any], object], value: object) -> Any:
    try:
        return check(value)
    except InvalidInput as error:
        raise place.error(error.message, error.next_step) from error


def _column(name: str, place: Located) -> Column:
    if not place.is_table:  # `hour: int`, all else as it is by default
        return Column(name, _choice(place, DType))
    fields = place.fields(_COLUMN)
    if "type" not in fields:
        raise place.error(f"{place.where} lacks its type.", f"One of {', '.join(DType)}.")
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
        return place.number(), None
    fields = place.fields(("psi", "on_breach"))
    if "psi" not in fields:
        raise place.error(f"{place.where} lacks psi.", "Write drift: {psi: 0.2}.")
    policy = _choice(fields["on_breach"], Policy) if "on_breach" in fields else None
    return fields["psi"].number(), policy


def _rule(place: Located) -> RowRule:
    fields = place.fields(("name", "holds", "on_breach"))
    for key in ("name", "holds"):
        if key not in fields:
            raise place.error(f"{place.where} lacks {key}.")
    policy = _choice(fields["on_breach"], Policy) if "on_breach" in fields else None
    return RowRule(fields["name"].text(), fields["holds"].text(), policy)


def _rows(place: Located) -> RowBounds:
    fields = place.fields(("at_least", "at_most", "of_previous", "on_breach"))
    least = most = None
    if "of_previous" in fields:
        shares = fields["of_previous"].fields(("at_least", "at_most"))
        least = shares["at_least"].number() if "at_least" in shares else None
        most = shares["at_most"].number() if "at_most" in shares else None
    return RowBounds(
        at_least=fields["at_least"].integer() if "at_least" in fields else None,
        at_most=fields["at_most"].integer() if "at_most" in fields else None,
        least_share=least,
        most_share=most,
        on_breach=_choice(fields["on_breach"], Policy) if "on_breach" in fields else None,
    )


def _freshness(place: Located) -> Freshness:
    fields = place.fields(("max_age", "on_breach"))
    if "max_age" not in fields:
        raise place.error("freshness lacks max_age.", "Write max_age: 36h.")
    age = fields["max_age"]
    max_age_s: float = _pointing(age, parse_duration_s, age.text())
    policy = _choice(fields["on_breach"], Policy) if "on_breach" in fields else None
    return Freshness(max_age_s, policy)


def _unique_in_table(place: Located) -> bool:
    fields = place.fields(("unique_in",))
    if "unique_in" not in fields:
        raise place.error("keys lacks unique_in.", "Write unique_in: table.")
    return _one_of(fields["unique_in"], _KEYS_UNIQUE_IN) == "table"


def _choice(place: Located, kind: type[Choice]) -> Choice:
    return kind(_one_of(place, [str(one) for one in kind]))


def _one_of(place: Located, known: Collection[str]) -> str:
    text = place.text()
    if text not in known:
        raise place.error(f"{place.where}: {text!r} is not known.", nearest(text, known))
    return text
