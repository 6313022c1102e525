"""A tensor's bytes: little-endian, rows one after another, as the binary tensor extension and
gRPC's raw contents have them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from seamline.domain.errors import InvalidInput, nearest
from seamline.serve.datatypes import DATATYPES, DTYPES, TEXT, Values, to_list
from seamline.serve.inputs.validate import Tensor
from seamline.serve.snapshots.snapshot import Column

_LENGTH = struct.Struct("<I")
_HALF = np.dtype("<u2")
#: Half of the bits of each FP32, which NumPy has no type for.
HALF_OF_FP32 = "BF16"


def raw_tensor(name: str, datatype: str, shape: Sequence[int], data: bytes) -> Tensor:
    """A tensor from its bytes, as the binary extension and gRPC's raw contents have them.

    BF16, for which NumPy has no type, becomes FP32, which holds each of its values.

    >>> raw_tensor("x", "BF16", [2], bytes([0x80, 0x3F, 0x20, 0xC0])).data.tolist()
    [1.0, -2.5]
    """
    if datatype == TEXT:
        return Tensor(name, TEXT, shape, _split_texts(name, data))
    dtype = _HALF if datatype == HALF_OF_FP32 else DTYPES.get(datatype)
    if dtype is None:
        raise InvalidInput(
            f"Input {name!r} has datatype {datatype!r}.",
            next_step=nearest(datatype, [*DATATYPES, HALF_OF_FP32]),
        )
    if len(data) % dtype.itemsize:
        raise InvalidInput(f"Input {name!r}: {len(data)} bytes are no whole {datatype}s.")
    values = np.frombuffer(data, dtype)
    if datatype == HALF_OF_FP32:
        return Tensor(name, "FP32", shape, (values.astype("<u4") << 16).view("<f4"))
    return Tensor(name, datatype, shape, values)


def _split_texts(name: str, data: bytes) -> list[str]:
    """Each element: its length in four bytes (little-endian), then UTF-8 text."""
    texts, at = [], 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise InvalidInput(f"Input {name!r}: its last text is cut off.")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + length > len(data):
            raise InvalidInput(f"Input {name!r}: its last text is cut off.")
        texts.append(_text(name, data[at : at + length]))
        at += length
    return texts


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"Input {name!r} holds bytes that are not UTF-8.") from error


def whole_body(body: bytes, inputs: Sequence[Column]) -> Tensor:
    """The one input of a model that has no more, of a request without any JSON: as many rows as
    there are bytes for, or one text.

    >>> whole_body(bytes([0, 0, 128, 63, 0, 0, 0, 192]), [Column("x", "FP32")]).data.tolist()
    [1.0, -2.0]
    >>> whole_body(b"JFK", [Column("origin", "BYTES")]).data
    ['JFK']
    """
    if len(inputs) != 1:
        raise InvalidInput(
            "Inference-Header-Content-Length is 0: the whole body is one tensor. This model takes "
            f"{len(inputs)}: {', '.join(column.name for column in inputs)}.",
            next_step="Send JSON before the tensors, and its length.",
        )
    name, datatype = inputs[0].name, inputs[0].datatype
    if datatype == TEXT:
        return Tensor(name, TEXT, [1], [_text(name, body)])
    values = np.asarray(raw_tensor(name, datatype, [], body).data)
    return Tensor(name, datatype, [values.size], values)


def to_raw(values: Values, column: Column) -> bytes:
    if column.datatype == TEXT:
        texts = [str(value).encode() for value in to_list(values)]
        return b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    return np.asarray(values, DTYPES[column.datatype]).tobytes()
