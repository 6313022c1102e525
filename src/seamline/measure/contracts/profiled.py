"""A contract held against a profile: what can be told of all rows without reading one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from seamline.measure.basis import ColumnBasis, Kind
from seamline.measure.casting import DType
from seamline.measure.columns import ColumnProfile
from seamline.measure.contracts.checking import allowed_values, range_text
from seamline.measure.contracts.terms import Column, Contract
from seamline.measure.contracts.violations import Violation, ViolationKind
from seamline.measure.inference import wider
from seamline.measure.profiles import Profile

_EXAMPLES = 3
_SHOWN_VALUES = 8


def check_profile(
    contract: Contract, schema: Mapping[str, DType], profile: Profile
) -> list[Violation]:
    """Types, missing values, ranges and closed sets. Where only the extremes are known, a range is
    broken by one value at least; patterns, rules and keys need rows.

    >>> import polars as pl
    >>> from seamline.measure.basis import make_basis
    >>> from seamline.measure.profiles import profile_frame
    >>> frame = pl.DataFrame({"hour": [5, 24, None]})
    >>> profile = profile_frame(frame, make_basis(frame))
    >>> contract = Contract((Column("hour", DType.INT, nullable=False, high=23),))
    >>> for one in check_profile(contract, {"hour": DType.INT}, profile):
    ...     print(one.sentence())
    hour: 1 of 3 values are missing; the contract allows none.
    hour: 1 of 3 values are out of range (at most 23), e.g. '24'.
    """
    found: list[Violation] = []
    for column in contract.columns:
        policy = contract.policy(column.on_breach)
        if column.name not in schema:
            if column.required:
                kind, expected = ViolationKind.MISSING_COLUMN, str(column.dtype)
                found.append(Violation(kind, column.name, expected, 0, 0, policy=policy))
            continue
        basis = profile.basis.columns.get(column.name)
        counts = profile.columns.get(column.name)
        if basis is None or counts is None:
            continue
        for kind, expected, count, examples in _broken(column, schema[column.name], basis, counts):
            one = Violation(
                kind, column.name, expected, count, counts.rows, examples, policy=policy
            )
            found.append(one)
    return found


def _broken(
    column: Column, stored: DType, basis: ColumnBasis, counts: ColumnProfile
) -> Iterator[tuple[ViolationKind, str, int, tuple[str, ...]]]:
    if wider(column.dtype, stored) is not column.dtype:
        unread = counts.unread.top(_EXAMPLES) if counts.unread is not None else []
        # A table of a wider type whose values all read as the narrower one is no breach.
        is_counted = basis.is_binned and column.dtype in (DType.INT, DType.FLOAT)
        count = counts.mistyped if is_counted else counts.rows - counts.missing
        if count:
            examples = tuple(value for value, _ in unread)
            yield ViolationKind.MISTYPED, str(column.dtype), count, examples
    if not column.nullable and counts.missing:
        yield ViolationKind.NULLS, "no missing values", counts.missing, ()
    if column.is_bounded and basis.kind is Kind.NUMERIC:
        over = [_outside(counts.low, column.low, -1), _outside(counts.high, column.high, 1)]
        shown = tuple(f"{value:g}" for value in over if value is not None)
        if shown:
            yield ViolationKind.OUT_OF_RANGE, range_text(column), len(shown), shown
    if column.values is not None and basis.kind is Kind.CATEGORICAL:
        odd = _not_allowed(column, basis, counts)
        if odd:
            allowed = ", ".join(repr(value) for value in column.values[:_SHOWN_VALUES])
            more = ", …" if len(column.values) > _SHOWN_VALUES else ""
            examples = tuple(list(odd)[:_EXAMPLES])
            yield ViolationKind.NOT_ALLOWED, allowed + more, sum(odd.values()), examples


def _outside(extreme: float | None, bound: float | None, side: int) -> float | None:
    if extreme is None or bound is None:
        return None
    return extreme if (extreme - bound) * side > 0 else None


def _not_allowed(column: Column, basis: ColumnBasis, counts: ColumnProfile) -> dict[str, int]:
    """Values and how often they came: of the kept ones, and of the others as far as named."""
    allowed = {*allowed_values(column).cast(pl.String), *(column.values or ())}
    came = dict(zip(basis.values, counts.counts, strict=False))
    if counts.others is not None:
        came |= dict(counts.others.top(len(counts.others.values)))
    return {value: n for value, n in came.items() if n and value not in allowed}
