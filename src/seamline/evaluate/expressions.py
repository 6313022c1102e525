"""SQL expressions over the columns of a table, one value per row. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

import polars as pl
from polars.exceptions import PolarsError

from seamline.domain.errors import InvalidInput, nearest

#: Of an expression. The engine follows its terms into one another, and a process that runs out of
#: stack on the way just ends: some 20,000 terms do that, and 3,000 take half a minute.
MOST_CHARACTERS = 2_000
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")


def compute_label(frame: pl.DataFrame, expression: str) -> pl.Series:
    """One value per row, by an SQL expression over the frame's columns.

    >>> flights = pl.DataFrame({"arr_delay": [3.0, 20.0, None]})
    >>> compute_label(flights, "arr_delay > 15").to_list()
    [False, True, None]
    >>> compute_label(flights, "arr_dely > 15")
    Traceback (most recent call last):
    seamline.domain.errors.InvalidInput: Label 'arr_dely > 15': no column 'arr_dely'. \
Did you mean arr_delay?
    """
    hint = "Write one SQL expression over the columns of the truth: arr_delay > 15."
    return compute_rows(frame, expression, "Label", hint)


def compute_rows(
    frame: pl.DataFrame, expression: str, what: str, hint: str, *, may_be_constant: bool = False
) -> pl.Series:
    """As for a label; `may_be_constant`: an expression that names no column stands for each row.

    >>> rows = pl.DataFrame({"hour": [5, 17]})
    >>> compute_rows(rows, "0.2", "Rule", "", may_be_constant=True).cast(pl.Float64).to_list()
    [0.2, 0.2]
    """
    if len(expression) > MOST_CHARACTERS:
        raise InvalidInput(
            f"{what} {expression[:40]!r}… has {len(expression):,} characters; "
            f"{MOST_CHARACTERS:,} are the most.",
            next_step="Let the prediction pipeline, or whoever delivers the data, add a column.",
        )
    said = f"{what} {expression!r}"
    if re.search(r"\bselect\b", _QUOTED.sub("''", expression), re.IGNORECASE):
        raise InvalidInput(f"{said}: a query is not an expression.", next_step=hint)
    try:
        parsed = pl.sql_expr(expression)
    except PolarsError as error:
        raise InvalidInput(f"{said}: {_first_line(error)}.", next_step=hint) from None
    names = parsed.meta.root_names()
    for name in names:
        check_column(name, frame.columns, f"{said}:")
    try:
        made = frame.select(parsed)
    except PolarsError as error:
        raise InvalidInput(f"{said}: {_first_line(error)}.", next_step=hint) from None
    if not names and may_be_constant and made.shape == (1, 1):
        return pl.repeat(made.item(), frame.height, eager=True)
    if made.width != 1 or not names:
        raise InvalidInput(f"{said} names no column.", next_step=hint)
    if made.height != frame.height:
        raise InvalidInput(
            f"{said} gives {made.height} values for {frame.height:,} rows.",
            next_step=f"Leave out aggregates: a {what.lower()} belongs to one row.",
        )
    return made.to_series()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")


def check_column(name: str, known: Collection[str], what: str) -> None:
    if name not in known:
        raise InvalidInput(f"{what} no column {name!r}.", next_step=nearest(name, known))


def has_names(dtype: pl.DataType) -> bool:
    """Whether a value can be written so that it names a group of rows.

    >>> has_names(pl.String()), has_names(pl.List(pl.Int64))
    (True, False)
    """
    return not (dtype.is_nested() or dtype in (pl.Binary, pl.Duration, pl.Object))


def check_names(frame: pl.DataFrame, column: str, what: str) -> None:
    """Raises InvalidInput where a column's values cannot name groups of rows."""
    dtype = frame.schema[column]
    if not has_names(dtype):
        raise InvalidInput(
            f"{what}: {column!r} is {dtype}, whose values name no groups of rows.",
            next_step="Name a column of words, numbers, booleans or times, or let the prediction "
            "pipeline add one.",
        )


def read_classes(values: pl.Series, what: str) -> pl.Series:
    """As words; a class that is a whole number reads the same as an integer and as a float.

    >>> read_classes(pl.Series([1.0, 2.0, None]), "label").to_list()
    ['1', '2', None]
    """
    if not has_names(values.dtype):
        raise InvalidInput(
            f"The {what} is {values.dtype}, not a class.", next_step="Give a word or a number."
        )
    if values.dtype.is_float() or values.dtype.is_decimal():
        numbers = values.cast(pl.Float64).fill_nan(None)
        if bool((numbers == numbers.round()).all()) and bool((numbers.abs() < 2**53).all()):
            return numbers.cast(pl.Int64).cast(pl.String)
    return values.cast(pl.String)


def as_numbers(values: pl.Series, what: str) -> pl.Series:
    """Float64; not-a-number is missing."""
    if not (values.dtype == pl.Boolean or values.dtype.is_numeric() or values.dtype == pl.Null):
        raise InvalidInput(
            f"The {what} is {values.dtype}, not a number or a boolean.",
            next_step=f"Give a numeric or boolean {what}.",
        )
    return values.cast(pl.Float64).fill_nan(None)
