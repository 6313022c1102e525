"""What a task is to be called with, evaluated when its turn has come."""

from __future__ import annotations

from typing import Any

from seamline.domain.errors import InvalidInput
from seamline.train.attempts.machine import Machine
from seamline.train.attempts.order import WorkOrder
from seamline.train.context import RunContext
from seamline.train.engine.live import LiveRun
from seamline.train.ir.types import ImporterExecutor
from seamline.train.ir.values import whole_numbers
from seamline.train.plan.scope import OpenScope
from seamline.train.plan.types import PlannedTask


def make_order(run: LiveRun, path: str, now: str, machine: Machine) -> WorkOrder:
    """Raises InvalidInput when an input cannot be had, Refused when it cannot run here."""
    scope, name = run.locate(path)
    task = run.task(path)
    parameters = scope.parameters_of(task.parameters, name)
    artifacts = scope.artifacts_of(task.artifacts)
    for key, parameter in task.component.parameters.items():
        if key not in parameters and not parameter.is_optional:
            raise _missing(path, f"input {key!r}")
    for key, artifact in task.component.artifacts.items():
        if key not in artifacts and not artifact.is_optional:
            raise _missing(path, f"input artifact {key!r}")
    uri, metadata = _import_from(scope, task, path)
    row = run.row
    return WorkOrder(
        context=RunContext(
            row.id, row.environment, row.pipeline, row.requested_by, path, row.release
        ),
        path=path,
        task=task,
        attempt=run.attempts[path],
        parameters=parameters,
        artifacts=artifacts,
        uri=uri,
        metadata=metadata,
        names=run.names,
        fidelity=machine.fidelity_of(path, task, row.options),
        started_at=now,
    )


def _import_from(scope: OpenScope, task: PlannedTask, path: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(task.executor, ImporterExecutor):
        return "", {}
    uri = scope.value_of(task.uri, task.name, "The importer's URI")
    metadata = scope.value_of(task.metadata, task.name, "The importer's metadata")
    if not isinstance(uri, str) or not isinstance(metadata, dict):
        raise _missing(path, "URI or metadata")
    return uri, whole_numbers(metadata)


def _missing(path: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"The {what} has no value: the task that makes it did not succeed.",
        next_step="Give it a default, or make it Optional.",
        task=path,
    )
