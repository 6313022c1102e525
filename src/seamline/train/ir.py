"""What a compiled pipeline says: Kubeflow's IR (PipelineSpec 2.x) as frozen values.

Names follow the proto (`pipeline_spec.proto`); what `ir_reader` refuses has no field here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from seamline.train.lightweight import PythonFunction


class ParameterType(StrEnum):
    STRING = "STRING"
    NUMBER_INTEGER = "NUMBER_INTEGER"
    NUMBER_DOUBLE = "NUMBER_DOUBLE"
    BOOLEAN = "BOOLEAN"
    LIST = "LIST"
    STRUCT = "STRUCT"


@dataclass(frozen=True)
class ParameterSpec:
    type: ParameterType
    is_optional: bool = False
    has_default: bool = False
    default: Any = None
    description: str = ""
    literals: tuple[Any, ...] = ()


@dataclass(frozen=True)
class ArtifactSpec:
    schema_title: str
    schema_version: str
    is_optional: bool = False


# Where a task's input comes from -----------------------------------------------------------------
@dataclass(frozen=True)
class Constant:
    value: Any


@dataclass(frozen=True)
class FromInput:
    """An input of the DAG that holds the task."""

    name: str


@dataclass(frozen=True)
class FromTask:
    """An output of a sibling task."""

    task: str
    key: str


InputSource = Constant | FromInput | FromTask


@dataclass(frozen=True)
class RetryPolicy:
    max_retries: int
    backoff_s: float
    backoff_factor: float
    max_backoff_s: float


@dataclass(frozen=True)
class DagTask:
    name: str
    component: str
    parameters: Mapping[str, InputSource]
    artifacts: Mapping[str, FromInput | FromTask]
    #: Named in `dependentTasks` or read from in an input.
    after: tuple[str, ...]
    #: Runs once all upstream tasks ended, however they ended.
    ignores_upstream_failure: bool = False
    retry: RetryPolicy | None = None
    enable_cache: bool = False
    cache_key: str = ""


@dataclass(frozen=True)
class Dag:
    tasks: Mapping[str, DagTask]
    parameters: Mapping[str, FromTask]
    artifacts: Mapping[str, FromTask]


@dataclass(frozen=True)
class ContainerExecutor:
    """A lightweight Python component; its image is kept for backends that have containers."""

    image: str
    function: PythonFunction
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImporterExecutor:
    uri: str | FromInput
    schema_title: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reimport: bool = False


@dataclass(frozen=True)
class Component:
    name: str
    parameters: Mapping[str, ParameterSpec]
    artifacts: Mapping[str, ArtifactSpec]
    output_parameters: Mapping[str, ParameterSpec]
    output_artifacts: Mapping[str, ArtifactSpec]
    body: Dag | ContainerExecutor | ImporterExecutor


@dataclass(frozen=True)
class Pipeline:
    name: str
    description: str
    root: Component
    components: Mapping[str, Component]
    #: What the file asks for and a single machine does not enforce, as sentences.
    notes: tuple[str, ...] = ()
