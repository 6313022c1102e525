"""The platform document (the second one of a compiled file), in so far as one machine honours it.

Its shape is that of `kubernetes_executor_config.proto`. Names of secrets, config maps and claims
may come from the task's surroundings, as its inputs do: such a name becomes an input of the task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from seamline.domain.errors import InvalidInput
from seamline.train.ir.document import Node
from seamline.train.ir.tasks import read_source
from seamline.train.ir.types import (
    Constant,
    FromInput,
    InputSource,
    Mount,
    SecretVariable,
    VolumeKind,
)
from seamline.trust.secret_rules import SecretKind

#: Placement on a cluster, and how images get there: no meaning on one machine, changes no result.
_PLACEMENT = frozenset(
    {
        "nodeSelector",
        "tolerations",
        "nodeAffinity",
        "podAffinity",
        "podMetadata",
        "imagePullSecret",
        "imagePullPolicy",
        "enabledSharedMemory",
        "securityContext",
    }
)
#: What a pod knows of itself, as far as a run knows it too.
_FIELD_PATHS = {
    "metadata.name": "{{$.pipeline_task_uuid}}",
    "metadata.uid": "{{$.pipeline_task_uuid}}",
    "metadata.labels['pipeline/runid']": "{{$.pipeline_job_uuid}}",
    "metadata.annotations['pipelines.kubeflow.org/run_name']": "{{$.pipeline_job_name}}",
}
_TTLS = ("resourceTtl", "resourceTtlOnCompletion", "resourceTtlOnSuccess", "resourceTtlOnFailure")


@dataclass(frozen=True)
class ExecutorPlatform:
    """What the document says about one executor."""

    timeout_s: float | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[SecretVariable, ...] = ()
    mounts: tuple[Mount, ...] = ()
    #: Further inputs of its task, by name.
    inputs: Mapping[str, InputSource] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Platform:
    #: By executor label.
    executors: Mapping[str, ExecutorPlatform] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    has_workspace: bool = False
    timeout_s: float | None = None


def read_platform(node: Node) -> Platform:
    """Raises Refused for another platform than Kubernetes, and for settings without a meaning."""
    kubernetes = node.at("platforms").at("kubernetes")
    for name, at in node.at("platforms").items():
        if name != "kubernetes":
            raise at.unsupported(f"the platform {name!r}")
    config = kubernetes.at("pipelineConfig")
    executors = kubernetes.at("deploymentSpec").at("executors")
    return Platform(
        executors={label: _Reader(label).read(at) for label, at in executors.items()},
        notes=tuple(_pipeline_notes(config)),
        has_workspace="workspace" in config,
        timeout_s=_seconds(config.at("activeDeadlineSeconds")),
    )


def _pipeline_notes(node: Node) -> list[str]:
    notes: list[str] = []
    for key, at in node.items():
        if key == "workspace":
            size = at.object().get("size")
            if size:
                notes.append(f"The workspace's size ({size}) is not enforced.")
            if "pvcSpecPatch" in at.at("kubernetes"):
                notes.append("The workspace's pvcSpecPatch has no effect on a single machine.")
        elif key in _TTLS:
            notes.append(f"{key} has no effect: runs are kept until somebody removes them.")
        elif key != "activeDeadlineSeconds":
            raise at.unsupported(f"the pipeline setting {key!r}")
    return notes


def _seconds(node: Node) -> float | None:
    """Zero stands for no limit, as in the SDK."""
    seconds = node.number()
    if seconds < 0:
        raise InvalidInput(f"{node.path} is {seconds:g}: a time limit is not negative.")
    return seconds or None


class _Reader:
    """Reads the settings of one executor, one method per setting."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._timeout_s: float | None = None
        self._env: dict[str, str] = {}
        self._secrets: list[SecretVariable] = []
        self._mounts: list[Mount] = []
        self._inputs: dict[str, InputSource] = {}
        self._notes: list[str] = []

    def read(self, node: Node) -> ExecutorPlatform:
        readers: Mapping[str, Callable[[Node], None]] = {
            "activeDeadlineSeconds": self._read_timeout,
            "secretAsEnv": lambda at: self._read_variables(at, SecretKind.SECRET),
            "configMapAsEnv": lambda at: self._read_variables(at, SecretKind.CONFIG_MAP),
            "secretAsVolume": lambda at: self._read_files(at, SecretKind.SECRET),
            "configMapAsVolume": lambda at: self._read_files(at, SecretKind.CONFIG_MAP),
            "pvcMount": self._read_claims,
            "emptyDirMounts": self._read_directories,
            "genericEphemeralVolume": self._read_directories,
            "fieldPathAsEnv": self._read_field_paths,
        }
        for key, at in node.items():
            if key in readers:
                readers[key](at)
            elif key in _PLACEMENT:
                self._note(f"{key} has no effect on a single machine.")
            else:
                raise at.unsupported(f"the Kubernetes setting {key!r}", self._label)
        return ExecutorPlatform(
            timeout_s=self._timeout_s,
            env=self._env,
            secrets=tuple(self._secrets),
            mounts=tuple(self._mounts),
            inputs=self._inputs,
            notes=tuple(self._notes),
        )

    def _note(self, text: str) -> None:
        self._notes.append(f"{self._label}: {text}")

    def _read_timeout(self, node: Node) -> None:
        self._timeout_s = _seconds(node)

    def _read_variables(self, node: Node, kind: SecretKind) -> None:
        prefix = "secret" if kind is SecretKind.SECRET else "configMap"
        for at in node.list():
            name = self._read_name(at, prefix)
            for pair in at.at("keyToEnv").list():
                self._secrets.append(
                    SecretVariable(
                        variable=pair.at("envVar").text(),
                        kind=kind,
                        name=name,
                        key=pair.at(f"{prefix}Key").text(),
                        is_optional=at.at("optional").flag(),
                    )
                )

    def _read_files(self, node: Node, kind: SecretKind) -> None:
        is_secret = kind is SecretKind.SECRET
        for at in node.list():
            self._mounts.append(
                Mount(
                    kind=VolumeKind.SECRET if is_secret else VolumeKind.CONFIG_MAP,
                    name=self._read_name(at, "secret" if is_secret else "configMap"),
                    path=_mount_path(at),
                    is_optional=at.at("optional").flag(),
                )
            )

    def _read_claims(self, node: Node) -> None:
        for at in node.list():
            self._mounts.append(
                Mount(VolumeKind.CLAIM, self._read_claim_name(at), _mount_path(at), _sub_path(at))
            )

    def _read_directories(self, node: Node) -> None:
        for at in node.list():
            for key in ("sizeLimit", "size", "medium", "storageClassName"):
                if key in at:
                    name = at.object().get("volumeName")
                    self._note(f"{key} of the volume {name} is not enforced.")
            volume = Constant(at.at("volumeName").text())
            self._mounts.append(Mount(VolumeKind.EMPTY, volume, _mount_path(at)))

    def _read_field_paths(self, node: Node) -> None:
        for at in node.list():
            name, path = at.at("name").text(), at.at("fieldPath").text()
            if path in _FIELD_PATHS:
                self._env[name] = _FIELD_PATHS[path]
            else:
                self._note(f"{name} stays unset: {path} is known to a pod of a cluster only.")

    def _read_name(self, node: Node, prefix: str) -> Constant | FromInput:
        """Newer SDKs write `secretNameParameter`, and `secretName` too if it is constant."""
        parameter = f"{prefix}NameParameter"
        if parameter in node:
            return self._as_input(node.at(parameter), f"{prefix}Name")
        return Constant(node.at(f"{prefix}Name").text())

    def _read_claim_name(self, node: Node) -> Constant | FromInput:
        if "pvcNameParameter" in node:
            return self._as_input(node.at("pvcNameParameter"), "pvcName")
        if "constant" in node:
            return Constant(node.at("constant").text())
        return self._as_input(node, "pvcName")

    def _as_input(self, node: Node, what: str) -> Constant | FromInput:
        source = read_source(node, self._label.removeprefix("exec-"))
        if isinstance(source, Constant):
            if not isinstance(source.value, str) or not source.value:
                raise node.wrong("a name")
            return source
        name = f"kubernetes--{what}-{len(self._inputs)}"
        self._inputs[name] = source
        return FromInput(name)


def _mount_path(node: Node) -> str:
    path = node.at("mountPath").text()
    if not path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise InvalidInput(
            f"{node.path}.mountPath is {path!r}.", next_step="A mount path is absolute, without .."
        )
    return path


def _sub_path(node: Node) -> str:
    path = str(node.object().get("subPath") or "")
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise InvalidInput(
            f"{node.path}.subPath is {path!r}.", next_step="A sub-path is relative, without .."
        )
    return path
