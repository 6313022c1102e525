"""The formats that models are packaged in, and which of them run code when they are loaded."""

from __future__ import annotations

import re
from enum import StrEnum

from seamline.domain.errors import InvalidInput, nearest
from seamline.register.formats.tensors import looks_like_tensors


class ModelFormat(StrEnum):
    """From the one that holds the least of a program to the one that holds whole functions."""

    #: Trees and their numbers, in XGBoost's own UBJSON or JSON.
    XGBOOST = "xgboost"
    #: LightGBM's own text.
    LIGHTGBM = "lightgbm"
    #: A graph of known operators.
    ONNX = "onnx"
    #: scikit-learn's objects, each type looked at before it is made.
    SKOPS = "skops"
    #: A module's numbers as safetensors, and the source of what builds the module around them.
    TORCH_STATE = "torch-state"
    JOBLIB = "joblib"
    PICKLE = "pickle"
    #: Functions and classes by value.
    CLOUDPICKLE = "cloudpickle"


#: Their bytes are a program for a machine of their own, which loading runs.
PICKLED = frozenset({ModelFormat.JOBLIB, ModelFormat.PICKLE, ModelFormat.CLOUDPICKLE})
#: Loading one of these runs what came with it: its file itself, or source that lies beside it.
ARBITRARY_CODE = PICKLED | {ModelFormat.TORCH_STATE}
#: What model.json says of them; never "clean": a list of names is no proof.
CODE_VERDICT = "arbitrary code"
DATA_VERDICT = "data"

#: gzip, bzip2, xz, lzma, LZ4, and zlib at its levels: what joblib packs with.
_COMPRESSED = (
    *(b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x5d\x00\x00", b"\x04\x22\x4d\x18"),
    *(b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
)
_UBJSON = re.compile(rb"\{L........(?:learner|version|Config)", re.DOTALL)
_JSON = re.compile(rb'\s*\{\s*"(?:learner|version|Config)"')
#: So much of a file, and its last byte, say what it is.
HEAD_BYTES = 4096


def read_format(text: object) -> ModelFormat:
    """
    >>> read_format("skops")
    <ModelFormat.SKOPS: 'skops'>
    """
    try:
        return ModelFormat(str(text))
    except ValueError:
        raise InvalidInput(
            f"{text!r} is no format of models.", next_step=nearest(str(text), ModelFormat)
        ) from None


def sniff_format(data: bytes) -> ModelFormat | None:
    """By how the bytes begin; PICKLE stands for all three that are pickles inside.

    >>> sniff_format(b"tree\\nversion=v4"), sniff_format(b'{"learner":{}}'), sniff_format(b"PNG")
    (<ModelFormat.LIGHTGBM: 'lightgbm'>, <ModelFormat.XGBOOST: 'xgboost'>, None)
    """
    head = data[:HEAD_BYTES]
    if head.startswith(b"PK\x03\x04"):
        return ModelFormat.SKOPS
    if head.startswith(b"tree\n"):
        return ModelFormat.LIGHTGBM
    if _UBJSON.match(head) or _JSON.match(head):
        return ModelFormat.XGBOOST
    if looks_like_tensors(head):
        return ModelFormat.TORCH_STATE
    if head.startswith(_COMPRESSED):
        return ModelFormat.JOBLIB
    if len(head) > 1 and head[0] == 0x80 and head[1] <= 5:
        return ModelFormat.PICKLE
    if _is_onnx(head):
        return ModelFormat.ONNX
    # Protocols 0 and 1 have no header; what ends like a pickle is looked at as one.
    return ModelFormat.PICKLE if head and data[-1:] == b"." else None


def _is_onnx(head: bytes) -> bool:
    """A protobuf message whose first field is `ir_version`, a small number, followed by another
    of ModelProto's fields."""
    return (
        len(head) > 2 and head[0] == 0x08 and head[1] < 0x40 and head[2] in b"\x12\x1a\x22\x3a\x42"
    )
