"""What a compiled pipeline takes and gives, and of what it is made: read from its IR alone.

Everything here is total: IR that lacks a part has an interface that lacks it. Whether the IR can
run is for the reader of `train` to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seamline.domain.digests import Digest, digest_of

#: Stands where IR names no type, so that two such ports are alike.
UNTYPED = "untyped"


@dataclass(frozen=True)
class Port:
    """One input or output. `type` is a parameter type (STRING) or an artifact's schema title."""

    type: str
    #: Artifacts only; empty for parameters.
    schema_version: str = ""
    is_list: bool = False
    is_optional: bool = False
    has_default: bool = False
    default: Any = None
    #: The values that a parameter may have; empty: any.
    literals: tuple[Any, ...] = ()
    description: str = ""

    @property
    def must_be_given(self) -> bool:
        return not (self.is_optional or self.has_default)

    def spell_type(self) -> str:
        """
        >>> Port("STRING").spell_type()
        'STRING'
        >>> Port("system.Model", "0.0.1", is_list=True).spell_type()
        'list of system.Model@0.0.1'
        """
        version = f"@{self.schema_version}" if self.schema_version else ""
        return f"{'list of ' if self.is_list else ''}{self.type}{version}"

    def to_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"type": self.spell_type(), "optional": not self.must_be_given}
        if self.has_default:
            shown["default"] = self.default
        if self.literals:
            shown["literals"] = list(self.literals)
        if self.description:
            shown["description"] = self.description
        return shown


@dataclass(frozen=True)
class Interface:
    inputs: Mapping[str, Port] = field(default_factory=dict)
    outputs: Mapping[str, Port] = field(default_factory=dict)

    @property
    def digest(self) -> Digest:
        """Of what callers depend on: descriptions do not count."""
        return _digest([_without_words(self.inputs), _without_words(self.outputs)])

    def to_json(self) -> dict[str, Any]:
        return {
            side: {name: port.to_json() for name, port in ports.items()}
            for side, ports in (("inputs", self.inputs), ("outputs", self.outputs))
        }


@dataclass(frozen=True)
class Shape:
    """What the registry knows of a file beyond its bytes; derived, so it can be made again."""

    interface: Interface
    #: Of everything that the pipeline does, whatever its components are called in this file.
    content_digest: str
    #: Content digests of the pipelines that it contains, at any depth.
    contains: frozenset[str]


def read_shape(document: Mapping[str, Any]) -> Shape:
    """Of the first document of an IR file."""
    contents = _Contents(document)
    root = contents.digest_of(_mapping(document, "root"))
    names = _mapping(document, "components")
    graphs = {contents.digest_of_component(name) for name in names if contents.is_graph(name)}
    return Shape(read_interface(document), root, frozenset(graphs))


def read_interface(document: Mapping[str, Any]) -> Interface:
    """
    >>> day = {"parameterType": "STRING", "defaultValue": "today"}
    >>> root = {"inputDefinitions": {"parameters": {"day": day}}}
    >>> read_interface({"root": root}).to_json()["inputs"]
    {'day': {'type': 'STRING', 'optional': True, 'default': 'today'}}
    """
    root = _mapping(document, "root")
    return Interface(
        _ports(_mapping(root, "inputDefinitions")), _ports(_mapping(root, "outputDefinitions"))
    )


def read_components(document: Mapping[str, Any]) -> dict[str, str]:
    """Name in this file → digest of what it does (its code, image, steps and interface)."""
    contents = _Contents(document)
    names = sorted(_mapping(document, "components"))
    return {name.removeprefix("comp-"): contents.digest_of_component(name) for name in names}


def _ports(definitions: Mapping[str, Any]) -> dict[str, Port]:
    parameters, artifacts = _mapping(definitions, "parameters"), _mapping(definitions, "artifacts")
    found = {name: _parameter(_as_mapping(spec)) for name, spec in parameters.items()}
    found |= {name: _artifact(_as_mapping(spec)) for name, spec in artifacts.items()}
    return dict(sorted(found.items()))


def _parameter(spec: Mapping[str, Any]) -> Port:
    literals = spec.get("literals")
    return Port(
        type=str(spec.get("parameterType", UNTYPED)),
        is_optional=spec.get("isOptional") is True,
        has_default="defaultValue" in spec,
        default=_plain(spec.get("defaultValue")),
        literals=tuple(_plain(one) for one in literals) if isinstance(literals, list) else (),
        description=str(spec.get("description", "")),
    )


def _artifact(spec: Mapping[str, Any]) -> Port:
    kind = _mapping(spec, "artifactType")
    return Port(
        type=str(kind.get("schemaTitle") or kind.get("instanceSchema") or UNTYPED),
        schema_version=str(kind.get("schemaVersion", "")),
        is_list=spec.get("isArtifactList") is True,
        is_optional=spec.get("isOptional") is True,
        description=str(spec.get("description", "")),
    )


class _Contents:
    """Digests of components in which names are replaced by what they stand for.

    The KFP compiler renames a pipeline's components and executors where it puts the pipeline
    into another one (`comp-predict-2`), and changes nothing else: so these digests find it there.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._components = _mapping(document, "components")
        self._executors = _mapping(_mapping(document, "deploymentSpec"), "executors")
        self._known: dict[str, str] = {}

    def is_graph(self, name: str) -> bool:
        return "dag" in _as_mapping(self._components.get(name))

    def digest_of_component(self, name: str) -> str:
        if name not in self._known:
            self._known[name] = ""  # a component that contains itself, which no engine runs
            self._known[name] = self.digest_of(_as_mapping(self._components.get(name)))
        return self._known[name]

    def digest_of(self, component: Mapping[str, Any]) -> str:
        content = dict(component)
        if "executorLabel" in content:
            content["executorLabel"] = self._executors.get(str(content["executorLabel"]))
        if "dag" in content:
            dag = _as_mapping(content["dag"])
            tasks = _mapping(dag, "tasks")
            content["dag"] = {
                **dag,
                "tasks": {name: self._task(_as_mapping(task)) for name, task in tasks.items()},
            }
        return str(_digest(content))

    def _task(self, task: Mapping[str, Any]) -> dict[str, Any]:
        name = str(_mapping(task, "componentRef").get("name", ""))
        return {**task, "componentRef": self.digest_of_component(name)}


def _without_words(ports: Mapping[str, Port]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in port.to_json().items() if key != "description"}
        for name, port in ports.items()
    }


def _digest(value: Any) -> Digest:
    return digest_of(json.dumps(_plain(value), sort_keys=True, default=str).encode())


def _plain(value: Any) -> Any:
    """YAML tells 3.0 from 3; the proto behind it does not."""
    if isinstance(value, str):  # most are, and there are many
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return _as_mapping(value.get(key))


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
