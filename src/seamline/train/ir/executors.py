"""What runs a leaf component: a container (often a lightweight Python function) or an importer."""

from __future__ import annotations

import dataclasses
from typing import Any

from seamline.domain.errors import InvalidInput, SeamlineError
from seamline.train.ir.claims import claim_function, claim_notes
from seamline.train.ir.command import parse_word
from seamline.train.ir.document import Node
from seamline.train.ir.lightweight import PythonFunction, recognise_function
from seamline.train.ir.platform import ExecutorPlatform
from seamline.train.ir.types import ContainerExecutor, FromInput, ImporterExecutor, Resources

_CONTAINER_FIELDS = frozenset({"image", "command", "args", "env", "resources"})
_IMPORTER_FIELDS = frozenset(
    {"artifactUri", "typeSchema", "metadata", "reimport", "downloadToWorkspace"}
)
_ACCELERATOR_FIELDS = frozenset({"type", "count", "resourceType", "resourceCount"})
#: Newer SDKs write texts, and the older numbers too if the text holds no placeholder.
_RESOURCES = {
    "cpu_request": ("resourceCpuRequest", "cpuRequest"),
    "cpu_limit": ("resourceCpuLimit", "cpuLimit"),
    "memory_request": ("resourceMemoryRequest", "memoryRequest"),
    "memory_limit": ("resourceMemoryLimit", "memoryLimit"),
}
_KINDS = {"resolver": "a resolver", "customJob": "a custom job of Vertex AI"}


def read_executor(
    node: Node, label: str, platform: ExecutorPlatform
) -> ContainerExecutor | ImporterExecutor:
    """Raises Refused, naming the component, for what cannot run here."""
    if "importer" in node:
        return _read_importer(node.at("importer"), label)
    if "container" in node:
        return _read_container(node.at("container"), label, platform)
    kind = next(iter(node.object()), "")
    raise node.unsupported(_KINDS.get(kind, f"the executor kind {kind!r}"), label)


def _read_importer(node: Node, label: str) -> ImporterExecutor:
    node.only(_IMPORTER_FIELDS, label)
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
        downloads_to_workspace=node.at("downloadToWorkspace").flag(),
    )


def _read_container(node: Node, label: str, platform: ExecutorPlatform) -> ContainerExecutor:
    if "lifecycle" in node:
        raise node.at("lifecycle").unsupported("a lifecycle hook (preCacheCheck)", label)
    node.only(_CONTAINER_FIELDS, label)
    command = [str(at.value) for at in node.at("command").list()]
    args = [str(at.value) for at in node.at("args").list()]
    function = _read_function(node, label, command, args)
    words: tuple[Any, ...] = tuple(command)
    if function is None:
        words = tuple(_read_word(at) for at in node.at("command").list())
    executor = ContainerExecutor(
        image=str(node.object().get("image") or ""),
        function=function,
        command=words,
        args=tuple(_read_word(at) for at in node.at("args").list()),
        env=_read_env(node.at("env")),
        resources=_read_resources(node.at("resources"), label),
        notes=_function_notes(function, label),
    )
    return _on_platform(executor, platform)


def _read_function(
    node: Node, label: str, command: list[str], args: list[str]
) -> PythonFunction | None:
    try:
        function = recognise_function(command, args)
    except (SeamlineError, ValueError) as error:
        raise Node(node.value, node.path).wrong(f"a readable Python component ({error})") from error
    if function is not None and len(function.index_urls) > 1:
        raise node.unsupported("more than one package index", label)
    return function or claim_function(str(node.object().get("image")))


def _function_notes(function: PythonFunction | None, label: str) -> tuple[str, ...]:
    if function is None or not function.trusted_hosts:
        return claim_notes(function, label)
    hosts = ", ".join(function.trusted_hosts)
    return (f"{label}: trusted hosts ({hosts}) have no effect: certificates are checked.",)


def _on_platform(executor: ContainerExecutor, platform: ExecutorPlatform) -> ContainerExecutor:
    return dataclasses.replace(
        executor,
        env={**executor.env, **platform.env},
        secrets=platform.secrets,
        mounts=platform.mounts,
        timeout_s=platform.timeout_s,
        notes=executor.notes + platform.notes,
    )


def _read_word(node: Node) -> Any:
    try:
        return parse_word(str(node.value))
    except InvalidInput as error:
        raise InvalidInput(f"{node.path}: {error.message}", next_step=error.next_step) from error


def _read_env(node: Node) -> dict[str, str]:
    env: dict[str, str] = {}
    for at in node.list():
        value = at.at("value").value
        name = at.at("name").text()
        env.pop(name, None)  # the last one counts, at its own place
        env[name] = "" if value is None else str(value)
    return env


def _read_resources(node: Node, label: str) -> Resources:
    accelerator = node.at("accelerator")
    accelerator.only(_ACCELERATOR_FIELDS, label)
    node.only({"accelerator", *(key for keys in _RESOURCES.values() for key in keys)}, label)
    quantities = {name: _quantity(node, *keys) for name, keys in _RESOURCES.items()}
    return Resources(
        accelerator_type=_either(accelerator, "resourceType", "type"),
        accelerator_count=_either(accelerator, "resourceCount", "count"),
        **quantities,
    )


def _quantity(node: Node, text_key: str, number_key: str) -> str:
    if text_key in node:
        return str(node.at(text_key).value)
    number = node.at(number_key).number()
    if not number:
        return ""
    # The number counts cores, or units of 10^9 bytes.
    return f"{number:g}" if number_key.startswith("cpu") else str(round(number * 1e9))


def _either(node: Node, key: str, older: str) -> str:
    return str(node.at(key if key in node else older).value or "")
