"""The header of a safetensors file, read with nothing of PyTorch: names, types, shapes, places.

The format is eight bytes with the header's length, the header as JSON, and the numbers of all
tensors one after the other. Nothing in it is ever called: a file that is well-formed is data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from seamline.domain.errors import InvalidInput

#: Bytes of one number, by how safetensors calls its type.
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "C64": 8,
    "F64": 8,
    "I64": 8,
    "U64": 8,
}
#: A hundred thousand tensors need less; the library's own limit would be 100 MB.
MAX_HEADER_BYTES = 16 << 20
_METADATA = "__metadata__"
_LENGTH = 8
_MAX_DIMENSIONS = 64


@dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    #: First byte and the one after the last, counted from the header's end.
    begin: int
    end: int


def looks_like_tensors(head: bytes) -> bool:
    """By a file's first nine bytes.

    >>> looks_like_tensors(b"\\x02" + bytes(7) + b"{}"), looks_like_tensors(b"{}")
    (True, False)
    """
    is_header = 2 <= int.from_bytes(head[:_LENGTH], "little") <= MAX_HEADER_BYTES
    return is_header and head[_LENGTH : _LENGTH + 1] == b"{"


def read_tensors(file: IO[bytes], size_bytes: int) -> tuple[Tensor, ...]:
    """In the order of their bytes, of which none is read; `file` is at its beginning.

    InvalidInput says what is wrong, and of which tensor. Every byte after the header belongs to
    exactly one tensor: nothing can hide between them.

    >>> from io import BytesIO
    >>> read_tensors(BytesIO(b"\\x02" + bytes(7) + b"{}"), 10)
    ()
    """
    start = file.read(_LENGTH + 1)
    length = int.from_bytes(start[:_LENGTH], "little")
    if not looks_like_tensors(start) or _LENGTH + length > size_bytes:
        raise _unsound("it does not begin with the length of a header and the header")
    header = _header(start[_LENGTH:] + file.read(length - 1))
    tensors = [_tensor(name, told) for name, told in header.items()]
    tensors.sort(key=lambda one: (one.begin, one.end))
    place, there = 0, size_bytes - _LENGTH - length
    for one in tensors:
        if one.begin != place:
            raise _unsound(f"{one.name} begins at byte {one.begin}, where {place} is next")
        place = one.end
    if place != there:
        raise _unsound(f"its tensors take {place} bytes, and {there} are there")
    return tuple(tensors)


def _header(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _unsound(f"its header is no JSON ({error})") from error
    noted = found.pop(_METADATA, {}) if isinstance(found, dict) else None
    is_text = isinstance(noted, dict) and all(isinstance(value, str) for value in noted.values())
    if not isinstance(found, dict) or not is_text:
        raise _unsound("its header is no object of tensors, with texts as its notes")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that is there twice would be one tensor to one reader and another to the next."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _tensor(name: str, told: object) -> Tensor:
    if not isinstance(told, Mapping) or set(told) != {"dtype", "shape", "data_offsets"}:
        raise _unsound(f"{name} has to say dtype, shape and data_offsets")
    size = ITEM_BYTES.get(told["dtype"]) if isinstance(told["dtype"], str) else None
    if size is None:
        raise _unsound(f"{name} is of the unknown type {told['dtype']!r}")
    shape, offsets = told["shape"], told["data_offsets"]
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise _unsound(f"{name} has the shape {shape!r} at {offsets!r}")
    begin, end = offsets
    if end - begin != size * math.prod(shape):
        raise _unsound(
            f"{name} takes {end - begin} bytes, and {told['dtype']} of shape {shape} "
            f"takes {size * math.prod(shape)}"
        )
    return Tensor(name, told["dtype"], tuple(shape), begin, end)


def _are_counts(values: object) -> bool:
    if not isinstance(values, list) or len(values) > _MAX_DIMENSIONS:
        return False
    return all(type(value) is int and 0 <= value < 2**63 for value in values)


def _unsound(why: str) -> InvalidInput:
    return InvalidInput(
        f"The state is no sound safetensors file: {why}.",
        next_step="Write it with safetensors.torch.save_file(module.state_dict(), path).",
    )
