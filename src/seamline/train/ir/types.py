"""What a compiled pipeline says: Kubeflow's IR (PipelineSpec 2.x) as frozen values.

Names follow the proto (`pipeline_spec.proto`); what `ir_reader` refuses has no field here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from seamline.train.ir.expressions import Expression
from seamline.train.ir.lightweight import PythonFunction
from seamline.trust.secret_rules import SecretKind


class ParameterType(StrEnum):
    STRING = "STRING"
    NUMBER_INTEGER = "NUMBER_INTEGER"
    NUMBER_DOUBLE = "NUMBER_DOUBLE"
    BOOLEAN = "BOOLEAN"
    LIST = "LIST"
    STRUCT = "STRUCT"
    #: Given by the engine, never by a person: how the task that an exit handler watches has ended.
    TASK_FINAL_STATUS = "TASK_FINAL_STATUS"
    #: Not in the file: what flows into a loop or a branch. The compiler writes a type there, but
    #: only guesses it (from the first item of a list, say), so that casting to it would be wrong.
    ANY = "ANY"


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
    is_list: bool = False


# Where a task's input comes from -----------------------------------------------------------------
@dataclass(frozen=True)
class Constant:
    value: Any


@dataclass(frozen=True)
class FromInput:
    """An input of the DAG that holds the task."""

    name: str
    #: Which part of the value: `parseJson(string_value)["a"]`. Parameters only.
    part: Expression | None = None


@dataclass(frozen=True)
class FromTask:
    """An output of a sibling task."""

    task: str
    key: str
    part: Expression | None = None


@dataclass(frozen=True)
class FinalStatus:
    """How a sibling task has ended, for an exit handler."""

    task: str


InputSource = Constant | FromInput | FromTask | FinalStatus


@dataclass(frozen=True)
class RetryPolicy:
    max_retries: int
    backoff_s: float
    backoff_factor: float
    max_backoff_s: float

    def delay_s(self, failures: int) -> float:
        """Before the attempt that follows this many failures and one more.

        >>> [RetryPolicy(3, 1.0, 2.0, 3.0).delay_s(n) for n in (0, 1, 2, 5_000)]
        [1.0, 2.0, 3.0, 3.0]
        """
        try:
            return min(self.backoff_s * self.backoff_factor**failures, self.max_backoff_s)
        except OverflowError:
            return self.max_backoff_s if self.backoff_s else 0.0


@dataclass(frozen=True)
class Loop:
    """Runs the task once per item; `item` is the component's input that takes the item."""

    #: A constant list (or its JSON text), or the name of one of the task's own inputs.
    items: Constant | FromInput
    item: str
    is_over_artifacts: bool = False
    #: 0: as many at once as there are slots.
    parallelism: int = 0


@dataclass(frozen=True)
class DagTask:
    name: str
    component: str
    parameters: Mapping[str, InputSource]
    artifacts: Mapping[str, FromInput | FromTask]
    #: Named in `dependentTasks`, or read from in an input.
    after: tuple[str, ...]
    #: Over the task's own inputs: `inputs.parameter_values['x'] == 'a'`. False: it does not run.
    condition: Expression | None = None
    loop: Loop | None = None
    #: Runs once all upstream tasks ended, however they ended.
    ignores_upstream_failure: bool = False
    retry: RetryPolicy | None = None
    enable_cache: bool = False
    cache_key: str = ""
    #: What people call it; unlike `name` it need not be unique.
    display_name: str = ""


@dataclass(frozen=True)
class Dag:
    tasks: Mapping[str, DagTask]
    #: More than one source: `dsl.OneOf`, the one branch that ran.
    parameters: Mapping[str, tuple[FromTask, ...]]
    artifacts: Mapping[str, tuple[FromTask, ...]]


@dataclass(frozen=True)
class Resources:
    """As written ("500m", "4G"); empty: not asked for. May hold placeholders."""

    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    accelerator_type: str = ""
    accelerator_count: str = ""


@dataclass(frozen=True)
class SecretVariable:
    """An environment variable from a key of a secret or config map of the run's environment."""

    variable: str
    kind: SecretKind
    #: A constant text, or an input of the component (which the reader adds) that holds it.
    name: Constant | FromInput
    key: str
    is_optional: bool = False


class VolumeKind(StrEnum):
    #: A directory of the environment, kept between runs (a persistent volume claim).
    CLAIM = "claim"
    #: A directory of the task's own.
    EMPTY = "empty"
    SECRET = "secret"
    CONFIG_MAP = "config_map"


@dataclass(frozen=True)
class Mount:
    kind: VolumeKind
    #: As for `SecretVariable`.
    name: Constant | FromInput
    #: Absolute path at which the task finds it.
    path: str
    sub_path: str = ""
    is_optional: bool = False


@dataclass(frozen=True)
class ContainerExecutor:
    """A command in an image. Lightweight Python components have a `function`, too."""

    #: May hold placeholders.
    image: str
    #: None: any other container; it needs podman, docker, or leave to run on the host.
    function: PythonFunction | None
    #: Texts with placeholders; a struct placeholder stands as its parsed JSON object.
    command: tuple[Any, ...] = ()
    args: tuple[Any, ...] = ()
    #: In the order written: `$(NAME)` refers to earlier ones. Values may hold placeholders.
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = Resources()
    secrets: tuple[SecretVariable, ...] = ()
    mounts: tuple[Mount, ...] = ()
    timeout_s: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImporterExecutor:
    uri: str | FromInput
    schema_title: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reimport: bool = False
    downloads_to_workspace: bool = False


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
    #: What the file asks for and a single machine does not do, as sentences.
    notes: tuple[str, ...] = ()
    #: A directory that all tasks of a run share (`pipelineConfig.workspace`).
    has_workspace: bool = False
    #: Of the whole run (`pipelineConfig.activeDeadlineSeconds`).
    timeout_s: float | None = None
