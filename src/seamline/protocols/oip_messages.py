"""The messages of the Open Inference Protocol's gRPC service, in a descriptor pool of our own.

Every client library registers its copy of them in protobuf's default pool, where a second copy of
the same names is an error; so ours are kept apart, and any client can be imported beside us.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from seamline.domain.errors import InvalidInput, Unavailable

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

#: Message → its fields in order: the field at position n has the number n, as the protocol has it.
#: `TYPE name`, before it `repeated`, `map` (from text) or `oneof` (one choice per message).
MESSAGES: Mapping[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("bool live",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("bool ready",),
    "ModelReadyRequest": ("string name", "string version"),
    "ModelReadyResponse": ("bool ready",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("string name", "string version", "repeated string extensions"),
    "ModelMetadataRequest": ("string name", "string version"),
    "TensorMetadata": ("string name", "string datatype", "repeated int64 shape"),
    "ModelMetadataResponse": (
        "string name",
        "repeated string versions",
        "string platform",
        "repeated TensorMetadata inputs",
        "repeated TensorMetadata outputs",
    ),
    "InferParameter": (
        "oneof bool bool_param",
        "oneof int64 int64_param",
        "oneof string string_param",
        "oneof double double_param",
        "oneof uint64 uint64_param",
    ),
    "InferTensorContents": (
        "repeated bool bool_contents",
        "repeated int32 int_contents",
        "repeated int64 int64_contents",
        "repeated uint32 uint_contents",
        "repeated uint64 uint64_contents",
        "repeated float fp32_contents",
        "repeated double fp64_contents",
        "repeated bytes bytes_contents",
    ),
    "InferTensor": (
        "string name",
        "string datatype",
        "repeated int64 shape",
        "map InferParameter parameters",
        "InferTensorContents contents",
    ),
    "InferRequestedOutputTensor": ("string name", "map InferParameter parameters"),
    "ModelInferRequest": (
        "string model_name",
        "string model_version",
        "string id",
        "map InferParameter parameters",
        "repeated InferTensor inputs",
        "repeated InferRequestedOutputTensor outputs",
        "repeated bytes raw_input_contents",
    ),
    "ModelInferResponse": (
        "string model_name",
        "string model_version",
        "string id",
        "map InferParameter parameters",
        "repeated InferTensor outputs",
        "repeated bytes raw_output_contents",
    ),
    "RepositoryIndexRequest": ("string repository_name", "bool ready"),
    "ModelIndex": ("string name", "string version", "string state", "string reason"),
    "RepositoryIndexResponse": ("repeated ModelIndex models",),
    "ModelRepositoryParameter": (
        "oneof bool bool_param",
        "oneof int64 int64_param",
        "oneof string string_param",
        "oneof bytes bytes_param",
    ),
    # Triton's; KServe's has the model's name where Triton has the repository's.
    "RepositoryModelLoadRequest": (
        "string repository_name",
        "string model_name",
        "map ModelRepositoryParameter parameters",
    ),
    "RepositoryModelUnloadRequest": (
        "string repository_name",
        "string model_name",
        "map ModelRepositoryParameter parameters",
    ),
    # KServe's; Triton's are empty, and pass over what is in them.
    "RepositoryModelLoadResponse": ("string model_name", "bool isLoaded"),
    "RepositoryModelUnloadResponse": ("string model_name", "bool isUnloaded"),
}


def import_extra(name: str) -> Any:
    """A module of the extra `grpc`; Unavailable says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unavailable(
            f"gRPC needs a package that is not installed here ({error}).",
            next_step="pip install 'seamline[grpc]'",
        ) from error


def load_messages(
    package: str = PACKAGE, messages: Mapping[str, tuple[str, ...]] = MESSAGES
) -> dict[str, Any]:
    """Message name → its class; none of them in protobuf's default pool."""
    descriptor_pb2 = import_extra("google.protobuf.descriptor_pb2")
    pools = import_extra("google.protobuf.descriptor_pool")
    factory = import_extra("google.protobuf.message_factory")
    file = descriptor_pb2.FileDescriptorProto(
        name=f"seamline/{package}.proto", package=package, syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, text in enumerate(fields, 1):
            _add_field(message, number, text.split(), kinds)
    pool = pools.DescriptorPool()
    pool.Add(file)
    return {
        name: factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }


def reader_of(message: Any) -> Callable[[bytes], Any]:
    """bytes → one of these messages; InvalidInput where they are none."""
    broken = import_extra("google.protobuf.message").DecodeError

    def read(body: bytes) -> Any:
        try:
            return message.FromString(body)
        except broken as error:
            raise InvalidInput(f"The request cannot be read: {error}.") from error

    return read


def _add_field(message: Any, number: int, words: list[str], kinds: Any) -> None:
    *how, kind, name = words
    field = message.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL)
    if how == ["map"]:
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        for at, (part, of) in enumerate((("key", "string"), ("value", kind)), 1):
            _set_kind(entry.field.add(name=part, number=at, label=kinds.LABEL_OPTIONAL), of, kinds)
        field.label = kinds.LABEL_REPEATED
        field.type = kinds.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
        return
    if how == ["repeated"]:
        field.label = kinds.LABEL_REPEATED
    elif how == ["oneof"]:
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    _set_kind(field, kind, kinds)


def _set_kind(field: Any, kind: str, kinds: Any) -> None:
    if kind in MESSAGES:
        field.type = kinds.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(kinds, f"TYPE_{kind.upper()}")
