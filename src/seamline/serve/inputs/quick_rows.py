"""Small requests, read without NumPy.

A handful of numbers costs less as Python's own than as arrays, of which each takes a microsecond
to be made and several to be looked at. So requests of a few rows that are what they should be are
taken here; whatever this cannot vouch for is left to `validate.rows_of`, which reads everything
and says what is wrong. What both take comes out equal, here in lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seamline.serve.datatypes import TEXT, Columns
from seamline.serve.flat_rows import FlatRows, Given, RowLayout
from seamline.serve.inputs.validate import Rows, Tensor, event_times_of
from seamline.serve.snapshots.snapshot import EndpointSpec

#: More of them are cheaper as arrays.
MAX_ROWS = 64
LARGEST = 1 << 63
#: Integers beyond it have no place of their own among FP64.
EXACT = float(1 << 53)
NAN = float("nan")

#: (values, whether nulls may be among them) → the values to go on with; None: not for certain.
Reader = Callable[[list[Any], bool], list[Any] | None]


class QuickReader:
    """Of one endpoint's requests."""

    def __init__(self, spec: EndpointSpec) -> None:
        inputs = spec.signature.inputs
        self._names = [column.name for column in inputs]
        self._readers = {
            column.name: (READERS[column.datatype], column.datatype, column.nullable)
            for column in inputs
            if column.datatype in READERS
        }
        self._context = {c.name for c in spec.context if c.datatype == TEXT and c.nullable}
        self._event_time = spec.event_time
        self._is_known = len(self._readers) == len(inputs)
        self._layout = RowLayout(self._names)
        self._integers = [at for at, column in enumerate(inputs) if column.datatype == "INT64"]
        self._is_matrix = all(column.datatype in ("FP64", "INT64") for column in inputs)

    def read(self, tensors: Sequence[Tensor]) -> Rows | None:
        """The rows, or None for a request that is not simple, or not right."""
        if not self._is_known or not tensors or not tensors[0].shape:
            return None
        count = tensors[0].shape[0]
        if not 0 < count <= MAX_ROWS:
            return None
        given: Columns = {}
        context: Columns = {}
        rows: Given | None = None
        for tensor in tensors:
            name = tensor.name
            if name in self._readers:
                into, reader = given, self._readers[name]
            elif name in self._context:
                into, reader = context, (read_texts, TEXT, True)
            elif rows is None and len(tensor.shape) == 2 and tensor.shape[0] == count:
                rows = self._read_matrix(tensor, count)
                if rows is None:
                    return None
                continue
            else:
                return None
            values = _read(tensor, count, *reader)
            if values is None or name in into:
                return None
            into[name] = values
        if rows is None and len(given) == len(self._names):
            rows = self._in_order(given, count)
        elif rows is None or given:
            return None
        if self._event_time is None:
            return Rows(count, rows, context, None)
        times = {**given, **context}.get(self._event_time)  # no number of a matrix is a time
        return Rows(count, rows, context, event_times_of(times, self._event_time))

    def _in_order(self, given: Columns, count: int) -> Given:
        if count == 1:
            return FlatRows(self._layout, [given[name][0] for name in self._names])
        return {name: given[name] for name in self._names}

    def _read_matrix(self, tensor: Tensor, count: int) -> FlatRows | None:
        """One [n, k] input stands for all k columns of numbers."""
        width, data = len(self._names), tensor.data
        if not self._is_matrix or tensor.datatype != "FP64" or type(data) is not list:
            return None
        if len(data) == count and type(data[0]) is list:
            if any(type(row) is not list or len(row) != width for row in data):
                return None
            data = [value for row in data for value in row]
        if tensor.shape[1] != width or len(data) != count * width:
            return None
        values = read_floats(data, False)
        if values is None:
            return None
        if self._integers:
            values = list(values)  # what was sent stays as it is, for the long way
        for place in self._integers:
            column = values[place::width]
            if not all(value.is_integer() and -EXACT <= value <= EXACT for value in column):
                return None
            values[place::width] = [int(value) for value in column]
        return FlatRows(self._layout, values)


def read_floats(values: list[Any], nullable: bool) -> list[Any] | None:
    """
    >>> read_floats([1.5, 2], False), read_floats([1.5, None], True), read_floats([True], True)
    ([1.5, 2.0], [1.5, nan], None)
    """
    kinds = set(map(type, values))
    if kinds == _FLOAT:
        total = sum(values)
        # Infinities and NaN, or a sum beyond what a float holds: to be looked at closely.
        return values if total - total == 0.0 else None
    if not kinds <= (_FLOATS_OR_NULL if nullable else _FLOATS):
        return None
    try:
        present = [float(value) for value in values if value is not None]
    except OverflowError:
        return None
    total = sum(present)
    if total - total != 0.0:
        return None
    return [NAN if value is None else float(value) for value in values]


def read_integers(values: list[Any], nullable: bool) -> list[Any] | None:
    """
    >>> read_integers([1, None], True), read_integers([1, None], False), read_integers([1.0], True)
    ([1, None], None, None)
    """
    kinds = set(map(type, values))
    if kinds == _INT:
        return values if min(values) >= -LARGEST and max(values) < LARGEST else None
    if not nullable or not kinds <= _INT_OR_NULL:
        return None
    return values if all(one is None or -LARGEST <= one < LARGEST for one in values) else None


def read_texts(values: list[Any], nullable: bool) -> list[Any] | None:
    return values if set(map(type, values)) <= (_TEXT_OR_NULL if nullable else _TEXT) else None


def read_truths(values: list[Any], _nullable: bool) -> list[Any] | None:
    return values if set(map(type, values)) == _BOOL else None


_NULL = type(None)
_FLOAT, _INT, _TEXT, _BOOL = {float}, {int}, {str}, {bool}
_FLOATS, _FLOATS_OR_NULL = {float, int}, {float, int, _NULL}
_INT_OR_NULL, _TEXT_OR_NULL = {int, _NULL}, {str, _NULL}
#: The datatypes that packages have.
READERS: Mapping[str, Reader] = {
    "FP64": read_floats,
    "INT64": read_integers,
    TEXT: read_texts,
    "BOOL": read_truths,
}


def _read(
    tensor: Tensor, count: int, reader: Reader, datatype: str, nullable: bool
) -> list[Any] | None:
    data, shape = tensor.data, tensor.shape
    if type(data) is not list or len(data) != count or tensor.datatype != datatype:
        return None
    if not 1 <= len(shape) <= 2 or shape[0] != count or (len(shape) == 2 and shape[1] != 1):
        return None
    return reader(data, nullable)
