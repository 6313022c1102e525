"""What an environment's data plane answers, as an OpenAPI 3.1 document: each served model with its
own schema and an example that works, made from a sample row of its package.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np

from seamline import __version__
from seamline.serve.callers.access import ANYBODY, Caller
from seamline.serve.datatypes import DATATYPES, DTYPES, TEXT
from seamline.serve.inputs.validate import MAX_ROWS
from seamline.serve.log.feedback import LAST_ROW
from seamline.serve.plane import Plane
from seamline.serve.routing import DEFAULT_ENVIRONMENT, Target
from seamline.serve.snapshots.snapshot import Column, EndpointSpec

Document = dict[str, Any]
_ERROR = {"$ref": "#/components/responses/error"}
_TEXT: Document = {"type": "string"}
_TEXT_OR_NULL: Document = {"type": ["string", "null"]}
_PARAMETERS: Document = {"type": ["object", "null"]}
_TENSOR: Document = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": _TEXT,
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": sorted(DATATYPES)},
        "parameters": _PARAMETERS,
        "data": {"type": "array"},
    },
}


def describe(plane: Plane, environment: str, caller: Caller = ANYBODY) -> Document:
    """As `caller` sees it; with no model where nothing is served yet."""
    routes = plane.table.environments.get(environment)
    targets = {} if routes is None else routes.targets
    prefix = "" if environment == DEFAULT_ENVIRONMENT else f"/{quote(environment, safe='')}"
    paths: Document = {}
    for path, operation in _server_paths().items():
        paths[f"{prefix}/v2{path}"] = operation
    for name in sorted(name for name in targets if caller.sees(environment, name)):
        # Braces are a template's in a path; quoted, they are only characters.
        base = f"{prefix}/v2/models/{quote(name, safe='')}"
        for path, operation in _model_paths(targets[name]).items():
            paths[base + path] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Predictions of {environment}",
            "version": __version__,
            "description": "Open Inference Protocol v2, and rows as plain records.",
        },
        "paths": paths,
        "components": {
            "responses": {
                "error": _answer(
                    "What happened, and what to do.",
                    {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
                )
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}] if caller is ANYBODY else [{"token": []}],
    }


def _server_paths() -> dict[str, Document]:
    told: Document = {"type": "object"}
    listed = {"type": "array", "items": {"type": "object", "required": ["name", "state"]}}
    item = {
        "type": "object",
        "properties": {
            "prediction_id": _TEXT,
            "id": _TEXT,
            "row": {"type": "integer", "minimum": 0, "maximum": LAST_ROW},
            "truth": {},
            "reward": {"type": "number"},
            "at": {"type": "string", "format": "date-time"},
        },
    }
    many = {"type": "object", "required": ["feedback"], "properties": {}}
    many["properties"] = {"feedback": {"type": "array", "items": item}}
    return {
        "": _get("Name, version, extensions.", told),
        "/health/live": _get("Whether it lives.", told),
        "/health/ready": _get("Whether all that is live here can answer.", told, {"503": told}),
        "/repository/index": _post(
            "What is served, and whether it is loaded.",
            listed,
            {"type": ["object", "null"], "properties": {"ready": {"type": ["boolean", "null"]}}},
            {},
            required=False,
        ),
        "/feedback": _post(
            "The truth of predictions, or their reward.",
            told,
            many,
            {"feedback": [{"id": "the id of a request of yours", "truth": 1}]},
        ),
    }


def _model_paths(target: Target) -> dict[str, Document]:
    spec, row = target.spec, sample_row(target)
    told: Document = {"type": "object"}
    columns = spec.signature.inputs
    tensors = [
        {"name": one.name, "shape": [1], "datatype": one.datatype, "data": [row[one.name]]}
        for one in columns
        if one.name in row
    ]
    left_out = [one for one in columns if one.name not in row]
    tensors += [
        {"name": one.name, "shape": [1], "datatype": one.datatype, "data": [None]}
        for one in left_out
    ]
    infer = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": _TEXT_OR_NULL,
            "parameters": _PARAMETERS,
            "inputs": {"type": "array", "items": _TENSOR, "minItems": 1},
            "outputs": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"enum": [one.name for one in spec.signature.outputs]},
                        "parameters": _PARAMETERS,
                    },
                },
            },
        },
    }
    rows = {"type": "array", "items": _record(spec), "minItems": 1, "maxItems": MAX_ROWS}
    return {
        "": _get(f"{spec.model} {spec.model_version}: inputs and outputs.", told),
        "/ready": _get("Whether it is loaded.", told, {"503": told}),
        "/infer": _post("Tensors in, tensors out.", _inferred(spec), infer, {"inputs": tensors}),
        "/predict": _post("Records in, records out.", _predicted(spec), rows, [row]),
    }


def sample_row(target: Target) -> Document:
    """A row that the package was proven with; where it has none, one of zeros."""
    probe = target.model.worker.probe
    inputs = target.spec.signature.inputs
    if probe is None:
        return {one.name: _zero(one) for one in inputs}
    return {one.name: probe[one.name] for one in inputs if probe.get(one.name) is not None}


def _zero(column: Column) -> Any:
    if column.datatype == TEXT:
        return ""
    return DTYPES[column.datatype].type(0).item()


def _record(spec: EndpointSpec) -> Document:
    return {
        "type": "object",
        "required": [one.name for one in spec.signature.inputs if not one.nullable],
        "properties": {
            one.name: _value(one.datatype, one.nullable)
            for one in (*spec.signature.inputs, *spec.context)
        },
        "additionalProperties": False,
    }


def _value(datatype: str, nullable: bool) -> Document:
    """
    >>> _value("UINT8", True)
    {'type': ['integer', 'null'], 'minimum': 0, 'maximum': 255}
    """
    kind, bounds = "string", {}
    if datatype != TEXT:
        dtype = DTYPES[datatype]
        kind = {"b": "boolean", "f": "number"}.get(dtype.kind, "integer")
        if dtype.kind == "f":
            greatest = float(np.finfo(dtype).max)
            bounds = {"minimum": -greatest, "maximum": greatest}
        elif dtype.kind in "iu":
            info = np.iinfo(dtype)
            bounds = {"minimum": int(info.min), "maximum": int(info.max)}
    return {"type": [kind, "null"] if nullable else kind, **bounds}


def _inferred(spec: EndpointSpec) -> Document:
    return {
        "type": "object",
        "required": ["model_name", "model_version", "outputs", "parameters"],
        "properties": {
            "model_name": {"const": spec.endpoint},
            "model_version": _TEXT,
            "id": _TEXT,
            "parameters": {"type": "object"},
            "outputs": {"type": "array", "items": _TENSOR},
        },
    }


def _predicted(spec: EndpointSpec) -> Document:
    outputs: Document = {one.name: {} for one in spec.signature.outputs}
    row = {
        "type": "object",
        "required": ["prediction_id", "outputs"],
        "properties": {
            "prediction_id": _TEXT,
            "outputs": {"type": "object", "required": list(outputs), "properties": outputs},
        },
    }
    return {
        "type": "object",
        "required": ["model_name", "model_version", "release", "prediction_id", "rows"],
        "properties": {
            "model_name": {"const": spec.endpoint},
            "model_version": _TEXT,
            "release": _TEXT,
            "prediction_id": _TEXT,
            "id": _TEXT,
            "rows": {"type": "array", "items": row},
        },
    }


def _get(says: str, schema: Document, more: dict[str, Document] | None = None) -> Document:
    answers = {"200": _answer(says, schema)}
    for status, other in (more or {}).items():
        answers[status] = _answer("Not now.", other)
    return {"get": {"summary": says, "responses": {**answers, "default": _ERROR}}}


def _post(
    says: str, schema: Document, body: Document, example: Any, *, required: bool = True
) -> Document:
    content = {"application/json": {"schema": body, "example": example}}
    return {
        "post": {
            "summary": says,
            "requestBody": {"required": required, "content": content},
            "responses": {"200": _answer(says, schema), "default": _ERROR},
        }
    }


def _answer(says: str, schema: Document) -> Document:
    return {"description": says, "content": {"application/json": {"schema": schema}}}
