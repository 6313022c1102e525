"""Where a node's value comes from, inside one scope; and its evaluation.

A scope is the pipeline as a whole, or the body of a loop. Sub-pipelines are no scopes: what flows
through their borders is traced to its origin when the plan is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from seamline.train.artifacts import Artifact
from seamline.train.ir.expressions import Expression, evaluate_expression
from seamline.train.ir.placeholders import fill, parameters_named
from seamline.train.ir.types import ParameterSpec
from seamline.train.ir.values import as_text, cast_value, check_literals


@dataclass(frozen=True)
class Nothing:
    """Not given."""


@dataclass(frozen=True)
class Literal:
    value: Any


@dataclass(frozen=True)
class ScopeInput:
    """An argument of the run; in a loop's body: an input of the loop, or its item."""

    name: str


@dataclass(frozen=True)
class NodeOutput:
    """An output of a task, or of a loop: then the list of what its iterations made."""

    node: str
    key: str


@dataclass(frozen=True)
class NodeStatus:
    """How a task, group or loop has ended."""

    node: str


@dataclass(frozen=True)
class FirstOf:
    """What the one branch that ran has made (`dsl.OneOf`)."""

    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Part:
    """A part of a structured value."""

    source: Source
    expression: Expression


@dataclass(frozen=True)
class Template:
    """A constant with placeholders, and the inputs that they name."""

    value: Any
    parts: Mapping[str, Source] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, inputs: Mapping[str, Source]) -> Template:
        return cls(value, {name: inputs[name] for name in parameters_named(value)})


@dataclass(frozen=True)
class Declared:
    """A value that passes a declared input: cast to its type, replaced by its default if absent."""

    source: Source
    spec: ParameterSpec


Source = (
    Nothing | Literal | ScopeInput | NodeOutput | NodeStatus | FirstOf | Part | Template | Declared
)
#: Artifacts flow unchanged: no constants, no casts.
ArtifactSource = Nothing | ScopeInput | NodeOutput | FirstOf
#: One artifact, or a list of them (collected from a loop).
ArtifactValue = Artifact | tuple[Artifact, ...]


class _Absent:
    """No value: not given, or what should have made it did not."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


class Surroundings(Protocol):
    """What a scope knows when one of its nodes is looked at."""

    def argument(self, name: str) -> Any: ...

    def output(self, node: str, key: str) -> Any:
        """ABSENT when the node did not succeed."""
        ...

    def status(self, node: str) -> Mapping[str, Any]: ...

    def run_name(self, name: str) -> str:
        """`pipeline_job_uuid`, `pipeline_task_name`, …"""
        ...


def evaluate(source: Source, scope: Surroundings, what: str = "value") -> Any:
    """The value, or ABSENT. Raises InvalidInput when it does not fit its declared type."""
    match source:
        case Literal(value):
            return value
        case ScopeInput(name):
            return scope.argument(name)
        case NodeOutput(node, key):
            return scope.output(node, key)
        case NodeStatus(node):
            return scope.status(node)
        case FirstOf(sources):
            values = (evaluate(one, scope, what) for one in sources)
            return next((value for value in values if value is not ABSENT), ABSENT)
        case Part(inner, expression):
            return _part(evaluate(inner, scope, what), expression)
        case Template(value, parts):
            given = {name: evaluate(part, scope, name) for name, part in parts.items()}
            if ABSENT in given.values():
                return ABSENT
            return fill(value, given.__getitem__, scope.run_name)
        case Declared(inner, spec):
            value = evaluate(inner, scope, what)
            if value is ABSENT or value is None:
                return spec.default if spec.has_default else ABSENT
            return check_literals(cast_value(value, spec.type, what), spec, what)
    return ABSENT


def _part(value: Any, expression: Expression) -> Any:
    if value is ABSENT:
        return ABSENT
    return evaluate_expression(expression, {"string_value": as_text(value)})


def describe(source: Source | ArtifactSource) -> str:
    """Where a value comes from, for people.

    >>> describe(Declared(NodeOutput("train", "rows"), None))
    'output rows of train'
    """
    match source:
        case Literal():
            return "constant"
        case ScopeInput(name):
            return f"argument {name}"
        case NodeOutput(node, key):
            return f"output {key} of {node}"
        case NodeStatus(node):
            return f"how {node} has ended"
        case FirstOf(sources):
            return " or ".join(describe(one) for one in sources)
        case Part(inner, _):
            return f"a part of {describe(inner)}"
        case Template(_, parts):
            named = list(dict.fromkeys(describe(part) for part in parts.values()))
            return f"text with {', '.join(named)}" if named else "constant"
        case Declared(inner, _):
            return "default" if isinstance(inner, Nothing) else describe(inner)
    return "nothing"
