"""Bytes that are the recorded ones become something that predicts."""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from .model import Model
from .versions import check_python, check_twin_libraries, check_versions

#: Format → where the model's bytes lie in the package.
PAYLOADS = {
    "skops": "payload/model.skops",
    "xgboost": "payload/model.ubj",
    "lightgbm": "payload/model.txt",
    "onnx": "payload/model.onnx",
    "joblib": "payload/model.joblib",
    "pickle": "payload/model.pkl",
    "cloudpickle": "payload/model.cloudpickle",
    "torch-state": "payload/state.safetensors",
}
#: Where the model's ONNX twin lies in the package, if it has one.
TWIN = "payload/twin.onnx"
#: Where source that belongs to the model lies in the package.
CODE = "code"
#: Format → the module in adapters/ whose `open_payload(document, payload)` reads it; where
#: model.json names source, `open_payload(document, payload, code)`.
ADAPTERS = {
    "skops": "skops",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "onnx": "onnx",
    "joblib": "pickles",
    "pickle": "pickles",
    "cloudpickle": "pickles",
    "torch-state": "torch_state",
}


def load_model(package: str, read_payload: Callable[[str], bytes] | None = None) -> Model:
    """The model inside `package`; refuses a payload whose bytes are not the recorded ones.

    `read_payload`: digest → bytes, where the package itself holds none (a thin wheel).
    """
    document = json.loads(_read(package, "model.json"))
    check_versions(document["name"], document["requirements"])
    check_python(document)
    if read_payload is None:
        payload = _read(package, PAYLOADS[document["format"]])
    else:
        payload = read_payload(document["payload_digest"])
    named = document.get("code", {}).get("files", ())
    code = {path: _read(package, f"{CODE}/{path}") for path in named}
    return open_model(document, payload, code or None)


def load_twin(package: str, read_payload: Callable[[str], bytes] | None = None) -> Model:
    """The model's ONNX twin: the same answers from numpy and ONNX Runtime alone.

    LookupError where there is none, which says why; ImportError where one of the two is missing.
    `read_payload`: as of `load_model`.
    """
    document = json.loads(_read(package, "model.json"))
    twin = document.get("twin", {"digest": None, "reason": "it was packaged before there were any"})
    if twin["digest"] is None:
        raise LookupError(
            f"{document['name']} {document['version']} has no ONNX twin: {twin['reason']}."
        )
    check_twin_libraries(document["name"])
    is_itself = twin["digest"] == document["payload_digest"]
    if read_payload is None:
        payload = _read(package, PAYLOADS["onnx"] if is_itself else TWIN)
    else:
        payload = read_payload(twin["digest"])
    changed = {"format": "onnx", "frame": None, "payload_digest": twin["digest"]}
    return open_model({**document, **changed}, payload)


def open_model(
    document: Mapping[str, Any], payload: bytes, code: Mapping[str, bytes] | None = None
) -> Model:
    """What is deserialised is the very byte string that was hashed. `code`: path → source."""
    actual = "sha256:" + hashlib.sha256(payload).hexdigest()
    if actual != document["payload_digest"]:
        raise ValueError(
            f"The payload of {document['name']} {document['version']} was altered: "
            f"expected {document['payload_digest']}, found {actual}."
        )
    return Model(document, open_estimator(document, payload, code))


def open_estimator(
    document: Mapping[str, Any], payload: bytes, code: Mapping[str, bytes] | None = None
) -> Any:
    """What predicts, out of bytes that were verified before.

    ValueError where the bytes are not what their adapter takes.
    """
    adapter = ADAPTERS.get(document["format"])
    if adapter is None:
        raise ValueError(f"{document['name']} is of the unknown format {document['format']!r}.")
    # Only the one in need: the others' frameworks may not be here.
    module = importlib.import_module(f".adapters.{adapter}", __package__)
    return module.open_payload(document, payload, *([] if code is None else [code]))


def _read(package: str, name: str) -> bytes:
    data = pkgutil.get_data(package, name)
    if data is None:
        raise ImportError(f"{package} was imported by a loader that cannot read {name}.")
    return data
