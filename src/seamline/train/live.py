"""A run in the engine's memory: what is ready, what runs, what has come out so far."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from seamline.domain.errors import InvalidInput
from seamline.domain.states import RunState, TaskState
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact
from seamline.train.attempt import WorkOrder
from seamline.train.context import RunContext
from seamline.train.ir import ImporterExecutor
from seamline.train.ir_reader import read_pipeline
from seamline.train.plan import Plan, PlannedTask, make_plan
from seamline.train.progress import Progress, Step, decide_run_state
from seamline.train.record import RunRow, load_artifacts, load_tasks
from seamline.train.results import TaskProblem, TaskResult
from seamline.train.sources import ABSENT, evaluate
from seamline.train.values import whole_numbers


def load_plan(stores: Stores, pipeline_digest: str) -> Plan:
    """Raises DigestMismatch when the stored IR is not what was submitted."""
    return plan_of(stores.blobs.get(pipeline_digest, "pipeline"))


@lru_cache(maxsize=8)
def plan_of(ir: bytes) -> Plan:
    """A pure function of the bytes, remembered: reading a large IR takes far longer than a turn."""
    return make_plan(read_pipeline(ir))


class LiveRun:
    """Built from rows, so that a restarted engine continues where the rows stop."""

    def __init__(self, row: RunRow, plan: Plan) -> None:
        self.row = row
        self.plan = plan
        self.states: dict[str, TaskState] = {}
        self.attempts: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        self.losses: dict[str, int] = {}
        self.problems: dict[str, TaskProblem] = {}
        self.ready: deque[str] = deque()
        self.running: set[str] = set()
        self.progress = Progress(plan)
        self._parameters: dict[str, Mapping[str, Any]] = {}
        self._artifacts: dict[tuple[str, str], Artifact] = {}

    def load(self, connection: Connection) -> Step:
        """Takes over what has happened so far."""
        for row in load_tasks(connection, self.row.id):
            self.states[row.name] = TaskState(row.state)
            self.attempts[row.name] = row.attempt
            self.failures[row.name] = row.failures
            if row.outputs:
                self._parameters[row.name] = json.loads(row.outputs)
            if row.error and self.states[row.name] is not TaskState.PENDING:
                self.problems[row.name] = TaskProblem(**json.loads(row.error))
        self._artifacts = load_artifacts(connection, self.row.id)
        return self.progress.resume(self.states)

    @property
    def is_canceled(self) -> bool:
        return self.row.cancel_requested_by is not None

    def keep(self, task: str, result: TaskResult) -> None:
        self.states[task] = result.state
        self._parameters[task] = result.parameters
        for output, artifact in result.artifacts.items():
            self._artifacts[task, output] = artifact
        if result.problem:
            self.problems[task] = result.problem

    def order(self, name: str) -> WorkOrder:
        """What the task is to be called with; raises InvalidInput when an input cannot be had."""
        task = self.plan.tasks[name]
        inputs = _Inputs(self, task)
        parameters = self.parameters_of(task)
        artifacts = self.artifacts_of(task)
        for key, parameter in task.component.parameters.items():
            if key not in parameters and not parameter.is_optional:
                raise self._missing(task, f"input {key!r}")
        for key, artifact in task.component.artifacts.items():
            if key not in artifacts and not artifact.is_optional:
                raise self._missing(task, f"input artifact {key!r}")
        uri, metadata = "", {}
        if isinstance(task.executor, ImporterExecutor):
            uri = evaluate(task.uri, inputs, "The importer's URI")
            metadata = evaluate(task.metadata, inputs, "The importer's metadata")
            if not isinstance(uri, str) or not isinstance(metadata, dict):
                raise self._missing(task, "URI or metadata")
            metadata = whole_numbers(metadata)
        attempt = self.attempts[name]
        return WorkOrder(self.context(name), task, attempt, parameters, artifacts, uri, metadata)

    def parameters_of(self, task: PlannedTask) -> dict[str, Any]:
        """The task's parameters as far as they have a value by now."""
        inputs = _Inputs(self, task)
        found = {
            key: evaluate(source, inputs, f"The input {key!r}")
            for key, source in task.parameters.items()
        }
        return {key: value for key, value in found.items() if value is not ABSENT}

    def artifacts_of(self, task: PlannedTask) -> dict[str, Artifact]:
        found = {
            key: self.artifact(output.task, output.key)
            for key, output in task.artifacts.items()
            if output is not None
        }
        return {key: artifact for key, artifact in found.items() if artifact is not None}

    def artifact(self, task: str, output: str) -> Artifact | None:
        return self._artifacts.get((task, output))

    def all_artifacts(self) -> Iterator[tuple[str, str, Artifact]]:
        for (task, output), artifact in self._artifacts.items():
            yield task, output, artifact

    def evaluate_output(self, name: str) -> Any:
        """An output parameter of the whole run, or ABSENT."""
        any_task = next(iter(self.plan.tasks.values()))
        return evaluate(self.plan.output_parameters[name], _Inputs(self, any_task), name)

    def context(self, task: str) -> RunContext:
        row = self.row
        return RunContext(row.id, row.environment, row.pipeline, row.requested_by, task)

    def output_parameter(self, task: str, key: str) -> Any:
        if self.states.get(task) not in (TaskState.SUCCEEDED, TaskState.SKIPPED):
            return ABSENT
        return self._parameters[task].get(key, ABSENT)

    def _missing(self, task: PlannedTask, what: str) -> InvalidInput:
        return InvalidInput(
            f"The {what} has no value: the task that makes it did not succeed.",
            next_step="Give it a default, or make it Optional.",
            task=task.name,
        )

    def final_state(self) -> RunState:
        return decide_run_state(self.plan, self.states)

    def failed_tasks(self) -> list[str]:
        return [n for n in self.plan.tasks if self.states[n] is TaskState.FAILED]


class _Inputs:
    """`Surroundings` of one task."""

    def __init__(self, run: LiveRun, task: PlannedTask) -> None:
        self._run = run
        self._task = task

    def argument(self, name: str) -> Any:
        return self._run.row.arguments.get(name, ABSENT)

    def output(self, task: str, key: str) -> Any:
        return self._run.output_parameter(task, key)

    def run_name(self, name: str) -> str:
        row = self._run.row
        names = {
            "pipeline_job_name": f"{row.pipeline}-{row.id}",
            "pipeline_job_uuid": row.id,
            "pipeline_job_resource_name": row.id,
            "pipeline_job_create_time_utc": row.created_at,
            "pipeline_task_name": self._task.name.rpartition("/")[2],
            "pipeline_task_uuid": f"{row.id}/{self._task.name}",
        }
        return names[name]
