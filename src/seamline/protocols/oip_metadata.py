"""What the data plane says of itself and of what it serves, the same over HTTP and gRPC."""

from __future__ import annotations

from typing import Any

from seamline import __version__
from seamline.domain.errors import not_found
from seamline.serve.plane import Plane
from seamline.serve.routing import Target
from seamline.serve.snapshots.snapshot import Column

EXTENSIONS = ["binary_tensor_data", "model_repository"]
SERVER: dict[str, Any] = {"name": "seamline", "version": __version__, "extensions": EXTENSIONS}


def find_versioned(plane: Plane, environment: str, endpoint: str, version: str | None) -> Target:
    """As `Plane.find_target`; NotFound, too, where another version answers."""
    target = plane.find_target(environment, endpoint)
    if version is not None and version != target.spec.model_version:
        raise not_found(f"version of {endpoint}", version, [target.spec.model_version])
    return target


def model_metadata(target: Target) -> dict[str, Any]:
    spec = target.spec
    return {
        "name": spec.endpoint,
        "versions": [spec.model_version],
        "platform": "seamline_wheel",
        "inputs": [_tensor_metadata(column) for column in spec.signature.inputs],
        "outputs": [_tensor_metadata(column) for column in spec.signature.outputs],
        "parameters": {
            "model": spec.model,
            "package_digest": spec.package_digest,
            "release": target.release,
            "environment": target.environment,
        },
    }


def _tensor_metadata(column: Column) -> dict[str, Any]:
    return {"name": column.name, "datatype": column.datatype, "shape": [-1]}
