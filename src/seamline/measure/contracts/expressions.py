"""Rules over several columns, read into one Polars expression, or written as its code."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from seamline.measure.contracts.code import Written
from seamline.measure.rules.grammar import read_expression, rule_error


def read_rule(text: str, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """The expression, true or false for each row (null where that cannot be told).

    Raises InvalidInput for what the language or the columns do not know.

    >>> rule = read_rule("arrival >= departure or cancelled", {
    ...     "arrival": pl.Int64(), "departure": pl.Int64(), "cancelled": pl.Boolean()})
    >>> frame = pl.DataFrame(
    ...     {"arrival": [9, 7, 7], "departure": [8] * 3, "cancelled": [False, False, True]})
    >>> frame.select(rule).to_series().to_list()
    [True, False, True]
    >>> read_rule("open('/etc/passwd')", {"a": pl.Int64()})
    Traceback (most recent call last):
    seamline.domain.errors.InvalidInput: The rule "open('/etc/passwd')" calls open... Allowed: ...
    """
    expression: pl.Expr = read_expression(text, schema, pl)
    try:
        found = pl.DataFrame(schema=dict(schema)).select(expression.alias("\0rule")).dtypes
    except pl.exceptions.PolarsError as error:
        first = (str(error).strip().splitlines() or ["it cannot be computed"])[0]
        raise rule_error(text, f"does not fit the columns' types: {first.rstrip('.')}") from error
    if found != [pl.Boolean]:
        raise rule_error(text, f"gives {found[0]}, not true or false")
    return expression.alias("rule")


def write_rule(text: str, schema: Mapping[str, pl.DataType]) -> str:
    """The same expression as Python, with `import datetime` and `import polars as pl` before it.

    >>> write_rule("a in (1, 2) or not b < 0.5", {"a": pl.Int64(), "b": pl.Float64()})
    "(pl.col('a').is_in([1, 2]) | (~(pl.col('b') < pl.lit(0.5))))"
    """
    read_rule(text, schema)
    return str(read_expression(text, schema, Written("pl")))


def broken_by(rule: pl.Expr, frame: pl.DataFrame) -> pl.Series:
    """Which rows break it: those where it is false, as in SQL's CHECK."""
    held = frame.select(rule).to_series()
    if len(held) != frame.height:  # a rule of constants alone
        held = held.new_from_index(0, frame.height)
    return ~held.fill_null(True)
