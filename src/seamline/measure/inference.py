"""The narrowest dtype of a column, told from its values batch by batch."""

from __future__ import annotations

import operator
from functools import reduce

import polars as pl

from seamline.measure.casting import DType, cast_series

#: What a string may read as, in the order of asking.
_PARSED = (DType.INT, DType.FLOAT, DType.BOOL, DType.DATE, DType.DATETIME)
#: Enough to rule most dtypes out before a whole column is parsed.
_HEAD = 32
#: Whole numbers of fewer digits are floats, too.
_EXACT_DIGITS = 16


def dtype_of(values: pl.Series, *, parse: bool, so_far: DType | None = None) -> DType | None:
    """The dtype of these values and of those that gave `so_far`; None while there is none.

    Missing values have to be nulls. With `parse`, strings become the first dtype that every one of
    them reads as; digits with leading zeros (zip codes), and such as no number holds, stay strings.

    >>> first = dtype_of(pl.Series(["1", "2"]), parse=True)
    >>> first, dtype_of(pl.Series(["2.5", None]), parse=True, so_far=first)
    (<DType.INT: 'int'>, <DType.FLOAT: 'float'>)
    >>> str(dtype_of(pl.Series(["01234"]), parse=True, so_far=first))
    'string'
    """
    kind = values.dtype
    if kind != pl.String:
        typed = _typed(kind)
        return typed if so_far is None or typed is None else wider(so_far, typed)
    if not parse or so_far is DType.STRING:
        return DType.STRING
    present = values.drop_nulls()
    if not len(present):
        return so_far
    found = so_far if so_far is not None and _reads(present, so_far) else _first(present)
    return found if so_far is None else wider(so_far, found)


def wider(one: DType, other: DType) -> DType:
    """The dtype that both read as.

    >>> str(wider(DType.INT, DType.FLOAT)), str(wider(DType.DATETIME, DType.DATE))
    ('float', 'datetime')
    >>> str(wider(DType.BOOL, DType.INT))
    'string'
    """
    pair = {one, other}
    if len(pair) == 1:
        return one
    if pair == {DType.INT, DType.FLOAT}:
        return DType.FLOAT
    return DType.DATETIME if pair == {DType.DATE, DType.DATETIME} else DType.STRING


def _typed(kind: pl.DataType) -> DType | None:
    if kind == pl.Null:
        return None
    if kind == pl.Boolean:
        return DType.BOOL
    if kind.is_integer():
        return DType.INT
    if kind.is_numeric():
        return DType.FLOAT
    if kind == pl.Date:
        return DType.DATE
    return DType.DATETIME if isinstance(kind, pl.Datetime) else DType.STRING


def _first(present: pl.Series) -> DType:
    return next((dtype for dtype in _PARSED if _reads(present, dtype)), DType.STRING)


def _reads(present: pl.Series, dtype: DType) -> bool:
    for values in (present.head(_HEAD), present):
        if cast_series(values, dtype).null_count():
            return False
    if dtype not in (DType.INT, DType.FLOAT):
        return True
    if _has_leading_zeros(present):
        return False
    return dtype is DType.INT or not has_long_wholes(present)


def has_long_wholes(texts: pl.Series) -> bool:
    """Whether a whole number is among them that no float is: two of them could become one.

    >>> has_long_wholes(pl.Series(["9007199254740992", "0.1", "100000000000000000000"]))
    False
    >>> has_long_wholes(pl.Series(["9007199254740993"])), has_long_wholes(pl.Series(["9" * 60]))
    (True, True)
    """
    longest = texts.str.len_bytes().max()
    if longest is None or int(str(longest)) < _EXACT_DIGITS:
        return False
    long = texts.filter(texts.str.contains(rf"^[+-]?\d{{{_EXACT_DIGITS},}}$"))
    whole = long.cast(pl.Int128, strict=False)
    again = whole.cast(pl.Float64).cast(pl.Int128, strict=False)
    return not bool((whole == again).fill_null(False).all())


def _has_leading_zeros(present: pl.Series) -> bool:
    """A pattern costs as much as reading all of the numbers does, so few are held against it.

    >>> [_has_leading_zeros(pl.Series([text])) for text in ("007", "-01", "0", "0.5", "10")]
    [True, True, False, False, False]
    """
    starts = reduce(operator.or_, (present.str.starts_with(zero) for zero in ("0", "+0", "-0")))
    return bool(starts.any() and present.filter(starts).str.contains(r"^[+-]?0\d").any())
