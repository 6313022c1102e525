"""What runs a leaf component: a lightweight Python function or an importer.

Also the platform document, in so far as one machine can honour it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seamline.domain.errors import SeamlineError
from seamline.train.document import Node
from seamline.train.ir import ContainerExecutor, FromInput, ImporterExecutor
from seamline.train.lightweight import recognise_function

#: Placement on a cluster: has no meaning on one machine, and changes no result.
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
    }
)


@dataclass(frozen=True)
class Platform:
    """What the second document says, by executor label."""

    timeouts_s: Mapping[str, float]
    notes: tuple[str, ...]


def read_platform(node: Node) -> Platform:
    platforms = node.at("platforms")
    timeouts: dict[str, float] = {}
    notes: list[str] = []
    for platform, at in platforms.items():
        if platform != "kubernetes":
            raise at.unsupported(f"the platform {platform!r}")
        for key, setting in at.at("pipelineConfig").items():
            raise setting.unsupported(f"the pipeline setting {key!r}")
        for label, executor in at.at("deploymentSpec").at("executors").items():
            for key, setting in executor.items():
                if key == "activeDeadlineSeconds":
                    timeouts[label] = setting.number()
                elif key in _PLACEMENT:
                    notes.append(f"{label}: {key} has no effect on a single machine.")
                else:
                    raise setting.unsupported(f"the Kubernetes setting {key!r}", label)
    return Platform(timeouts, tuple(notes))


def read_executor(
    node: Node, label: str, platform: Platform
) -> ContainerExecutor | ImporterExecutor:
    """Raises Refused, naming the component, for what cannot run here yet."""
    if "importer" in node:
        return _read_importer(node.at("importer"), label)
    if "container" in node:
        return _read_container(node.at("container"), label, platform)
    kind = next(iter(node.object()), "an empty executor")
    raise node.unsupported(f"the executor kind {kind!r}", label)


def _read_importer(node: Node, label: str) -> ImporterExecutor:
    if node.at("downloadToWorkspace").flag():
        raise node.unsupported("a workspace (download_to_workspace)", label)
    uri = node.at("artifactUri")
    source: str | FromInput
    if "constant" in uri:
        source = uri.at("constant").text()
    else:
        source = FromInput(uri.at("runtimeParameter").text())
    return ImporterExecutor(
        uri=source,
        schema_title=str(node.at("typeSchema").object().get("schemaTitle") or "system.Artifact"),
        metadata=node.at("metadata").object(),
        reimport=node.at("reimport").flag(),
    )


def _read_container(node: Node, label: str, platform: Platform) -> ContainerExecutor:
    if "lifecycle" in node:
        raise node.at("lifecycle").unsupported("a lifecycle hook", label)
    notes = _read_resources(node.at("resources"), label)
    command = [str(at.value) for at in node.at("command").list()]
    args = [str(at.value) for at in node.at("args").list()]
    try:
        function = recognise_function(command, args)
    except (SeamlineError, ValueError) as error:
        raise Node(node.value, node.path).wrong(f"a readable Python component ({error})") from error
    if function is None:
        raise node.unsupported("a container that is not a lightweight Python component", label)
    if len(function.index_urls) > 1:
        raise node.unsupported("more than one package index", label)
    return ContainerExecutor(
        image=str(node.object().get("image") or ""),
        function=function,
        env=_read_env(node.at("env"), label),
        timeout_s=platform.timeouts_s.get(label),
        notes=notes,
    )


def _read_env(node: Node, label: str) -> dict[str, str]:
    env: dict[str, str] = {}
    for at in node.list():
        value = str(at.at("value").value or "")
        if "{{$" in value or "$(" in value:
            raise at.unsupported("a placeholder in an environment variable", label)
        env[at.at("name").text()] = value
    return env


def _read_resources(node: Node, label: str) -> tuple[str, ...]:
    if "accelerator" in node:
        raise node.at("accelerator").unsupported("an accelerator", label)
    keys = sorted(node.object())
    return (f"{label}: {', '.join(keys)} not enforced on a single machine.",) if keys else ()
