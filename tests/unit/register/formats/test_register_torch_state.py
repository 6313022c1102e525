"""A PyTorch state and its source are looked at without PyTorch, and refused without it."""

from __future__ import annotations

import io
import json
import struct
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.errors import DigestMismatch, InvalidInput, Refused
from seamline.register.formats.code_rules import scan_code
from seamline.register.formats.kinds import ModelFormat, sniff_format
from seamline.register.formats.model_code import ModelCode, check_code_described, parse_settings
from seamline.register.formats.scan import (
    Scan,
    check_admitted,
    check_findings,
    scan_file,
    scan_model,
)
from seamline.register.formats.tensors import Tensor, read_tensors
from seamline.register.formats.torch_state import code_paths, scan_state

MODEL = b"""
import math
import torch
from torch import nn

from .layers import dense


def build_model(width=8):
    return nn.Sequential(dense(2, width), nn.Linear(width, 1))
"""
LAYERS = b"from torch.nn import Linear\n\n\ndef dense(begin, end):\n    return Linear(begin, end)\n"
CODE = {"model.py": MODEL, "layers.py": LAYERS}
SETTINGS = b'{"task": "regression"}'
WEIGHT = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
BIAS = {"dtype": "F32", "shape": [2], "data_offsets": [24, 32]}


def tensors_file(header: object, data: bytes = bytes(32)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


STATE = tensors_file({"w": WEIGHT, "b": BIAS, "__metadata__": {"format": "pt"}})


def read(data: bytes) -> tuple[Tensor, ...]:
    return read_tensors(io.BytesIO(data), len(data))


def test_a_header_says_what_tensors_there_are() -> None:
    assert read(STATE) == (Tensor("w", "F32", (2, 3), 0, 24), Tensor("b", "F32", (2,), 24, 32))
    assert sniff_format(STATE) is ModelFormat.TORCH_STATE


def test_only_the_header_is_read() -> None:
    file = io.BytesIO(STATE)
    read_tensors(file, len(STATE))
    assert file.tell() == len(STATE) - 32


UNSOUND: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "does not begin"),
    "cut": (STATE[:20], "does not begin"),
    "too_long": (struct.pack("<Q", 1 << 40) + STATE[8:], "does not begin"),
    "no_json": (tensors_file(b"{not json"), "is no JSON"),
    "deep": (tensors_file(b'{"a":' + b"[" * 100_000 + b"}"), "is no JSON"),
    "twice": (
        tensors_file(b'{"w": %s, "w": %s}' % ((json.dumps(WEIGHT).encode(),) * 2)),
        "twice",
    ),
    "short": (tensors_file({"w": WEIGHT, "b": BIAS}, bytes(31)), "take 32 bytes, and 31"),
    "more": (tensors_file({"w": WEIGHT, "b": BIAS}, bytes(33)), "take 32 bytes, and 33"),
    "hole": (tensors_file({"b": BIAS}), "b begins at byte 24, where 0 is next"),
    "overlap": (
        tensors_file({"w": WEIGHT, "b": {**BIAS, "data_offsets": [16, 24]}}),
        "begins at byte",
    ),
    "shape": (tensors_file({"w": {**WEIGHT, "shape": [2, 4]}}, bytes(24)), "takes 24 bytes, and"),
    "negative": (tensors_file({"w": {**WEIGHT, "shape": [-2, -3]}}), r"the shape \[-2, -3\]"),
    "truth": (tensors_file({"w": {**WEIGHT, "shape": [True]}}), "has the shape"),
    "many": (tensors_file({"w": {**WEIGHT, "shape": [1] * 1000}}), "has the shape"),
    "dtype": (tensors_file({"w": {**WEIGHT, "dtype": "PICKLE"}}), "unknown type 'PICKLE'"),
    "key": (tensors_file({"w": {**WEIGHT, "code": "x"}}), "has to say dtype, shape"),
    "notes": (tensors_file({"__metadata__": {"a": 1}}), "no object of tensors"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_unsound_states_are_refused_with_the_reason(name: str) -> None:
    data, said = UNSOUND[name]
    with pytest.raises(InvalidInput, match=said):
        read(data)


@given(st.binary(max_size=60), st.binary(max_size=40))
def test_any_header_is_read_or_refused(text: bytes, data: bytes) -> None:
    with suppress(InvalidInput):
        read(tensors_file(b"{" + text, data))


def test_source_is_read_and_its_imports_are_named() -> None:
    scan = scan_state(io.BytesIO(STATE), len(STATE), SETTINGS, CODE)
    assert (scan.format, scan.verdict) == (ModelFormat.TORCH_STATE, "arbitrary code")
    assert scan.globals == ("math", "torch", "torch.nn")
    assert scan.findings == ()
    assert scan.code is not None and scan.code.settings.task == "regression"


ODD = {
    "import os": "model.py line 1 imports os",
    "def later():\n    from subprocess import run": "model.py line 2 imports subprocess",
    "import urllib.request as r": "imports urllib.request",
    "from torch import hub": "imports torch.hub",
    "import torch.utils.cpp_extension": "imports torch.utils.cpp_extension",
    "eval('1')": "model.py line 1 uses eval",
    "open('/etc/hosts')": "uses open",
    "import torch; torch.load('x')": "line 1 uses torch.load",
    "import torch; torch.ops.load_library('x')": "uses torch.ops.load_library",
    "().__class__.__base__.__subclasses__()": "uses __subclasses__",
}


@pytest.mark.parametrize("text", ODD)
def test_what_no_module_needs_is_found_and_refused(text: str) -> None:
    source = f"{text}\n\n\ndef build_model(): ...\n".encode()
    found = scan_code({"model.py": source})
    assert any(ODD[text] in finding for finding in found.findings), found
    with pytest.raises(Refused, match=r"Leave in model\.py what builds the module"):
        check_findings(Scan(ModelFormat.TORCH_STATE, findings=found.findings), "m 1.0.0")


WRONG_CODE: dict[str, tuple[dict[str, bytes], str]] = {
    "no_model": ({"net.py": MODEL}, "has to hold model.py; there is net.py"),
    "no_builder": ({"model.py": b"def build(): ...\nimport torch"}, "no build_model: build, torch"),
    "no_python": ({"model.py": b"def build_model(:"}, "model.py is no Python source"),
    "no_text": ({"model.py": b"# \xff\xfe"}, "model.py is no Python source"),
    "null": ({"model.py": b"def build_model(): ...\0"}, "model.py is no Python source"),
    "deep": ({"model.py": b"(" * 5000 + b")" * 5000}, "model.py is no Python source"),
    "plain_import": (
        {"model.py": b"import layers\ndef build_model(): ...", "layers.py": LAYERS},
        "Write from . import layers",
    ),
    "two_of_one_name": (
        {"model.py": MODEL, "layers.py": LAYERS, "layers/__init__.py": LAYERS},
        "are one module",
    ),
    "folder_of_the_name": (
        {"model.py": MODEL, "layers.py": LAYERS, "layers/dense.py": LAYERS},
        "are one module",
    ),
    "case": ({"model.py": MODEL, "Model.py": MODEL}, "are one module"),
    "too_much": ({"model.py": MODEL + b"#" * (1 << 20)}, "bytes is too much"),
}


@pytest.mark.parametrize("name", WRONG_CODE)
def test_source_that_builds_nothing_is_refused(name: str) -> None:
    files, said = WRONG_CODE[name]
    with pytest.raises(InvalidInput, match=said):
        scan_code(files)


@given(st.text(alphabet="()[]{}.:=,@\n\t #'\"adefimoprst_0\\\0é", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidInput), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's own, of doubtful source
        scan_code({"model.py": b"def build_model(): ...\n" + text.encode()})


@pytest.mark.parametrize(
    "path",
    [
        *("../model.py", "/model.py", "a/../model.py", "a//b.py", "./model.py", "a b.py"),
        *("model.py/", "C:\\model.py", "a\\b.py", ".py", "a/.py", "model.PY", "1.py", "a-b.py"),
        "a/model.py\n",
    ],
)
def test_source_stays_below_its_folder(path: str) -> None:
    with pytest.raises(InvalidInput):
        scan_code({"model.py": MODEL, path: b""})
    described = {"files": {path: "sha256:" + "a" * 64}, "settings": {"task": "regression"}}
    with pytest.raises(InvalidInput):
        check_code_described(described)


def test_a_folder_holds_nothing_else() -> None:
    paths = ["state.safetensors", "settings.json", "layers.py", "model.py"]
    assert code_paths([*paths, "__pycache__/model.cpython-311.pyc"]) == ("layers.py", "model.py")
    with pytest.raises(InvalidInput, match=r"holds weights\.bin, which is neither"):
        code_paths([*paths, "weights.bin"])


WRONG_SETTINGS = {
    "{": "is no JSON",
    "[]": "is no object",
    "{}": "its task is None",
    '{"task": "regresion"}': "Did you mean regression",
    '{"task": "regression", "score": "logit"}': "a regression has none",
    '{"task": "binary_classification", "score": "logits"}': "Did you mean logit",
    '{"task": "regression", "input": ["x"]}': "Did you mean inputs",
    '{"task": "regression", "inputs": ["x", "x"]}': "no list of different columns",
    '{"task": "regression", "build": {"a b": 1}}': "no arguments by name",
    '{"task": "regression", "build": {"a": NaN}}': "NaN is no number",
}


@pytest.mark.parametrize("text", WRONG_SETTINGS)
def test_settings_that_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as told:
        parse_settings(text.encode())
    assert WRONG_SETTINGS[text] in str(told.value)


def test_no_settings_and_no_source_are_told_apart() -> None:
    with pytest.raises(InvalidInput, match=r"There is no settings\.json"):
        scan_state(io.BytesIO(STATE), len(STATE), None, CODE)
    for scan in (lambda: scan_model(STATE), lambda: scan_file(io.BytesIO(STATE + bytes(9000)))):
        with pytest.raises(InvalidInput, match="nothing says which module"):
            scan()


def test_the_policy_of_an_environment_decides() -> None:
    form = ModelFormat.TORCH_STATE
    check_admitted(form, ["torch-state"], "staging", "m 1.0.0")
    with pytest.raises(Refused) as told:
        check_admitted(form, ["pickle"], "staging", "m 1.0.0")
    assert (
        'Read its source, and let the platform admit it: [environments.staging] formats = ["to'
        in (str(told.value))
    )


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"model.py": MODEL}, InvalidInput),
        ({**CODE, "more.py": b""}, InvalidInput),
        ({**CODE, "layers.py": LAYERS + b"#"}, DigestMismatch),
    ],
)
def test_model_json_names_just_the_files(files: Mapping[str, bytes], error: Any) -> None:
    told = ModelCode(CODE, parse_settings(SETTINGS)).to_json()
    check_code_described(told, CODE)
    with pytest.raises(error):
        check_code_described(told, files)
