"""What a task was called with, as its row keeps it."""

from __future__ import annotations

import json
from typing import Any

from seamline.domain.errors import SeamlineError
from seamline.train.artifacts import Artifact, show_artifact
from seamline.train.ir.values import presentable
from seamline.train.plan.scope import OpenScope
from seamline.train.plan.sources import ArtifactSource, ArtifactValue, describe
from seamline.train.plan.types import PlannedTask

#: Longer texts and structures are cut: the value itself stands with who made it.
MAX_SHOWN = 2_000


def inputs_json(scope: OpenScope, task: PlannedTask) -> str:
    try:
        values = scope.parameters_of(task.parameters, task.name)
    except SeamlineError:  # One that has the wrong type: the task's error says which.
        values = {}
    artifacts = scope.artifacts_of(task.artifacts)
    return json.dumps(
        {
            "parameters": {
                key: {"value": brief(presentable(values.get(key))), "from": describe(source)}
                for key, source in task.parameters.items()
            },
            "artifacts": {
                key: _show_input(source, artifacts.get(key))
                for key, source in task.artifacts.items()
            },
        }
    )


def planned_inputs(task: PlannedTask) -> dict[str, Any]:
    """Of a task that has not been called yet."""
    return {
        "parameters": {
            key: {"value": None, "from": describe(source)}
            for key, source in task.parameters.items()
        },
        "artifacts": {key: _show_input(source, None) for key, source in task.artifacts.items()},
    }


def _show_input(source: ArtifactSource, value: ArtifactValue | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"artifact": None, "from": describe(source)}
    if isinstance(value, Artifact):
        shown["artifact"] = show_artifact(value)
    elif value is not None:
        shown["artifacts"] = [show_artifact(one) for one in value]
    return shown


def brief(value: Any) -> Any:
    """
    >>> brief("x" * 3000)[-3:], brief([1, 2])
    ('xx…', [1, 2])
    """
    text = value if isinstance(value, str) else json.dumps(value)
    return value if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
