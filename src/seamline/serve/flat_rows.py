"""A few rows with their values one after another: one list, where columns would be one list each.

Most requests are a row of many columns. To make a list for each column, join those of a batch and
take them apart again for the model costs more than the model does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from seamline.serve.datatypes import Columns, join_rows

_ENCODE = msgspec.json.Encoder().encode


class RowLayout:
    """The columns that each row of an endpoint has, in the signature's order."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        fields = [f"f{place}" for place in range(len(names))]
        self._row: Any = msgspec.defstruct(
            "Row", fields, rename=dict(zip(fields, names, strict=True)), gc=False
        )

    def pack(self, cells: Sequence[Any]) -> bytes:
        """One row as a JSON object. NaN becomes null.

        >>> RowLayout(["hour", "a b"]).pack([5, float("nan")])
        b'{"hour":5,"a b":null}'
        """
        return _ENCODE(self._row(*cells))


class FlatRows(NamedTuple):
    layout: RowLayout
    cells: list[Any]

    @property
    def columns(self) -> Columns:
        """
        >>> FlatRows(RowLayout(["a", "b"]), [1, 2, 3, 4]).columns
        {'a': [1, 3], 'b': [2, 4]}
        """
        width = len(self.layout.names)
        return {name: self.cells[place::width] for place, name in enumerate(self.layout.names)}


#: What a model is asked about.
Given = Columns | FlatRows


def columns_of(given: Given) -> Columns:
    return given.columns if isinstance(given, FlatRows) else given


def join_given(parts: list[Given]) -> Given:
    """Parts with the same columns, one after another."""
    if len(parts) == 1:
        return parts[0]
    flat = [part for part in parts if type(part) is FlatRows]
    if len(flat) == len(parts):
        return FlatRows(flat[0].layout, list(chain.from_iterable([part.cells for part in flat])))
    return join_rows([columns_of(part) for part in parts])
