"""Importers: an artifact that no task made."""

from __future__ import annotations

from pathlib import Path

from seamline.domain.clock import new_id
from seamline.domain.errors import InvalidInput, Refused
from seamline.domain.states import TaskState
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact, store_path
from seamline.train.attempts.order import WorkOrder
from seamline.train.context import ResolvedArtifact, ResolveUri
from seamline.train.ir.types import ImporterExecutor
from seamline.train.results import TaskResult


def import_artifact(
    stores: Stores, resolve_uri: ResolveUri, order: WorkOrder, importer: ImporterExecutor
) -> TaskResult:
    """A file or folder of this machine is kept; datasets:// and models:// are resolved each time
    they are read."""
    (output,) = order.task.component.output_artifacts
    if "://" in order.uri and not order.uri.startswith("file://"):
        found = resolve_uri(order.uri, order.context)
        artifact = _resolved(stores, output, importer, found, order)
    else:
        artifact = _local(stores, output, importer, order)
    return TaskResult(TaskState.SUCCEEDED, artifacts={output: artifact})


def _resolved(
    stores: Stores,
    output: str,
    importer: ImporterExecutor,
    found: ResolvedArtifact,
    order: WorkOrder,
) -> Artifact:
    return Artifact(
        id=new_id(stores.clock),
        name=output,
        schema_type=importer.schema_title,
        digest=found.digest,
        size_bytes=found.path.stat().st_size if found.path.is_file() else 0,
        is_directory=found.path.is_dir(),
        is_blob=False,
        uri=found.uri,
        metadata={**order.metadata, **found.metadata},
    )


def _local(stores: Stores, output: str, importer: ImporterExecutor, order: WorkOrder) -> Artifact:
    path = Path(order.uri.removeprefix("file://"))
    if not path.is_absolute() or not path.exists():
        raise InvalidInput(
            f"{order.uri!r} cannot be imported: there is no such file.",
            next_step="Give an absolute path, datasets://NAME@VERSION or models://NAME.",
        )
    if path.resolve().is_relative_to(stores.root.resolve()):
        raise Refused(
            f"{order.uri!r} lies in the workspace's own folder, which is not imported from.",
            next_step="Read what other runs made through datasets:// and models://.",
        )
    stored = store_path(stores.blobs, path)
    return Artifact(
        id=new_id(stores.clock),
        name=output,
        schema_type=importer.schema_title,
        digest=stored.digest,
        size_bytes=stored.size_bytes,
        is_directory=stored.is_directory,
        is_blob=True,
        uri=order.uri,
        metadata=order.metadata,
    )
