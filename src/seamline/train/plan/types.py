"""What is to be done, by name: a pipeline without its nesting, but for its loops.

A *scope* is the pipeline as a whole, or the body of a loop. Within a scope, sub-pipelines are
flattened into tasks with path names ("punctuality/predict"); a sub-pipeline remains as a *group*
that opens when what it waits for has ended, and ends when its members have. Groups keep the number
of edges that of the file, where joining leaf to leaf would square it. A *loop* is one node of its
scope; its body is a plan of its own, of which each iteration is an instance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from seamline.domain.errors import not_found
from seamline.train.ir.expressions import Expression
from seamline.train.ir.types import (
    Component,
    ContainerExecutor,
    ImporterExecutor,
    Loop,
    ParameterSpec,
    Pipeline,
    RetryPolicy,
)
from seamline.train.plan.sources import ArtifactSource, Source

#: Tasks, groups, loops and iterations of one run.
MAX_NODES = 100_000
#: Path names are a column and a folder.
MAX_NAME = 480
#: What people call a task is a column; an iteration's index follows.
MAX_DISPLAY_NAME = 190
_INDEX = re.compile(r"\[\d+\]$")


class NodeKind(StrEnum):
    PYTHON = "python"
    CONTAINER = "container"
    IMPORTER = "importer"
    #: A sub-pipeline, or the branches of a condition.
    DAG = "dag"
    LOOP = "loop"
    ITERATION = "iteration"


@dataclass(frozen=True)
class Condition:
    expression: Expression
    #: The parameters that it reads.
    inputs: Mapping[str, Source]


@dataclass(frozen=True)
class Gate:
    """What a node waits for: its siblings in the same DAG, and its group's own gate."""

    after: tuple[str, ...]
    #: Opens once all of `after` ended, however they ended.
    is_tolerant: bool
    group: str | None
    condition: Condition | None = None


@dataclass(frozen=True)
class PlannedTask:
    name: str
    component: Component
    executor: ContainerExecutor | ImporterExecutor
    gate: Gate
    parameters: Mapping[str, Source]
    artifacts: Mapping[str, ArtifactSource]
    #: Of importers.
    uri: Source
    metadata: Source
    retry: RetryPolicy | None
    enable_cache: bool
    cache_key: str
    display_name: str

    @property
    def kind(self) -> NodeKind:
        if isinstance(self.executor, ImporterExecutor):
            return NodeKind.IMPORTER
        return NodeKind.PYTHON if self.executor.function else NodeKind.CONTAINER


@dataclass(frozen=True)
class PlannedGroup:
    name: str
    component: Component
    gate: Gate
    members: tuple[str, ...]
    display_name: str

    @property
    def kind(self) -> NodeKind:
        return NodeKind.DAG


@dataclass(frozen=True)
class PlannedLoop:
    name: str
    component: Component
    gate: Gate
    loop: Loop
    #: A list, or its JSON text; for a loop over artifacts, see `artifact_items`.
    items: Source
    artifact_items: ArtifactSource
    #: What the body's scope is given, besides the item; evaluated once, when the loop opens.
    parameters: Mapping[str, Source]
    artifacts: Mapping[str, ArtifactSource]
    body: Plan
    display_name: str

    @property
    def kind(self) -> NodeKind:
        return NodeKind.LOOP


PlannedNode = PlannedTask | PlannedGroup | PlannedLoop


@dataclass(frozen=True)
class Plan:
    """One scope."""

    pipeline: Pipeline
    parameters: Mapping[str, ParameterSpec]
    #: In an order in which each node comes after all that it waits for, groups before members.
    nodes: Mapping[str, PlannedNode]
    output_parameters: Mapping[str, Source]
    output_artifacts: Mapping[str, ArtifactSource]

    def tasks(self) -> Iterator[PlannedTask]:
        """Those of this scope: not of its loops' bodies."""
        return (node for node in self.nodes.values() if isinstance(node, PlannedTask))

    def within(self, name: str) -> Iterator[str]:
        """The node; of a group, also all that is in it."""
        pending = [name]
        while pending:
            node = self.nodes[pending.pop()]
            yield node.name
            if isinstance(node, PlannedGroup):
                pending.extend(reversed(node.members))


def all_tasks(plan: Plan, prefix: str = "") -> Iterator[tuple[str, PlannedTask]]:
    """Every task of every scope, by its path without indexes ("for-loop-1/train")."""
    for node in plan.nodes.values():
        if isinstance(node, PlannedTask):
            yield prefix + node.name, node
        elif isinstance(node, PlannedLoop):
            yield from all_tasks(node.body, f"{prefix}{node.name}/")


def find_node(plan: Plan, path: str) -> tuple[Plan, PlannedNode]:
    """The scope and the node behind a path with or without indexes ("for-loop-1[3]/train").

    An iteration ("for-loop-1[3]") is found as its loop. Raises NotFound with the nearest path.
    """
    scope, name = plan, ""
    words = path.split("/")
    for position, word in enumerate(words):
        name = f"{name}/{word}" if name else word
        node = scope.nodes.get(name)
        if node is None:  # What has an index has to be a loop.
            node = scope.nodes.get(_INDEX.sub("", name))
            node = node if isinstance(node, PlannedLoop) else None
        if node is not None and position == len(words) - 1:
            return scope, node
        if isinstance(node, PlannedLoop):
            scope, name = node.body, ""
    raise not_found("task", path, [known for known, _ in all_tasks(plan)])
