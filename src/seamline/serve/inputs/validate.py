"""A request's tensors against a model's signature: every error is found before batching.

What leaves this module is well-formed: one value per row and column, of the signature's type,
nulls and NaN only where the signature allows them, never an infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from seamline.domain.errors import InvalidInput, nearest
from seamline.serve.datatypes import DATATYPES, DTYPES, TEXT, Columns, Values, fits
from seamline.serve.flat_rows import Given, columns_of
from seamline.serve.snapshots.snapshot import Column, EndpointSpec

Array = np.ndarray[Any, np.dtype[Any]]
#: What JSON may hold for a dtype's kind: true is no number, 1.5 no integer.
PYTHON_TYPES: dict[str, set[type]] = {
    "b": {bool},
    "i": {int},
    "u": {int},
    "f": {int, float},
}


#: One request occupies the model alone while it is answered.
MAX_ROWS = 65_536


class TooLarge(InvalidInput):
    """Understood, and more than is answered at once."""


# A frozen dataclass takes three times as long to be made, and these are for each request.
class Tensor(NamedTuple):
    """One input as it was sent; `data` is flat or nested, JSON values or a decoded array."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: list[Any] | Array


@dataclass(slots=True)
class Rows:
    """`given` in the signature's order, for the model; `context` is only logged."""

    count: int
    given: Given
    context: Columns
    event_times: list[str | None] | None

    @property
    def columns(self) -> Columns:
        """`given` by name."""
        return columns_of(self.given)


def rows_of(tensors: Sequence[Tensor], spec: EndpointSpec) -> Rows:
    """The request's rows, or InvalidInput that names the input and what it should have been."""
    inputs, context = spec.signature.inputs, {column.name: column for column in spec.context}
    named = _by_name(tensors)
    count = _row_count(tensors)
    if (matrix := _matrix_of(named, inputs, context)) is not None:
        columns = _split_matrix(named.pop(matrix), inputs)
    else:
        missing = [one.name for one in inputs if one.name not in named and not one.nullable]
        unknown = [name for name in named if name not in context]
        unknown = [name for name in unknown if all(column.name != name for column in inputs)]
        _refuse_names(missing, unknown, [*(column.name for column in inputs), *context])
        columns = {
            column.name: _read(named.pop(column.name, _absent(column, count)), column, count)
            for column in inputs
        }
    _refuse_names([], [name for name in named if name not in context], list(context))
    extra = {name: _read_context(sent, context[name], count) for name, sent in named.items()}
    times = None
    if spec.event_time is not None:
        times = event_times_of({**columns, **extra}.get(spec.event_time), spec.event_time)
    return Rows(count, columns, extra, times)


def _absent(column: Column, count: int) -> Tensor:
    """A column that may be null may be left out: callers of a model that did not have it yet are
    answered by the one that has."""
    return Tensor(column.name, column.datatype, [count], [None] * count)


def _by_name(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    named = {tensor.name: tensor for tensor in tensors}
    if len(named) != len(tensors):
        names = sorted(tensor.name for tensor in tensors)
        raise InvalidInput(f"An input is sent twice: {', '.join(names)}.")
    for tensor in tensors:
        if tensor.datatype not in DATATYPES:
            raise InvalidInput(
                f"Input {tensor.name!r} has datatype {tensor.datatype!r}.",
                next_step=nearest(tensor.datatype, DATATYPES),
            )
    return named


def _row_count(tensors: Sequence[Tensor]) -> int:
    counts = {tensor.name: tensor.shape[0] if tensor.shape else 0 for tensor in tensors}
    if not counts:
        raise InvalidInput("The request has no inputs.")
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InvalidInput(f"The inputs differ in their number of rows: {listed}.")
    count = next(iter(counts.values()))
    if count < 1:
        raise InvalidInput("The request has no rows.", next_step="Send shapes [n] with n ≥ 1.")
    if count > MAX_ROWS:
        raise TooLarge(
            f"The request has {count} rows; at most {MAX_ROWS} are answered at once.",
            next_step="Send fewer rows per request.",
        )
    return count


def _refuse_names(missing: list[str], unknown: list[str], known: list[str]) -> None:
    if unknown:
        raise InvalidInput(
            f"There is no input {unknown[0]!r}.", next_step=nearest(unknown[0], known)
        )
    if missing:
        raise InvalidInput(f"Missing inputs: {', '.join(missing)}.")


def _matrix_of(
    named: dict[str, Tensor], inputs: tuple[Column, ...], context: dict[str, Column]
) -> str | None:
    """The one [n, k] input that stands for all columns of an all-numeric signature, if it does."""
    others = [name for name in named if name not in context]
    if len(others) != 1 or len(named[others[0]].shape) != 2:
        return None
    if any(column.name == others[0] for column in inputs):
        return None
    if any(column.datatype == TEXT for column in inputs):
        raise InvalidInput(
            f"Input {others[0]!r} has shape {list(named[others[0]].shape)}, but this model also "
            "takes text.",
            next_step="Send one input of shape [n] per column.",
        )
    return others[0]


def _split_matrix(tensor: Tensor, inputs: tuple[Column, ...]) -> Columns:
    if tensor.shape[1] != len(inputs):
        raise InvalidInput(
            f"Input {tensor.name!r} has {tensor.shape[1]} columns; the model takes {len(inputs)}: "
            f"{', '.join(column.name for column in inputs)}."
        )
    whole, nulls = _numbers(tensor)
    values = whole.reshape(tuple(tensor.shape))
    absent = None if nulls is None else nulls.reshape(values.shape)
    columns: Columns = {}
    for at, column in enumerate(inputs):
        part = _whole_numbers(values[:, at], absent, at, column)
        columns[column.name] = _finish(part, None if absent is None else absent[:, at], column)
    return columns


def _whole_numbers(values: Array, absent: Array | None, at: int, column: Column) -> Array:
    """A float matrix may carry integer columns, as long as their values are integers."""
    wanted = DTYPES[column.datatype]
    if wanted.kind not in "iub" or values.dtype.kind != "f":
        return values
    held = values if absent is None else np.where(absent[:, at], 0.0, values)
    cast = np.nan_to_num(held).astype(wanted)
    if not np.array_equal(cast.astype(values.dtype), held):
        raise InvalidInput(f"Column {column.name!r} takes {column.datatype}; it holds fractions.")
    return cast


def _read(tensor: Tensor, column: Column, count: int) -> Values:
    if list(tensor.shape) not in ([count], [count, 1]):
        raise InvalidInput(
            f"Input {tensor.name!r} has shape {list(tensor.shape)}; send [{count}] or [{count}, 1]."
        )
    if not fits(tensor.datatype, column.datatype):
        raise InvalidInput(
            f"Input {tensor.name!r} is {tensor.datatype}; the model takes {column.datatype}."
        )
    if column.datatype == TEXT:
        return _text(tensor, column)
    values, nulls = _numbers(tensor)
    return _finish(values, nulls, column)


def _read_context(tensor: Tensor, column: Column, count: int) -> Values:
    """Only logged: one declared as text takes values of any datatype, as they were sent."""
    datatype = tensor.datatype if column.datatype == TEXT else column.datatype
    return _read(tensor, Column(column.name, datatype, column.nullable), count)


def _text(tensor: Tensor, column: Column) -> list[Any]:
    values = _flat_list(tensor)
    for row, value in enumerate(values):
        if value is None:
            _refuse_null(column, row)
        elif not isinstance(value, str):
            raise InvalidInput(f"Input {column.name!r} takes text; row {row} is {value!r}.")
    return values


def _numbers(tensor: Tensor) -> tuple[Array, Array | None]:
    """(flat values of the declared datatype, which of them are null); null ones hold zero."""
    wanted = DTYPES.get(tensor.datatype)
    if wanted is None:
        raise InvalidInput(f"Input {tensor.name!r} is {tensor.datatype}; the model takes numbers.")
    if isinstance(tensor.data, np.ndarray):
        _check_size(tensor, tensor.data.size)
        return tensor.data.reshape(-1), None
    flat = _flat_list(tensor)
    nulls = None
    if None in flat:
        nulls = np.array([value is None for value in flat])
        zero = False if wanted.kind == "b" else 0
        flat = [zero if value is None else value for value in flat]
    allowed = PYTHON_TYPES[wanted.kind]
    if not set(map(type, flat)) <= allowed:
        strange = next(value for value in flat if type(value) not in allowed)
        raise InvalidInput(
            f"Input {tensor.name!r} is declared {tensor.datatype} but holds {strange!r}."
        )
    try:
        with np.errstate(over="ignore"):  # too large a float becomes infinite: refused by name
            return np.array(flat, wanted), nulls
    except OverflowError:
        raise InvalidInput(
            f"Input {tensor.name!r} holds values beyond {tensor.datatype}."
        ) from None


def _finish(values: Array, nulls: Array | None, column: Column) -> Values:
    """The signature's type; a null among floats becomes NaN, among integers it stays None."""
    cast = values.astype(DTYPES[column.datatype], copy=False)
    floating = cast.dtype.kind == "f"
    if nulls is not None and nulls.any():
        _refuse_null(column, int(np.argmax(nulls)))
        if not floating:
            pairs = zip(cast.tolist(), nulls.tolist(), strict=True)
            return [None if null else value for value, null in pairs]
        cast = cast.copy()
        cast[nulls] = np.nan
    if floating:
        if np.isinf(cast).any():
            row = int(np.argmax(np.isinf(cast)))
            raise InvalidInput(f"Input {column.name!r} is infinite in row {row}.")
        if not column.nullable and np.isnan(cast).any():
            _refuse_null(column, int(np.argmax(np.isnan(cast))))
    return cast


def _refuse_null(column: Column, row: int) -> None:
    if not column.nullable:
        raise InvalidInput(
            f"Input {column.name!r} is null (or NaN) in row {row}; the model takes no nulls there."
        )


def _flat_list(tensor: Tensor) -> list[Any]:
    values: Any = tensor.data
    if isinstance(values, np.ndarray):
        values = values.reshape(-1).tolist()
    depth = 1
    while values and isinstance(values[0], list):
        width = len(values[0])
        if any(not isinstance(row, list) or len(row) != width for row in values):
            raise InvalidInput(f"Input {tensor.name!r}: its nested rows differ in length.")
        values = [value for row in values for value in row]
        depth += 1
    if depth not in (1, len(tensor.shape)):
        raise InvalidInput(
            f"Input {tensor.name!r} is nested {depth} deep; its shape is {list(tensor.shape)}."
        )
    _check_size(tensor, len(values))
    return list(values)


def _check_size(tensor: Tensor, size: int) -> None:
    expected = 1
    for extent in tensor.shape:
        expected *= extent
    if size != expected:
        raise InvalidInput(
            f"Input {tensor.name!r} has {size} values; its shape {list(tensor.shape)} "
            f"wants {expected}."
        )


def event_times_of(values: Values | None, name: str) -> list[str | None] | None:
    """ISO 8601 texts as they were sent; a null stays null."""
    if values is None:
        return None
    times: list[str | None] = list(values)
    for row, text in enumerate(times):
        try:
            if text is not None:
                datetime.fromisoformat(text)
        except (ValueError, TypeError):
            raise InvalidInput(
                f"Input {name!r} is the event time; row {row} is {text!r}.",
                next_step="Send ISO 8601, as 2026-01-31T09:30:00Z.",
            ) from None
    return times
