"""Open Inference Protocol v2 messages: JSON, and the binary tensor extension.

With the extension a body is JSON followed by raw tensors; `Inference-Header-Content-Length`
says where the JSON ends. Without that header the whole body is JSON, whatever its type says; where
it is 0 the whole body is the one input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from seamline.domain.errors import InvalidInput, nearest
from seamline.protocols.oip_foreign import check_parameters
from seamline.protocols.oip_raw import HALF_OF_FP32, raw_tensor, to_raw, whole_body
from seamline.serve.inputs.validate import Tensor
from seamline.serve.predict import Prediction
from seamline.serve.routing import Target
from seamline.serve.snapshots.snapshot import Column

Extent = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
#: Columns are [n] or [n, 1], matrices [n, k].
MAX_RANK = 8
#: Some clients write what they have none of.
Parameters = dict[str, Any] | None
_BINARY_OUTPUT = "binary_data_output"
_NO_NUMBERS = (b"NaN", b"Infinity")


class InferInput(msgspec.Struct, gc=False):
    name: str
    shape: Annotated[list[Extent], msgspec.Meta(max_length=MAX_RANK)]
    datatype: str
    data: list[Any] | None = None
    parameters: Parameters = None


class RequestedOutput(msgspec.Struct, gc=False):
    name: str
    parameters: Parameters = None


class InferRequest(msgspec.Struct, gc=False):
    inputs: list[InferInput]
    id: str | None = None
    parameters: Parameters = None
    outputs: list[RequestedOutput] | None = None


_DECODER = msgspec.json.Decoder(InferRequest)
_ENCODER = msgspec.json.Encoder()


def read_request(
    body: bytes, header_length: int | None, inputs: Sequence[Column]
) -> tuple[InferRequest, list[Tensor]]:
    """InvalidInput says where the body stops being a request. `inputs`: the model's."""
    if header_length == 0:
        return InferRequest([], parameters={_BINARY_OUTPUT: True}), [whole_body(body, inputs)]
    if header_length is not None and header_length > len(body):
        raise InvalidInput(
            f"Inference-Header-Content-Length is {header_length}; the body has {len(body)} bytes."
        )
    text = body if header_length is None else body[:header_length]
    try:
        request = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(text, error) from error
    at = len(text)
    tensors = []
    for item in request.inputs:
        if item.parameters:
            check_parameters(f"Input {item.name!r}", item.parameters)
            size = item.parameters.get("binary_data_size")
        else:
            size = None
        if size is None:
            if item.data is None:
                raise InvalidInput(f"Input {item.name!r} has no data.")
            if item.datatype == HALF_OF_FP32:
                raise InvalidInput(
                    f"Input {item.name!r}: BF16 has no numbers in JSON.",
                    next_step="Send it in binary, or as FP32.",
                )
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


def _unreadable(text: bytes, error: Exception) -> InvalidInput:
    if not text:
        return InvalidInput("The request has no body.", next_step="Send the inputs as JSON.")
    hint = ""
    if any(name in text for name in _NO_NUMBERS):
        hint = "JSON has no NaN and no Infinity: send null, or the tensor in binary."
    return InvalidInput(f"The request cannot be read: {error}.", next_step=hint)


def wanted_outputs(request: InferRequest, outputs: tuple[Column, ...]) -> list[tuple[Column, bool]]:
    """(output, whether in binary), in the order asked for; all of them when none is named."""
    default = _flag(request.parameters, _BINARY_OUTPUT, False)
    if not request.outputs:
        return [(column, default) for column in outputs]
    known = {column.name: column for column in outputs}
    wanted = []
    for item in request.outputs:
        if item.name not in known:
            raise InvalidInput(
                f"There is no output {item.name!r}.", next_step=nearest(item.name, known)
            )
        check_parameters(f"Output {item.name!r}", item.parameters or ())
        wanted.append((known[item.name], _flag(item.parameters, "binary_data", default)))
    return wanted


def _flag(parameters: Parameters, name: str, default: bool) -> bool:
    value = None if parameters is None else parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInput(f"The parameter {name} is {value!r}.", next_step="Send true or false.")
    return value


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
