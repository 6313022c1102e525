"""A scope at work: the pipeline as a whole or one iteration of a loop, and what came out so far."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from seamline.domain.errors import InvalidInput
from seamline.domain.states import TaskState
from seamline.train.artifacts import Artifact
from seamline.train.ir.expressions import evaluate_expression
from seamline.train.ir.values import whole_numbers
from seamline.train.plan.progress import GOOD, Ended, Progress, whose_fault
from seamline.train.plan.sources import (
    ABSENT,
    ArtifactSource,
    ArtifactValue,
    FirstOf,
    NodeOutput,
    ScopeInput,
    Source,
    evaluate,
)
from seamline.train.plan.types import Plan, PlannedLoop
from seamline.train.results import TaskProblem
from seamline.train.run_names import RunNames

_STATUS = {
    TaskState.SUCCEEDED: "SUCCEEDED",
    TaskState.SKIPPED: "SUCCEEDED",
    TaskState.CANCELED: "CANCELLED",
    TaskState.NOT_TRIGGERED: "NOT_TRIGGERED",
}


@dataclass(frozen=True)
class Shared:
    """What all scopes of a run know."""

    names: RunNames
    #: By path, of whatever did not end well.
    problems: dict[str, TaskProblem] = field(default_factory=dict)


class OpenScope:
    """Built from rows, so that a restarted engine continues where the rows stop."""

    def __init__(
        self,
        shared: Shared,
        plan: Plan,
        parameters: Mapping[str, Any],
        artifacts: Mapping[str, ArtifactValue],
        place: Place,
    ) -> None:
        self.plan = plan
        self.place = place
        self.loops: dict[str, OpenLoop] = {}
        #: Tasks, groups and loops that have ended.
        self.ends: dict[str, Ended] = {}
        #: Nodes of which something has started, for their rows.
        self.started: set[str] = set()
        #: Its end as an iteration has been written.
        self.is_closed = False
        self.progress = Progress(plan, self._is_triggered, self.path_of)
        self._shared = shared
        self._parameters = parameters
        self._artifacts = artifacts
        self._outputs: dict[str, Mapping[str, Any]] = {}
        self._made: dict[str, Mapping[str, Artifact]] = {}

    def blame(self, name: str, problem: TaskProblem | None) -> None:
        """Keeps why a node ended as it did."""
        if problem is not None:
            self._shared.problems[self.path_of(name)] = problem

    def path_of(self, name: str) -> str:
        return f"{self.place.path}/{name}" if self.place.path else name

    def keep(self, name: str, outputs: Mapping[str, Any], made: Mapping[str, Artifact]) -> None:
        """What a task has made."""
        self._outputs[name] = outputs
        self._made[name] = made

    # -- values ----------------------------------------------------------------------------

    def parameters_of(self, sources: Mapping[str, Source], node: str) -> dict[str, Any]:
        """Those that have a value. Raises InvalidInput when one has the wrong type."""
        view = _View(self, node)
        found = {
            key: evaluate(source, view, f"The input {key!r}") for key, source in sources.items()
        }
        return {key: value for key, value in found.items() if value is not ABSENT}

    def value_of(self, source: Source, node: str, what: str) -> Any:
        """ABSENT where there is none."""
        return evaluate(source, _View(self, node), what)

    def artifacts_of(self, sources: Mapping[str, ArtifactSource]) -> dict[str, ArtifactValue]:
        found = {key: self.artifact(source) for key, source in sources.items()}
        return {key: value for key, value in found.items() if value is not None}

    def artifact(self, source: ArtifactSource) -> ArtifactValue | None:
        match source:
            case ScopeInput(name):
                return self._artifacts.get(name)
            case NodeOutput(node, key):
                return self._made_by(node, key)
            case FirstOf(sources):
                found = (self.artifact(one) for one in sources)  # type: ignore[arg-type]
                return next((value for value in found if value is not None), None)
        return None

    def _made_by(self, node: str, key: str) -> ArtifactValue | None:
        if not self._succeeded(node):
            return None
        loop = self.loops.get(node)
        return loop.collect_artifacts(key) if loop else self._made[node].get(key)

    def argument(self, name: str) -> Any:
        return self._parameters.get(name, ABSENT)

    def output(self, node: str, key: str) -> Any:
        if not self._succeeded(node):
            return ABSENT
        loop = self.loops.get(node)
        return loop.collect(key) if loop else self._outputs[node].get(key, ABSENT)

    def _succeeded(self, node: str) -> bool:
        end = self.ends.get(node)
        return end is not None and end.state in GOOD

    def status(self, node: str) -> dict[str, Any]:
        """KFP's PipelineTaskFinalStatus."""
        end = self.ends[node]
        problems = self._shared.problems
        problem = problems.get(end.cause) or problems.get(self.path_of(node))
        return {
            "state": _STATUS.get(end.state, "FAILED"),
            "error": {"code": 2, "message": f"{end.cause} failed: {problem.sentence}"}
            if problem
            else {},
            "pipelineJobResourceName": self._shared.names.text("pipeline_job_resource_name", ""),
            "pipelineTaskName": node.rpartition("/")[2],
        }

    def run_name(self, name: str, node: str) -> str:
        return self._shared.names.text(name, self.path_of(node))

    def _is_triggered(self, name: str) -> bool:
        condition = self.plan.nodes[name].gate.condition
        assert condition is not None
        values = self.parameters_of(condition.inputs, name)
        return bool(evaluate_expression(condition.expression, values))


@dataclass(frozen=True)
class Place:
    """Where a scope stands."""

    path: str = ""
    loop: OpenLoop | None = None
    index: int = 0
    #: Goes on after failures under the failure policy *fast*: an exit handler, or inside of one.
    is_exempt: bool = False


@dataclass
class OpenLoop:
    """A loop whose items are known."""

    node: PlannedLoop
    scope: OpenScope
    items: list[Any]
    parameters: Mapping[str, Any]
    artifacts: Mapping[str, ArtifactValue]
    #: Iterations that have been opened, by index.
    scopes: dict[int, OpenScope] = field(default_factory=dict)
    #: Indexes that have not been opened, the next one last.
    waiting: list[int] = field(default_factory=list)
    left: int = 0
    cause: str = ""

    @property
    def path(self) -> str:
        return self.scope.path_of(self.node.name)

    def path_at(self, index: int) -> str:
        return f"{self.path}[{index}]"

    def blame(self, cause: str) -> None:
        """An iteration has ended by that failure."""
        if cause:
            self.cause = whose_fault(self.path, self.cause, cause)

    def collect(self, key: str) -> list[Any]:
        """The output of each iteration that has it, in order."""
        source = self.node.body.output_parameters[key]
        values = [scope.value_of(source, "", key) for scope in self.in_order()]
        return [value for value in values if value is not ABSENT]

    def collect_artifacts(self, key: str) -> tuple[Artifact, ...]:
        """Flat, also where loops are nested."""
        source = self.node.body.output_artifacts[key]
        found: list[Artifact] = []
        for scope in self.in_order():
            value = scope.artifact(source)
            if isinstance(value, tuple):
                found.extend(value)
            elif value is not None:
                found.append(value)
        return tuple(found)

    def in_order(self) -> Iterator[OpenScope]:
        return (self.scopes[index] for index in sorted(self.scopes))

    def scope_inputs(self, item: Any) -> tuple[dict[str, Any], dict[str, ArtifactValue]]:
        """(parameters, artifacts) of the iteration that has this item."""
        name = self.node.loop.item
        if self.node.loop.is_over_artifacts:
            return dict(self.parameters), {**self.artifacts, name: item}
        return {**self.parameters, name: item}, dict(self.artifacts)


class _View:
    """`Surroundings` of one node."""

    def __init__(self, scope: OpenScope, node: str) -> None:
        self._scope = scope
        self._node = node

    def argument(self, name: str) -> Any:
        return self._scope.argument(name)

    def output(self, node: str, key: str) -> Any:
        return self._scope.output(node, key)

    def status(self, node: str) -> dict[str, Any]:
        return self._scope.status(node)

    def run_name(self, name: str) -> str:
        return self._scope.run_name(name, self._node)


def read_items(node: PlannedLoop, scope: OpenScope) -> list[Any]:
    """What the loop is over. Raises InvalidInput when that is no list."""
    what = f"The loop {scope.path_of(node.name)!r}"
    if node.loop.is_over_artifacts:
        found = scope.artifact(node.artifact_items)
        if found is None:
            raise InvalidInput(f"{what} has no artifacts to go over: none were made.")
        return list(found) if isinstance(found, tuple) else [found]
    value = scope.value_of(node.items, node.name, what)
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if not isinstance(value, list):
        shown = "nothing" if value is ABSENT else f"{type(value).__name__} {value!r:.80}"
        raise InvalidInput(
            f"{what} has to go over a list; {shown} came.", next_step="Give it a list."
        )
    return [whole_numbers(item) for item in value]
