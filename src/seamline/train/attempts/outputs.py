"""What a task wrote, checked against what it declares, and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seamline.domain.clock import new_id
from seamline.domain.errors import InvalidInput
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact, StoredBytes, metadata_bytes, store_path
from seamline.train.ir.types import ArtifactSpec, Component, ParameterSpec, ParameterType
from seamline.train.ir.values import cast_value, whole_numbers
from seamline.train.plan.sources import ABSENT

EXECUTOR_OUTPUT = "executor_output.json"
#: Their content is their metadata: `log_metric` writes no file.
_METADATA_ONLY = frozenset(
    {"system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics"}
)
_MAX_OUTPUT_BYTES = 256 << 20


class MissingOutput(InvalidInput):
    """A task ended well, and a declared output is not there."""

    code = "missing_output"


def parameter_file(work_dir: Path, name: str) -> Path:
    return work_dir / "parameters" / name


def artifact_path(work_dir: Path, name: str) -> Path:
    return work_dir / "outputs" / name


def collect_outputs(
    stores: Stores, work_dir: Path, component: Component, uri_prefix: str
) -> tuple[dict[str, Any], dict[str, Artifact]]:
    """(parameters, artifacts); the artifacts' bytes are in the blob store when this returns.

    Raises MissingOutput naming every declared output that was not written, and InvalidInput for
    one of the wrong type.
    """
    written = _read_executor_output(work_dir / EXECUTOR_OUTPUT)
    values = written.get("parameterValues") or {}
    parameters = {
        name: _parameter(name, spec, values, work_dir)
        for name, spec in component.output_parameters.items()
    }
    described = {
        name: _described(written, name, artifact_path(work_dir, name))
        for name in component.output_artifacts
    }
    missing = [f"parameter {name}" for name, value in parameters.items() if value is ABSENT]
    for name, spec in component.output_artifacts.items():
        path, _ = described[name]
        if not path.exists() and spec.schema_title not in _METADATA_ONLY:
            missing.append(f"artifact {name} (nothing at .path, {path.name})")
    if missing:
        raise MissingOutput(
            f"The task ended without an error but did not write its {', '.join(missing)}.",
            next_step="Write every declared output; for an artifact, write a file or a directory "
            "at its .path.",
        )
    artifacts = {
        name: _keep(stores, name, spec, *described[name], f"{uri_prefix}/{name}")
        for name, spec in component.output_artifacts.items()
    }
    return parameters, artifacts


def _read_executor_output(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_OUTPUT_BYTES:
            raise InvalidInput(
                f"The task's output parameters have {path.stat().st_size} bytes; "
                f"{_MAX_OUTPUT_BYTES} are allowed.",
                next_step="Hand large values on as artifacts.",
            )
        written = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path.name} of the task is not JSON: {error}.") from error
    return written if isinstance(written, dict) else {}


def _parameter(name: str, spec: ParameterSpec, values: Mapping[str, Any], work_dir: Path) -> Any:
    what = f"The output {name!r}"
    if name in values:
        return cast_value(values[name], spec.type, what)
    try:
        text = parameter_file(work_dir, name).read_text("utf-8")
    except FileNotFoundError:
        return ABSENT
    if spec.type is ParameterType.STRING:
        return text
    try:
        # Plain containers and OutputPath write True as often as true.
        value = json.loads(text.lower() if spec.type is ParameterType.BOOLEAN else text)
    except (ValueError, RecursionError):
        value = text
    return cast_value(value, spec.type, what)


def _described(written: Mapping[str, Any], name: str, default: Path) -> tuple[Path, dict[str, Any]]:
    """Where the task says that the artifact is, and its metadata."""
    listed = ((written.get("artifacts") or {}).get(name) or {}).get("artifacts") or [{}]
    said = listed[0]
    place = str(said.get("custom_path") or said.get("uri") or default)
    path = Path(place.removeprefix("file://"))
    if not path.is_absolute():
        raise InvalidInput(
            f"The task put its output {name!r} at {place!r}, outside of its own .path, which is "
            "not supported yet.",
            next_step="Write it to .path.",
        )
    metadata = dict(said.get("metadata") or {})
    whole_numbers(metadata)  # Raises where it nests too deeply.
    return path, metadata


def _keep(
    stores: Stores, name: str, spec: ArtifactSpec, path: Path, metadata: dict[str, Any], uri: str
) -> Artifact:
    if path.exists():
        stored = store_path(stores.blobs, path)
    else:
        data = metadata_bytes(metadata)
        stored = StoredBytes(stores.blobs.put(data), len(data), is_directory=False)
    return Artifact(
        id=new_id(stores.clock),
        name=name,
        schema_type=spec.schema_title,
        digest=stored.digest,
        size_bytes=stored.size_bytes,
        is_directory=stored.is_directory,
        is_blob=True,
        uri=uri,
        metadata=metadata,
    )
