"""Inputs held to the contract of the training data: refused, or counted and answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from seamline.domain.errors import InvalidInput
from seamline.serve.datatypes import Columns, Values

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class ServingPolicy(StrEnum):
    """What an endpoint does with inputs that the training data could not have held."""

    WARN = "warn"
    REFUSE = "refuse"
    IGNORE = "ignore"


@dataclass(frozen=True)
class InputRule:
    """`low` and `high` are allowed themselves; `values` are the only ones that are."""

    column: str
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] | None = None
    nullable: bool = True
    #: Else it is counted, and answered.
    refuse: bool = False

    @property
    def says_something(self) -> bool:
        return not self.nullable or (self.low, self.high, self.values) != (None, None, None)

    @cached_property
    def allowed(self) -> frozenset[str]:
        return frozenset(self.values or ())


@dataclass(frozen=True)
class InputBreach:
    """`what` is the rule in a word: range, values or null."""

    column: str
    what: str
    count: int


def check_inputs(columns: Columns, rules: Sequence[InputRule]) -> list[InputBreach]:
    """What to count; InvalidInput, naming the first row, where a rule refuses.

    >>> hour = InputRule("hour", low=0, high=23)
    >>> check_inputs({"hour": np.array([5, 24])}, [hour])
    [InputBreach(column='hour', what='range', count=1)]
    """
    found = []
    for rule in rules:
        values = columns.get(rule.column)
        if values is None:
            continue
        for what, broken in _broken(rule, values):
            if not broken.any():
                continue
            if rule.refuse:
                raise _refusal(rule, what, values, int(np.argmax(broken)))
            found.append(InputBreach(rule.column, what, int(broken.sum())))
    return found


def _broken(rule: InputRule, values: Values) -> Iterator[tuple[str, Mask]]:
    if not rule.nullable:
        yield "null", _nulls(values)
    if rule.low is not None or rule.high is not None:
        yield "range", _outside(rule, values)
    if rule.values is not None:
        texts = values if isinstance(values, list) else values.tolist()
        allowed = rule.allowed
        yield "values", np.array([one is not None and _text(one) not in allowed for one in texts])


def _nulls(values: Values) -> Mask:
    if isinstance(values, list):
        return np.array([one is None for one in values])
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), np.bool_)


def _outside(rule: InputRule, values: Values) -> Mask:
    if isinstance(values, list):
        numbers = [np.nan if one is None or isinstance(one, str) else one for one in values]
        values = np.array(numbers, np.float64)
    low = -np.inf if rule.low is None else rule.low
    high = np.inf if rule.high is None else rule.high
    return np.asarray((values < low) | (values > high))  # false for NaN


def _text(value: object) -> str:
    """As contracts have it: booleans in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusal(rule: InputRule, what: str, values: Values, row: int) -> InvalidInput:
    value: object = values[row].item() if isinstance(values, np.ndarray) else values[row]
    said = {
        "null": "is null; the training data never were",
        "range": f"is {value!r}, out of range ({_range(rule)})",
        "values": f"is {value!r}, which is none of the values that it may have",
    }[what]
    return InvalidInput(
        f"Input {rule.column!r} {said} (row {row}).",
        next_step="The contract of the model's training data says so.",
    )


def _range(rule: InputRule) -> str:
    low = [] if rule.low is None else [f"at least {rule.low:g}"]
    high = [] if rule.high is None else [f"at most {rule.high:g}"]
    return ", ".join(low + high)
