"""Model wheels: the same inputs give the same bytes, on any machine.

Entries are sorted and stored without compression (zlib's output differs between builds), with
one timestamp and one permission.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seamline.domain.digests import check_digest
from seamline.domain.errors import InvalidInput
from seamline.register.models.documents import (
    check_model_document,
    loader_source,
    payload_path,
)
from seamline.register.packages.wheel_pack import WHEEL_FILE, pack_wheel

_INIT = '''"""The model {name} {version}: `load()` verifies and opens it."""

from ._loader import Model, load_model

__all__ = ["Model", "load"]
__version__ = "{version}"


def load() -> Model:
    return load_model(__name__)
'''


@dataclass(frozen=True)
class ModelWheelSpec:
    """`document`: model.json; `samples`: {"rows": [...], "outputs": {...}}."""

    document: Mapping[str, Any]
    samples: Mapping[str, Any]
    payload: bytes


def build_model_wheel(spec: ModelWheelSpec) -> bytes:
    """The wheel. Raises DigestMismatch when the payload is not the described one."""
    document = spec.document
    check_model_document(document)
    what = f"payload of {document['name']} {document['version']}"
    check_digest(spec.payload, document["payload_digest"], what)
    module = document["module"]
    info = f"{module}-{document['version']}.dist-info"
    files = {
        f"{module}/__init__.py": _INIT.format(**document).encode(),
        f"{module}/_loader.py": loader_source().encode(),
        payload_path(document): spec.payload,
        f"{module}/model.json": _json(document),
        f"{module}/samples.json": _json(spec.samples),
        f"{info}/METADATA": _metadata(document).encode(),
        f"{info}/WHEEL": WHEEL_FILE.encode(),
    }
    return pack_wheel(files, info)


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
