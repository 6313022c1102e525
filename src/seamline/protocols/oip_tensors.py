"""Open Inference Protocol v2 messages: JSON, and the binary tensor extension.

With the extension a body is JSON followed by raw tensors; `Inference-Header-Content-Length`
says where the JSON ends. Without that header the whole body is JSON, whatever its type says.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from seamline.domain.errors import InvalidInput, nearest
from seamline.serve.datatypes import DATATYPES, DTYPES, TEXT, Values, to_list
from seamline.serve.inputs.validate import Tensor
from seamline.serve.predict import Prediction
from seamline.serve.routing import Target
from seamline.serve.snapshots.snapshot import Column

Extent = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
#: Columns are [n] or [n, 1], matrices [n, k].
MAX_RANK = 8
_LENGTH = struct.Struct("<I")
_HALF = np.dtype("<u2")


class InferInput(msgspec.Struct, gc=False):
    name: str
    shape: Annotated[list[Extent], msgspec.Meta(max_length=MAX_RANK)]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class RequestedOutput(msgspec.Struct, gc=False):
    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, gc=False):
    inputs: list[InferInput]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[RequestedOutput] | None = None


_DECODER = msgspec.json.Decoder(InferRequest)
_ENCODER = msgspec.json.Encoder()


def read_request(body: bytes, header_length: int | None) -> tuple[InferRequest, list[Tensor]]:
    """InvalidInput says where the body stops being a request."""
    if header_length is not None and not 0 < header_length <= len(body):
        raise InvalidInput(
            f"Inference-Header-Content-Length is {header_length}; the body has {len(body)} bytes."
        )
    try:
        request = _DECODER.decode(body if header_length is None else body[:header_length])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The request cannot be read: {error}.") from error
    at = len(body) if header_length is None else header_length
    tensors = []
    for item in request.inputs:
        size = item.parameters.get("binary_data_size") if item.parameters else None
        if size is None:
            if item.data is None:
                raise InvalidInput(f"Input {item.name!r} has no data.")
            tensors.append(Tensor(item.name, item.datatype, item.shape, item.data))
            continue
        if type(size) is not int or size < 0 or at + size > len(body):
            raise InvalidInput(
                f"Input {item.name!r}: binary_data_size is {size!r}; "
                f"{len(body) - at} bytes are left in the body."
            )
        tensors.append(raw_tensor(item.name, item.datatype, item.shape, body[at : at + size]))
        at += size
    if at != len(body):
        raise InvalidInput(f"{len(body) - at} bytes of the body belong to no input.")
    return request, tensors


def raw_tensor(name: str, datatype: str, shape: Sequence[int], data: bytes) -> Tensor:
    """A tensor from its bytes, as the binary extension and gRPC's raw contents have them.

    BF16, for which NumPy has no type, becomes FP32, which holds each of its values.

    >>> raw_tensor("x", "BF16", [2], bytes([0x80, 0x3F, 0x20, 0xC0])).data.tolist()
    [1.0, -2.5]
    """
    if datatype == TEXT:
        return Tensor(name, TEXT, shape, _split_texts(name, data))
    dtype = _HALF if datatype == "BF16" else DTYPES.get(datatype)
    if dtype is None:
        raise InvalidInput(
            f"Input {name!r} has datatype {datatype!r}.",
            next_step=nearest(datatype, [*DATATYPES, "BF16"]),
        )
    if len(data) % dtype.itemsize:
        raise InvalidInput(f"Input {name!r}: {len(data)} bytes are no whole {datatype}s.")
    values = np.frombuffer(data, dtype)
    if datatype == "BF16":
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
        try:
            texts.append(data[at : at + length].decode())
        except UnicodeDecodeError as error:
            raise InvalidInput(f"Input {name!r} holds bytes that are not UTF-8.") from error
        at += length
    return texts


def wanted_outputs(request: InferRequest, outputs: tuple[Column, ...]) -> list[tuple[Column, bool]]:
    """(output, whether in binary), in the order asked for; all of them when none is named."""
    default = request.parameters.get("binary_data_output") is True
    if not request.outputs:
        return [(column, default) for column in outputs]
    known = {column.name: column for column in outputs}
    wanted = []
    for item in request.outputs:
        if item.name not in known:
            raise InvalidInput(
                f"There is no output {item.name!r}.", next_step=nearest(item.name, known)
            )
        binary = item.parameters.get("binary_data", default) is True
        wanted.append((known[item.name], binary))
    return wanted


class PlainReply:
    """A target's reply with all of its outputs as JSON, of which most is the same each time."""

    def __init__(self, target: Target) -> None:
        spec = target.spec
        names = {"model_name": spec.endpoint, "model_version": spec.model_version}
        self._head = _ENCODER.encode(names)[:-1]
        release = _ENCODER.encode({"release": target.release})[1:]
        self._release = b'",%b,"outputs":[' % release
        self._outputs = [
            (column.name, _ENCODER.encode({"name": column.name, "datatype": column.datatype})[:-1])
            for column in spec.signature.outputs
        ]

    @classmethod
    def of(cls, target: Target) -> PlainReply:
        found: PlainReply | None = target.prepared.get("oip")
        if found is None:
            found = target.prepared["oip"] = cls(target)
        return found

    def write(self, prediction: Prediction, request_id: str | None) -> bytes | None:
        """As `write_reply` does; None where an output is an array."""
        parts = [self._head]
        if request_id is not None:
            parts += (b',"id":', _ENCODER.encode(request_id))
        parts += (b',"parameters":{"prediction_id":"', prediction.id.encode(), self._release)
        between = b""
        for name, described in self._outputs:
            values = prediction.outputs[name]
            if type(values) is not list:
                return None
            parts += (between, described, b',"shape":[%d],"data":' % len(values))
            parts += (_ENCODER.encode(values), b"}")
            between = b","
        parts.append(b"]}")
        return b"".join(parts)


def write_reply(
    prediction: Prediction, request_id: str | None, wanted: list[tuple[Column, bool]]
) -> tuple[bytes, int | None]:
    """(body, length of its JSON part when tensors follow it)."""
    spec = prediction.target.spec
    outputs: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for column, binary in wanted:
        values = prediction.outputs[column.name]
        output: dict[str, Any] = {
            "name": column.name,
            "datatype": column.datatype,
            "shape": list(values.shape) if isinstance(values, np.ndarray) else [len(values)],
        }
        if binary:
            data = to_raw(values, column)
            output["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            output["data"] = values.ravel().tolist() if isinstance(values, np.ndarray) else values
        outputs.append(output)
    reply: dict[str, Any] = {"model_name": spec.endpoint, "model_version": spec.model_version}
    if request_id is not None:
        reply["id"] = request_id
    reply["parameters"] = {"prediction_id": prediction.id, "release": prediction.target.release}
    reply["outputs"] = outputs
    text = _ENCODER.encode(reply)
    if not any(binary for _, binary in wanted):
        return text, None
    return b"".join([text, *tail]), len(text)


def to_raw(values: Values, column: Column) -> bytes:
    if column.datatype == TEXT:
        texts = [str(value).encode() for value in to_list(values)]
        return b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    return np.asarray(values, DTYPES[column.datatype]).tobytes()
