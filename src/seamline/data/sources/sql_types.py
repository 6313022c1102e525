"""What a database's columns are as Arrow types, told by the cursor, and each value as that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl
from sqlalchemy import Connection, TextClause, text

from seamline.domain.errors import InvalidInput

_TIME, _INSTANT = pl.Datetime("us"), pl.Datetime("us", "UTC")
#: PostgreSQL's object ids of its own types (pg_type.dat).
_POSTGRES: Mapping[int, pl.DataType] = {
    16: pl.Boolean(),
    **dict.fromkeys((20, 21, 23, 26), pl.Int64()),
    **dict.fromkeys((700, 701, 1700), pl.Float64()),
    1082: pl.Date(),
    1114: _TIME,
    1184: _INSTANT,
    17: pl.Binary(),
}
#: MySQL's column types of its protocol. It has no type for true and false, but TINYINT.
_MYSQL: Mapping[int, pl.DataType] = {
    **dict.fromkeys((1, 2, 3, 8, 9, 13), pl.Int64()),
    **dict.fromkeys((0, 4, 5, 246), pl.Float64()),
    **dict.fromkeys((10, 14), pl.Date()),
    12: _TIME,
    7: _INSTANT,
}


#: Of a query's rows: a name that no column has.
ALIAS = "seamline_delivery"


@dataclass(frozen=True)
class SqlColumn:
    name: str
    dtype: pl.DataType

    def series(self, values: Sequence[Any]) -> pl.Series:
        """Raises InvalidInput, naming the column, for a value that is not of its type."""
        convert = _CONVERT.get(self.dtype.base_type())
        try:
            plain = (
                values if convert is None else [None if v is None else convert(v) for v in values]
            )
            made = pl.Series(self.name, plain, dtype=_loose(self.dtype), strict=True)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            raise InvalidInput(
                f"Column {self.name!r}: {' '.join(str(error).split())[:200]}.",
                next_step="Cast it in the query.",
            ) from None
        if self.dtype == _INSTANT:
            made = made.dt.replace_time_zone("UTC")
        return made


def _loose(dtype: pl.DataType) -> pl.DataType:
    return _TIME if dtype == _INSTANT else dtype


def select_from(base: str, asked: str = "*", rest: str = "") -> TextClause:
    """`base` is what a dataset's owner declared; where it stands, nothing but a query can."""
    return text(f"SELECT {asked} FROM ({base}\n) AS {ALIAS}{rest}")  # noqa: S608


def select_all(table: str) -> str:
    """Of a table whose name is quoted."""
    return f"SELECT * FROM {table}"  # noqa: S608


def columns_of(connection: Connection, cursor: Any, query: str) -> tuple[SqlColumn, ...]:
    """Of a query that has been sent; SQLite, whose columns have no types, is asked for its values'.

    Fractions become floats, whatever their declared scale, unless whole digits would be lost;
    UUIDs, JSON, arrays, times of day and intervals become text.
    """
    names = [part[0] for part in cursor.description]
    match connection.dialect.name:
        case "postgresql":
            types = [_POSTGRES.get(part[1], pl.String()) for part in cursor.description]
        case "sqlite":
            types = _sqlite_types(connection, names, query)
        case _:
            types = [_MYSQL.get(part[1], pl.String()) for part in cursor.description]
    return tuple(map(SqlColumn, names, types))


def _sqlite_types(connection: Connection, names: Sequence[str], query: str) -> list[pl.DataType]:
    """A column is what all its values are; of whole numbers and fractions: fractions."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    kinds = ("integer", "real", "text", "blob")
    asked = ", ".join(
        f"coalesce(max(typeof({quote(name)}) = '{kind}'), 0)" for name in names for kind in kinds
    )
    flags = list(connection.execute(select_from(query, asked)).one())
    found: list[pl.DataType] = []
    for at in range(len(names)):
        integer, real, is_text, blob = flags[4 * at : 4 * at + 4]
        if blob:
            found.append(pl.Binary())
        elif is_text or not (integer or real):
            found.append(pl.String())
        else:
            found.append(pl.Float64() if real else pl.Int64())
    return found


def _to_text(value: Any) -> str:
    """
    >>> _to_text({"b": 1, "a": None}), _to_text(7)
    ('{"a": null, "b": 1}', '7')
    """
    match value:
        case str():
            return value
        case dict() | list():
            return json.dumps(value, sort_keys=True, default=str)
        case bytes():
            raise TypeError("its values are bytes, no text")
    return str(value)


def _to_float(value: Any) -> float:
    """
    >>> _to_float(Decimal("0.1")), _to_float(Decimal(2**60))
    (0.1, 1.152921504606847e+18)
    >>> _to_float(Decimal("12345678901234567890"))
    Traceback (most recent call last):
    ValueError: 12345678901234567890 has more digits than a fraction holds
    """
    found = float(value)
    if isinstance(value, Decimal) and abs(found) >= 2**53 and found != value:
        raise ValueError(f"{value} has more digits than a fraction holds")
    return found


def _no_bytes(value: Any) -> Any:
    raise TypeError("its values are bytes, which no dataset holds")


def _naive(value: Any) -> Any:
    """UTC, without saying so: what is an instant is said by the column."""
    if value.tzinfo is None:
        return value
    return (value - value.utcoffset()).replace(tzinfo=None)


_CONVERT: Mapping[Any, Callable[[Any], Any]] = {
    pl.String: _to_text,
    pl.Float64: _to_float,
    pl.Binary: _no_bytes,
    pl.Datetime: _naive,
}
