"""Inputs held to the contract of the training data: refused, or counted and answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from seamline.domain.errors import InvalidInput
from seamline.measure.rules.arrays import ArrayRule, compile_rule
from seamline.measure.rules.cells import Array, CellKind, Mask, ReadCells, allowed_cells, read_cells
from seamline.measure.rules.patterns import LinearPattern, linear_pattern
from seamline.serve.datatypes import Columns, Values


class ServingPolicy(StrEnum):
    """What an endpoint does with inputs that the training data could not have held."""

    WARN = "warn"
    REFUSE = "refuse"
    IGNORE = "ignore"
    #: Each rule as the contract has it: what would be refused or set aside of a delivery is
    #: refused, all else is counted.
    CONTRACT = "contract"


@dataclass(frozen=True)
class InputRule:
    """`low` and `high` are allowed themselves; `values` are the only ones that are.

    `dtype` is the contract's: the values of texts and floats can be of another. A snapshot that is
    older than that leaves it out.
    """

    column: str
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] | None = None
    nullable: bool = True
    #: Else it is counted, and answered.
    refuse: bool = False
    dtype: str = ""
    #: For the whole text.
    pattern: str | None = None
    #: Texts that mean that nothing is there.
    missing: tuple[str, ...] = ()

    @cached_property
    def linear(self) -> LinearPattern | None:
        return None if self.pattern is None else linear_pattern(self.pattern)

    @cached_property
    def kind(self) -> CellKind | None:
        return CellKind(self.dtype) if self.dtype else None


@dataclass(frozen=True)
class InputExpression:
    """A rule over several inputs; `columns` are those that it names, with their types."""

    name: str
    holds: str
    columns: tuple[tuple[str, str], ...]
    refuse: bool = False
    missing: tuple[str, ...] = ()

    @cached_property
    def compiled(self) -> ArrayRule:
        return compile_rule(self.holds, {name: CellKind(dtype) for name, dtype in self.columns})


@dataclass(frozen=True)
class InputBreach:
    """`what` is the rule in a word: type, null, range, values, pattern or rule; of a rule over
    several inputs, `column` is its name."""

    column: str
    what: str
    count: int


def prepare_rules(rules: Sequence[InputRule], expressions: Sequence[InputExpression]) -> None:
    """Makes what is made once. Raises InvalidInput for what cannot be asked: it is to be told
    before anybody asks."""
    for rule in rules:
        _ = rule.kind, rule.linear
    for expression in expressions:
        _ = expression.compiled


def check_inputs(
    columns: Columns, rules: Sequence[InputRule], expressions: Sequence[InputExpression] = ()
) -> list[InputBreach]:
    """What to count; InvalidInput, naming the first row, where a rule refuses.

    >>> hour = InputRule("hour", low=0, high=23)
    >>> check_inputs({"hour": np.array([5, 24])}, [hour])
    [InputBreach(column='hour', what='range', count=1)]
    >>> order = InputExpression("order", "a <= b", (("a", "int"), ("b", "int")))
    >>> check_inputs({"a": np.array([1, 3]), "b": np.array([2, 2])}, [], [order])
    [InputBreach(column='order', what='rule', count=1)]
    """
    found = []
    for rule in rules:
        values = columns.get(rule.column)
        if values is None or not len(values):
            continue
        read = read_cells(values, rule.kind or _kind_of(values), rule.missing)
        for what, broken in _broken(rule, read):
            if not broken.any():
                continue
            if rule.refuse:
                raise _refusal(rule, what, values, int(np.argmax(broken)))
            found.append(InputBreach(rule.column, what, int(broken.sum())))
    for expression in expressions:
        rows = _broken_rows(expression, columns)
        if rows is None or not rows.any():
            continue
        if expression.refuse:
            raise _row_refusal(expression, columns, int(np.argmax(rows)))
        found.append(InputBreach(expression.name, "rule", int(rows.sum())))
    return found


def _broken(rule: InputRule, read: ReadCells) -> Iterator[tuple[str, Mask]]:
    values, known = read.cells.values, ~read.cells.unknown
    if rule.dtype:
        yield "type", read.mistyped
    if not rule.nullable:
        yield "null", read.missing
    if (rule.low is not None or rule.high is not None) and values.dtype.kind in "if":
        low = -np.inf if rule.low is None else rule.low
        high = np.inf if rule.high is None else rule.high
        yield "range", known & ((values < low) | (values > high))
    if rule.values is not None:
        yield "values", known & ~_are_among(values, rule.values, rule.kind)
    if rule.linear is not None and values.dtype.kind == "O":
        yield "pattern", known & ~rule.linear.matches(values.tolist())


def _are_among(values: Array, texts: tuple[str, ...], kind: CellKind | None) -> Mask:
    if values.dtype.kind == "O":
        allowed = frozenset(texts)
        return np.array([one in allowed for one in values], np.bool_)
    found: Mask = np.isin(values, allowed_cells(texts, kind or _kind_of(values)))
    return found


def _broken_rows(expression: InputExpression, columns: Columns) -> Mask | None:
    """None where one of its columns is not there."""
    sent = [columns.get(name) for name, _ in expression.columns]
    rows = next((len(values) for values in sent if values is not None), 0)
    if not rows or any(values is None for values in sent):
        return None
    given = {
        name: read_cells(columns[name], CellKind(dtype), expression.missing).cells
        for name, dtype in expression.columns
    }
    return expression.compiled.broken(given, rows)


def _kind_of(values: Values) -> CellKind:
    """Of values whose contract does not say."""
    if isinstance(values, np.ndarray):
        kinds = {"f": CellKind.FLOAT, "b": CellKind.BOOL}
        return kinds.get(values.dtype.kind, CellKind.INT)
    first = next((one for one in values if one is not None), None)
    if isinstance(first, bool):
        return CellKind.BOOL
    return CellKind.FLOAT if isinstance(first, int | float) else CellKind.STRING


def _refusal(rule: InputRule, what: str, values: Values, row: int) -> InvalidInput:
    value = _at(values, row)
    said = {
        "type": f"is {value!r}, which does not read as {rule.dtype}",
        "null": "is null; the training data never were",
        "range": f"is {value!r}, out of range ({_range(rule)})",
        "values": f"is {value!r}, which is none of the values that it may have",
        "pattern": f"is {value!r}, which does not match {rule.pattern!r}",
    }[what]
    return InvalidInput(
        f"Input {rule.column!r} {said} (row {row}).",
        next_step="The contract of the model's training data says so.",
    )


def _row_refusal(expression: InputExpression, columns: Columns, row: int) -> InvalidInput:
    values = ", ".join(f"{name} {_at(columns[name], row)}" for name, _ in expression.columns)
    return InvalidInput(
        f"The inputs break rule {expression.name!r}, {expression.holds}: {values} (row {row}).",
        next_step="The contract of the model's training data says so.",
    )


def _at(values: Values, row: int) -> object:
    return values[row].item() if isinstance(values, np.ndarray) else values[row]


def _range(rule: InputRule) -> str:
    low = [] if rule.low is None else [f"at least {rule.low:g}"]
    high = [] if rule.high is None else [f"at most {rule.high:g}"]
    return ", ".join(low + high)
