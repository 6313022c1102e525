"""Where a leaf task's value comes from, across all pipeline boundaries; and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from seamline.train.ir import ParameterSpec
from seamline.train.placeholders import fill, parameters_named
from seamline.train.values import cast_value


@dataclass(frozen=True)
class Nothing:
    """Not given."""


@dataclass(frozen=True)
class Literal:
    value: Any


@dataclass(frozen=True)
class RunArgument:
    name: str


@dataclass(frozen=True)
class TaskOutput:
    task: str
    key: str


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


Source = Nothing | Literal | RunArgument | TaskOutput | Template | Declared


class _Absent:
    """No value: not given, or what should have made it failed."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


class Surroundings(Protocol):
    """What a run knows when a task starts."""

    def argument(self, name: str) -> Any: ...

    def output(self, task: str, key: str) -> Any:
        """ABSENT when the task did not succeed."""
        ...

    def run_name(self, name: str) -> str:
        """`pipeline_job_uuid`, `pipeline_task_name`, …"""
        ...


def evaluate(source: Source, run: Surroundings, what: str = "value") -> Any:
    """The value, or ABSENT. Raises InvalidInput when it does not fit its declared type."""
    match source:
        case Literal(value):
            return value
        case RunArgument(name):
            return run.argument(name)
        case TaskOutput(task, key):
            return run.output(task, key)
        case Template(value, parts):
            values = {name: evaluate(part, run, name) for name, part in parts.items()}
            if ABSENT in values.values():
                return ABSENT
            return fill(value, values.__getitem__, run.run_name)
        case Declared(inner, spec):
            value = evaluate(inner, run, what)
            if value is ABSENT or value is None:
                return spec.default if spec.has_default else ABSENT
            return cast_value(value, spec.type, what)
    return ABSENT


def describe(source: Source) -> str:
    """Where a value comes from, for people.

    >>> describe(Declared(TaskOutput("train", "rows"), None))
    'output rows of train'
    """
    match source:
        case Literal():
            return "constant"
        case RunArgument(name):
            return f"argument {name}"
        case TaskOutput(task, key):
            return f"output {key} of {task}"
        case Template(_, parts):
            named = list(dict.fromkeys(describe(part) for part in parts.values()))
            return f"text with {', '.join(named)}" if named else "constant"
        case Declared(inner, _):
            return "default" if isinstance(inner, Nothing) else describe(inner)
    return "nothing"
