"""Model wheels: the same inputs give the same bytes, on any machine.

Entries are sorted and stored without compression (zlib's output differs between builds), with
one timestamp and one permission.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from seamline.domain.digests import check_digest
from seamline.domain.errors import DigestMismatch, InvalidInput
from seamline.register.formats.model_code import check_code_described
from seamline.register.models.documents import (
    check_model_document,
    code_folder,
    formats_in,
    loader_files,
    payload_files,
    payload_path,
)
from seamline.register.packages.wheel_pack import WHEEL_FILE, LargeFile, write_wheel

_INIT = '''"""The model {name} {version}: `load()` verifies and opens it."""

from ._loader import Model, load_model
from ._loader import load_twin as _load_twin

__all__ = ["Model", "load", "load_twin"]
__version__ = "{version}"


def load() -> Model:
    return load_model(__name__)


def load_twin() -> Model:
    """The same model as ONNX; needs only numpy and onnxruntime. LookupError where there is none."""
    return _load_twin(__name__)
'''


@dataclass(frozen=True)
class ModelWheelSpec:
    """`document`: model.json; `samples`: {"rows": [...], "outputs": {...}}.

    `code`: path → source, of a model that is built by some.
    """

    document: Mapping[str, Any]
    samples: Mapping[str, Any]
    payload: bytes | LargeFile
    code: Mapping[str, bytes] = field(default_factory=dict)
    #: The ONNX twin, where model.json names one that lies beside the model.
    twin: bytes | LargeFile | None = None


def build_model_wheel(spec: ModelWheelSpec) -> bytes:
    """The wheel. Raises DigestMismatch when the payload is not the described one."""
    buffer = io.BytesIO()
    write_model_wheel(spec, buffer)
    return buffer.getvalue()


def write_model_wheel(spec: ModelWheelSpec, target: IO[bytes]) -> None:
    """The same bytes into a seekable file; of a large payload a piece is in memory at a time."""
    document = spec.document
    check_model_document(document)
    payloads = _check_payloads(spec)
    if "code" in document or spec.code:
        check_code_described(document.get("code"), spec.code)
    loader, module = loader_files(formats_in(document)), document["module"]
    info = f"{module}-{document['version']}.dist-info"
    files: dict[str, bytes | LargeFile] = {
        f"{module}/__init__.py": _INIT.format(**document).encode(),
        **{f"{module}/_loader/{path}": text.encode() for path, text in loader.items()},
        **payloads,
        **{f"{code_folder(document)}{path}": source for path, source in spec.code.items()},
        f"{module}/model.json": _json(document),
        f"{module}/samples.json": _json(spec.samples),
        f"{info}/METADATA": _metadata(document).encode(),
        f"{info}/WHEEL": WHEEL_FILE.encode(),
    }
    write_wheel(target, files, info)


def _check_payloads(spec: ModelWheelSpec) -> dict[str, bytes | LargeFile]:
    """Path → bytes. Of large ones what they are said to be; packing finds whether they are that."""
    document, found = spec.document, dict[str, bytes | LargeFile]()
    what = f"payload of {document['name']} {document['version']}"
    for path, expected in payload_files(document).items():
        payload = spec.payload if path == payload_path(document) else spec.twin
        if payload is None:
            raise InvalidInput(f"The {what} comes without its twin {expected}.")
        if isinstance(payload, bytes):
            check_digest(payload, expected, what)
        elif payload.digest != expected:
            raise DigestMismatch(what, expected=expected, actual=payload.digest)
        found[path] = payload
    return found


def _json(value: Any) -> bytes:
    """Readable, sorted, and without NaN, which is no JSON."""
    try:
        text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise InvalidInput(f"A model's description must be JSON: {error}.") from error
    return text.encode() + b"\n"


def _metadata(document: Mapping[str, Any]) -> str:
    lineage = document["lineage"]
    headers = [
        "Metadata-Version: 2.1",
        f"Name: {document['name']}",
        f"Version: {document['version']}",
        f"Summary: {document['task'].replace('_', ' ')} model, packaged by Seamline",
        f"Requires-Python: {document['requires_python']}",
        *(f"Requires-Dist: {requirement}" for requirement in document["requirements"]),
        "Description-Content-Type: text/plain",
    ]
    datasets = ", ".join(
        f"{used['name']}@{used['version']} ({used['digest']})"
        for used in lineage["dataset_versions"]
    )
    scenario = ", ".join(f"{key}={value}" for key, value in document.get("scenario", {}).items())
    body = {
        "Scenario": scenario,
        "Run": lineage["run_id"],
        "Task": lineage.get("task"),
        "Pipeline": f"{lineage['pipeline']} ({lineage['pipeline_digest']})",
        "Datasets": datasets,
        "Format": f"{document['format']} ({document.get('loading', {}).get('verdict', 'data')})",
        "Commit": lineage["commit"],
        "Trained-At": lineage["trained_at"],
        "Previous-Version": lineage["previous_version"],
        "Payload": document["payload_digest"],
        "Profile": document["profile_digest"],
    }
    lines = [f"{key}: {value}" for key, value in body.items() if value]
    for line in [*headers, *lines]:
        if not line.isprintable():
            raise InvalidInput(f"A line of METADATA cannot hold {line!r}.")
    return "\n".join([*headers, "", *lines]) + "\n"
