"""Rows held to a contract: what breaks, which rows do, and the rows as the contract has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from seamline.domain.errors import InvalidInput
from seamline.measure.casting import POLARS_TYPES, DType, cast_series, null_missing
from seamline.measure.contracts.expressions import broken_by, read_rule
from seamline.measure.contracts.terms import NULL_VALUES, Column, Contract, Policy
from seamline.measure.contracts.violations import Violation, ViolationKind
from seamline.measure.inference import dtype_of

_EXAMPLES = 3
_SHOWN_VALUES = 8


@dataclass(frozen=True)
class Breach:
    """A rule that rows break, and which rows do (None: it concerns all of them)."""

    violation: Violation
    broken: pl.Series | None = None


@dataclass(frozen=True)
class CheckedRows:
    """`typed` holds the contract's columns that came, in its order; a value that does not read as
    its type is missing there, and told in `breaches`."""

    breaches: list[Breach]
    typed: pl.DataFrame

    @property
    def violations(self) -> list[Violation]:
        return [breach.violation for breach in self.breaches]

    def set_aside(self) -> pl.Series | None:
        """Which rows the contract wants in quarantine; None where there is none."""
        masks = [one.broken for one in self._of_quarantine()]
        return None if not masks else pl.select(pl.any_horizontal(masks)).to_series()

    def reasons(self, rows: pl.Series) -> pl.Series:
        """Why each of these rows (a mask) is set aside: `minutes: not float; rule: broken`.

        >>> contract = Contract((Column("n", DType.INT, high=5),), on_breach=Policy.QUARANTINE)
        >>> checked = check_rows(pl.DataFrame({"n": ["1", "x", "9"]}), contract)
        >>> checked.reasons(checked.set_aside()).to_list()
        ['n: mistyped (int)', 'n: out of range (at most 5)']
        """
        parts = [
            pl.when(one.broken.filter(rows)).then(pl.lit(_reason(one.violation)))
            for one in self._of_quarantine()
            if one.broken is not None
        ]
        return pl.select(
            pl.concat_str(parts, separator="; ", ignore_nulls=True).alias("reasons")
        ).to_series()

    def _of_quarantine(self) -> Iterator[Breach]:
        return (one for one in self.breaches if one.violation.does is Policy.QUARANTINE)


def _reason(violation: Violation) -> str:
    expected = f" ({violation.expected})" if violation.expected else ""
    return f"{violation.column}: {violation.kind.replace('_', ' ')}{expected}"


def infer_contract(
    frame: pl.DataFrame, null_values: tuple[str, ...] = NULL_VALUES, *, parse: bool = True
) -> Contract:
    """The narrowest contract that the frame keeps; ranges and closed sets are for people to add.

    With `parse`, string columns (a frame read from CSV) become the first dtype that every value
    reads as; digits with leading zeros (zip codes) stay strings.

    >>> frame = pl.DataFrame({"day": ["2013-07-09"], "distance": ["12.5"], "zip": ["01234"]})
    >>> [(column.name, str(column.dtype)) for column in infer_contract(frame).columns]
    [('day', 'date'), ('distance', 'float'), ('zip', 'string')]
    """
    columns = []
    for series in frame:
        values = null_missing(series, null_values)
        dtype = dtype_of(values, parse=parse) or DType.STRING
        columns.append(Column(series.name, dtype, nullable=values.null_count() > 0))
    return Contract(tuple(columns), null_values)


def check_frame(
    frame: pl.DataFrame, contract: Contract, *, day: pl.Series | None = None
) -> tuple[list[Violation], pl.DataFrame | None]:
    """Every way in which a frame breaks its contract; the typed frame if there is none.

    >>> contract = Contract((Column("distance", DType.FLOAT),))
    >>> bad, typed = check_frame(pl.DataFrame({"distance": ["1.5", "n/a"]}), contract)
    >>> print(bad[0].sentence(), typed)
    distance: 1 of 2 values are not float, e.g. 'n/a'. None
    """
    checked = check_rows(frame, contract, day=day)
    return checked.violations, None if checked.breaches else checked.typed


def check_rows(
    frame: pl.DataFrame, contract: Contract, *, day: pl.Series | None = None
) -> CheckedRows:
    """The frame may be all strings (read from CSV) or typed. `day` labels each row; violations
    name the least label among their rows."""
    if day is not None and len(day) != frame.height:
        raise InvalidInput(
            f"{len(day)} day labels do not fit {frame.height} rows.",
            next_step="Give one label per row.",
        )
    found: list[Breach] = []
    typed: list[pl.Series] = []
    given = dict.fromkeys(frame.columns)  # once: Polars makes the list anew each time
    for column in contract.columns:
        policy = contract.policy(column.on_breach)
        if column.name not in given:
            if column.required:
                kind, expected = ViolationKind.MISSING_COLUMN, str(column.dtype)
                found.append(Breach(_whole_column(kind, column.name, expected, policy)))
            continue
        raw = null_missing(frame[column.name], contract.null_values)
        values = cast_series(raw, column.dtype)
        found += _check_values(column, raw, values, day, policy)
        typed.append(values)
    known = {column.name for column in contract.columns}
    found += [
        Breach(_whole_column(ViolationKind.UNEXPECTED_COLUMN, name, "", contract.on_breach))
        for name in given
        if name not in known
    ]
    rows = pl.DataFrame(typed)
    return CheckedRows(found + list(_check_rules(rows, contract, day)), rows)


def complete(typed: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """With the columns that may be left out, and were; in the contract's order."""
    given = set(typed.columns)
    columns = [
        pl.col(one.name)
        if one.name in given
        else pl.lit(None, POLARS_TYPES[one.dtype]).alias(one.name)
        for one in contract.columns
    ]
    return typed if len(columns) == typed.width else typed.select(columns)


def check_contract(contract: Contract) -> None:
    """Raises InvalidInput for rules that no row could be held to: a pattern or an expression that
    does not read, a bound or a set that the column's type cannot have."""
    schema = {column.name: POLARS_TYPES[column.dtype] for column in contract.columns}
    for column in contract.columns:
        _check_column(column)
    for rule in contract.rules:
        read_rule(rule.holds, schema)


def _check_column(column: Column) -> None:
    is_number = column.dtype in (DType.INT, DType.FLOAT)
    if not is_number and (column.low is not None or column.high is not None):
        raise InvalidInput(
            f"Column {column.name} is {column.dtype}: only numbers have at_least and at_most.",
            next_step="Write a rule instead, like when >= date('2013-01-01').",
        )
    if column.low is not None and column.high is not None and column.low > column.high:
        raise InvalidInput(
            f"Column {column.name}: nothing is at least {column.low:g} and at most {column.high:g}."
        )
    if column.values is not None:
        unread = pl.Series(column.values, dtype=pl.String).filter(allowed_values(column).is_null())
        if len(unread):
            raise InvalidInput(
                f"Column {column.name} is {column.dtype}: {unread[0]!r} of one_of is none."
            )
    if column.drift is not None and column.dtype in (DType.DATE, DType.DATETIME):
        raise InvalidInput(
            f"Column {column.name} is {column.dtype}: times always go on, and have no drift."
        )
    if column.pattern is not None:
        if column.dtype is not DType.STRING:
            raise InvalidInput(f"Column {column.name} is {column.dtype}: only strings match.")
        try:
            pl.Series([""]).str.contains(_whole_pattern(column.pattern))
        except pl.exceptions.PolarsError as error:
            raise InvalidInput(
                f"Column {column.name}: {column.pattern!r} is no regular expression.",
                next_step="Look-around and back references are not known here.",
            ) from error


def _whole_column(kind: ViolationKind, name: str, expected: str, policy: Policy) -> Violation:
    return Violation(kind, name, expected, 0, 0, policy=policy)


def _check_rules(
    typed: pl.DataFrame, contract: Contract, day: pl.Series | None
) -> Iterator[Breach]:
    if not contract.rules:
        return
    schema = {column.name: POLARS_TYPES[column.dtype] for column in contract.columns}
    whole = complete(typed, contract)
    for rule in contract.rules:
        expression = read_rule(rule.holds, schema)
        broken = broken_by(expression, whole)
        if broken.any():
            names = [name for name in expression.meta.root_names() if name in whole.columns]
            shown = whole.filter(broken).select(list(dict.fromkeys(names)))
            examples = [
                ", ".join(f"{name} {value}" for name, value in row.items())
                for row in shown.unique(maintain_order=True).head(_EXAMPLES).to_dicts()
            ]
            policy = contract.policy(rule.on_breach)
            kind = ViolationKind.RULE
            yield _describe(kind, rule.name, rule.holds, examples, broken, day, policy)


def _check_values(
    column: Column, raw: pl.Series, values: pl.Series, day: pl.Series | None, policy: Policy
) -> list[Breach]:
    found = []
    for kind, expected, broken in _rules_of(column, raw, values):
        if not broken.any():
            continue
        shown = raw.filter(broken).drop_nulls().unique(maintain_order=True).head(_EXAMPLES)
        examples = [str(example) for example in shown.to_list()]
        found.append(_describe(kind, column.name, expected, examples, broken, day, policy))
    return found


def _rules_of(
    column: Column, raw: pl.Series, values: pl.Series
) -> Iterator[tuple[ViolationKind, str, pl.Series]]:
    """(what, in words, which rows break it) of each rule of the column."""
    mistyped = values.is_null() & raw.is_not_null()
    yield ViolationKind.MISTYPED, str(column.dtype), mistyped
    if not column.nullable:
        yield ViolationKind.NULLS, "no missing values", raw.is_null()
    if column.is_bounded:
        low = column.low if column.low is not None else float("-inf")
        high = column.high if column.high is not None else float("inf")
        outside = (values < low) | (values > high)
        yield ViolationKind.OUT_OF_RANGE, range_text(column), outside.fill_null(False)
    if column.values is not None:
        allowed = ", ".join(repr(value) for value in column.values[:_SHOWN_VALUES])
        more = ", …" if len(column.values) > _SHOWN_VALUES else ""
        odd = ~values.is_in(allowed_values(column).implode()).fill_null(True)
        yield ViolationKind.NOT_ALLOWED, allowed + more, odd
    if column.pattern is not None:
        odd = ~values.str.contains(_whole_pattern(column.pattern)).fill_null(True)
        yield ViolationKind.NO_MATCH, repr(column.pattern), odd


def allowed_values(column: Column) -> pl.Series:
    """The closed set, as the column's type: to a column of floats, 1 and 1.0 are one value."""
    return cast_series(pl.Series(column.values or (), dtype=pl.String), column.dtype)


def _whole_pattern(pattern: str) -> str:
    return rf"\A(?:{pattern})\z"


def range_text(column: Column) -> str:
    """
    >>> range_text(Column("hour", DType.INT, low=0, high=23))
    'at least 0, at most 23'
    """
    low = [f"at least {column.low:g}"] if column.low is not None else []
    high = [f"at most {column.high:g}"] if column.high is not None else []
    return ", ".join(low + high)


def _describe(
    kind: ViolationKind,
    name: str,
    expected: str,
    examples: list[str],
    broken: pl.Series,
    day: pl.Series | None,
    policy: Policy,
) -> Breach:
    first = day.filter(broken).drop_nulls().cast(pl.String).min() if day is not None else None
    violation = Violation(
        kind,
        name,
        expected,
        count=int(broken.sum()),
        rows=len(broken),
        examples=tuple(examples),
        first_bad_day=None if first is None else str(first),
        policy=policy,
    )
    return Breach(violation, broken)
