"""How far a source has been read: the last value of one column, and which rows had it.

Rows that come later with that same last value are new, those that were there are not: their
digests are kept, or, where many rows share the value, their count.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from operator import lt
from typing import Any, TypeVar

import polars as pl

from seamline.domain.errors import Conflict, InvalidInput, Refused

#: Rows of the last value whose digests are kept.
MOST_TIES = 1_000
Value = int | float | str | date | datetime
Mark = TypeVar("Mark")


@dataclass(frozen=True)
class Watermark:
    """`ties` are the digests of the `rows` rows that have `value`; None where they are many."""

    column: str
    value: Value
    rows: int
    ties: tuple[str, ...] | None

    def to_text(self) -> str:
        """
        >>> Watermark.from_text(Watermark("n", 7, 1, ("ab",)).to_text())
        Watermark(column='n', value=7, rows=1, ties=('ab',))
        """
        kind, value = _written(self.value)
        document: dict[str, Any] = {"column": self.column, "type": kind, "value": value}
        document["rows"] = self.rows
        if self.ties is not None:
            document["ties"] = list(self.ties)
        return json.dumps(document, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Watermark:
        data = json.loads(text)
        ties = data.get("ties")
        value = _READ[data["type"]](data["value"])
        return cls(data["column"], value, data["rows"], None if ties is None else tuple(ties))


_READ: dict[str, Any] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "int": int,
    "float": float.fromhex,
    "string": str,
}


def _written(value: Value) -> tuple[str, str | int]:
    match value:
        case bool():
            raise InvalidInput(
                "A column of true and false cannot tell which rows are new.",
                next_step="Name one that only grows in since, such as an id or a time.",
            )
        case datetime():
            return "datetime", value.isoformat()
        case date():
            return "date", value.isoformat()
        case int():
            return "int", value
        case float():
            return "float", value.hex()
    return "string", str(value)


def read_mark(parse: Callable[[str], Mark], text: str, source: str) -> Mark:
    """The mark of a source of this kind; Refused where the dataset was read from another kind."""
    try:
        return parse(text)
    except (KeyError, TypeError, ValueError):
        raise Refused(
            f"The dataset was read from another kind of source than {source}: which rows are new "
            "cannot be told.",
            next_step='Declare mode = "replace", or start a dataset of another name.',
        ) from None


def is_earlier(given: Value, mark: Value) -> bool:
    """Refused where the column's type is not what it was when the mark was made.

    >>> is_earlier(3, 7), is_earlier("b", "a")
    (True, False)
    >>> is_earlier("3", 7)
    Traceback (most recent call last):
    seamline.domain.errors.Refused: Rows were read up to 7 (int); '3' (str) cannot be told to be \
earlier or later. The column has another type now: leave --since out, or declare mode = "replace".
    """
    try:
        return bool(lt(given, mark))
    except TypeError:
        raise Refused(
            f"Rows were read up to {mark} ({type(mark).__name__}); {given!r} "
            f"({type(given).__name__}) cannot be told to be earlier or later.",
            next_step="The column has another type now: leave --since out, or declare "
            'mode = "replace".',
        ) from None


def parse_start(text: str, like: pl.DataType) -> Value:
    """What a person typed as --since, as a value of the column.

    >>> parse_start("2026-03-02", pl.Datetime("us", "UTC"))
    datetime.datetime(2026, 3, 2, 0, 0, tzinfo=datetime.timezone.utc)
    >>> parse_start("17", pl.Int64())
    17
    """
    try:
        if isinstance(like, pl.Datetime):
            moment = datetime.fromisoformat(text)
            if like.time_zone is None:
                return moment.replace(tzinfo=None)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if like == pl.Date:
            return date.fromisoformat(text)
        if like.is_integer():
            return int(text)
        if like.is_float():
            return float(text)
    except ValueError:
        raise InvalidInput(
            f"--since {text!r} does not read as {like}.",
            next_step="Write a value as the column has them; times as 2026-03-02T08:00:00+00:00.",
        ) from None
    return text


class Reader:
    """Takes the rows of one reading, batch by batch; leaves out those that were read before.

    `skips_ahead`: the reading begins after the last value, so none of its rows will come.
    """

    def __init__(self, column: str, before: Watermark | None, *, skips_ahead: bool = False) -> None:
        self._column, self._before = column, None if skips_ahead else before
        self._left = Counter(before.ties or ()) if before else Counter[str]()
        self._value: Any = before.value if before else None
        self._ties: list[str] | None = []
        if before is not None:
            self._ties = None if before.ties is None else list(before.ties)
        self._rows = before.rows if before else 0
        self._skipped = 0

    def new_rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Raises InvalidInput where the column is missing in a row: it could be told from none."""
        missing = frame[self._column].null_count()
        if missing:
            raise InvalidInput(
                f"{missing:,} rows have no {self._column}: which rows are new cannot be told.",
                next_step=f"Leave them out with a query ({self._column} IS NOT NULL), or declare "
                "another column.",
            )
        fresh = frame if self._before is None else self._without_known(frame, self._before)
        if fresh.height:
            self._follow(fresh)
        return fresh

    def watermark(self) -> Watermark | None:
        """After the last batch. Raises Conflict where rows of the last value came or went, and
        they were too many for telling which."""
        before = self._before
        if before is not None and self._skipped < before.rows and before.ties is None:
            self._changed(before, self._skipped)
        if self._value is None:
            return None
        ties = None if self._ties is None else tuple(self._ties)
        return Watermark(self._column, self._value, self._rows, ties)

    def _without_known(self, frame: pl.DataFrame, before: Watermark) -> pl.DataFrame:
        value = pl.lit(before.value, frame.schema[self._column])
        is_tie = frame.select(pl.col(self._column) == value).to_series()
        if not is_tie.any():
            return frame
        if before.ties is None:
            self._skipped += int(is_tie.sum())
            if self._skipped > before.rows:
                self._changed(before, self._skipped)
            return frame.filter(~is_tie)
        known = []
        for digest in row_digests(frame.filter(is_tie)):
            known.append(self._left[digest] > 0)
            self._left[digest] -= known[-1]
        at = iter(known)
        return frame.filter(pl.Series([not (tie and next(at)) for tie in is_tie]))

    def _changed(self, before: Watermark, rows: int) -> None:
        raise Conflict(
            f"{before.rows:,} rows had {self._column} = {before.value} when they were read; now "
            f"there are {rows:,}, too many for telling which of them are new.",
            next_step=f"Declare a finer column than {self._column}, or "
            'mode = "replace", which takes the whole table each time.',
        )

    def _follow(self, fresh: pl.DataFrame) -> None:
        last = fresh[self._column].max()
        if self._value is None or last > self._value:
            self._value, self._ties, self._rows = last, [], 0
        ties = fresh.filter(fresh[self._column] == self._value)
        self._rows += ties.height
        if self._ties is not None and self._rows <= MOST_TIES:
            self._ties += row_digests(ties)
        else:
            self._ties = None


def row_digests(frame: pl.DataFrame) -> list[str]:
    """One per row, of its values in order: which of few rows is which, nothing more.

    >>> one, two = row_digests(pl.DataFrame({"a": [1, 1], "b": ["x", None]}))
    >>> one == two, len(one)
    (False, 16)
    """
    return [
        hashlib.blake2b(json.dumps(row, default=str).encode(), digest_size=8).hexdigest()
        for row in frame.iter_rows()
    ]
