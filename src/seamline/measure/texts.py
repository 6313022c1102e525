"""What texts look like: which type they read as, and how long they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from seamline.measure.exact import Counts

_NUMBER = r"[+-]?\d(?:[\d.,' ]*\d)?"
_CURRENCY = (
    r"(?:[$€£¥₹]|EUR|USD|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|CZK|HUF|RON|TRY|ZAR|BRL|MXN|CAD|AUD"
    r"|NZD|SGD|HKD|KRW)"
)

#: What a string reads as: the first pattern that fits; the rest is text.
SHAPES: Mapping[str, str] = {
    "integer": r"^[+-]?\d+$",
    "float": r"^[+-]?(\d+\.\d*|\.\d+|\d+(\.\d*)?[eE][+-]?\d+)$",
    "decimal_comma": r"^[+-]?\d+,\d+$",
    "boolean": r"^(?i:true|false|yes|no)$",
    "date": r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$",
    "currency": rf"^(?:{_CURRENCY} ?{_NUMBER}|{_NUMBER} ?{_CURRENCY})$",
}
#: So few are looked at one by one: a query over a column costs more.
FEW_TEXTS = 300
#: In this order wherever they are counted.
SHAPE_NAMES = (*SHAPES, "text")

#: Cell i counts the texts with edges[i] <= characters < edges[i + 1]; the last cell is open.
LENGTH_EDGES = (
    *(0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256),
    *(512, 1024, 4096, 16_384, 65_536, 1_048_576),
)


@dataclass(frozen=True)
class SemanticType:
    """What most of a column's texts read as: `n` of them, that `share`."""

    name: str
    n: int
    share: float


def semantic_type(shapes: Mapping[str, int]) -> SemanticType | None:
    """Whole numbers read as any kind of number; without texts None.

    >>> semantic_type({"integer": 90, "float": 8, "text": 2})
    SemanticType(name='float', n=98, share=0.98)
    >>> semantic_type({"integer": 3}).name
    'integer'
    """
    total = sum(shapes.values())
    if not total:
        return None
    whole = shapes.get("integer", 0)
    fitting = {name: shapes.get(name, 0) for name in SHAPE_NAMES}
    for name in ("float", "decimal_comma"):
        fitting[name] += whole if fitting[name] else 0
    name = max(fitting, key=lambda one: fitting[one])  # of equals the first
    return SemanticType(name, fitting[name], fitting[name] / total)


def n_numeric(shapes: Mapping[str, int]) -> int:
    """
    >>> n_numeric({"integer": 90, "float": 8, "text": 2})
    98
    """
    return shapes.get("integer", 0) + shapes.get("float", 0)


def find_shapes(texts: pl.Series) -> Counts:
    """For each text, without nulls, the place of its shape in `SHAPE_NAMES`.

    >>> [SHAPE_NAMES[i] for i in find_shapes(pl.Series(["7", "12,50", "EUR 20", "n/a", "9 €"]))]
    ['integer', 'decimal_comma', 'currency', 'text', 'currency']
    """
    if len(texts) <= FEW_TEXTS:
        patterns = [re.compile(pattern) for pattern in SHAPES.values()]
        return np.array([_find_shape(text, patterns) for text in texts.to_list()], np.int64)
    found = np.full(len(texts), len(SHAPES), np.int64)
    left = pl.DataFrame({"text": texts}).with_row_index("at")
    # What every one of the patterns begins with: most texts go no further.
    maybe = r"^[\d+\-.$€£¥₹]|^[A-Z]{3} ?[+-]?\d|^(?i:true|false|yes|no)$"
    left = left.filter(pl.col("text").str.contains(maybe))
    for place, pattern in enumerate(SHAPES.values()):
        if not left.height:
            break
        fits = left["text"].str.contains(pattern)
        found[left["at"].filter(fits).to_numpy()] = place
        left = left.filter(~fits)
    return found


def _find_shape(text: str, patterns: Sequence[re.Pattern[str]]) -> int:
    """As above: there `$` is the very end, which to Python is also what precedes a last newline."""
    fits = (i for i, one in enumerate(patterns) if one.match(text) and text[-1:] != "\n")
    return next(fits, len(SHAPES))


def find_lengths(texts: pl.Series) -> Counts:
    """In characters."""
    if len(texts) <= FEW_TEXTS:
        return np.array([len(text) for text in texts.to_list()], np.int64)
    return texts.str.len_chars().to_numpy().astype(np.int64)


def find_places(texts: pl.Series, values: Sequence[str]) -> Counts:
    """For each text its place among the values; for others how many values there are.

    >>> find_places(pl.Series(["DL", "B6"]), ["UA", "DL"]).tolist()
    [1, 2]
    """
    places = {value: place for place, value in enumerate(values)}
    if len(texts) <= FEW_TEXTS:
        found = [places.get(text, len(values)) for text in texts.to_list()]
        return np.array(found, np.int64)
    if not places:
        return np.zeros(len(texts), np.int64)
    return texts.replace_strict(places, default=len(values), return_dtype=pl.Int64).to_numpy()


def count_lengths(lengths: Counts) -> Counts:
    """For each number of characters the place of its cell."""
    return np.searchsorted(LENGTH_EDGES, lengths, side="right") - 1
