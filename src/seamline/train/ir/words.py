"""What the words of a container refer to: checked when a pipeline is read, before anything runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.ir.command import inputs_asked_for
from seamline.train.ir.document import Node
from seamline.train.ir.placeholders import (
    Placeholder,
    PlaceholderKind,
    placeholders_in,
    unfillable,
)
from seamline.train.ir.types import Component, ContainerExecutor


def check_words(component: Component) -> None:
    """Raises InvalidInput for unknown inputs and outputs, Refused for unknown placeholders."""
    body = component.body
    if not isinstance(body, ContainerExecutor):
        return
    task = component.name.removeprefix("comp-")
    known = _known(component)
    for place, word in _words(body):
        node = Node(word, f"components.{component.name}: {place}")
        for inner, placeholder in placeholders_in(word):
            if placeholder is None:
                raise unfillable(inner, task, node)
            _check_name(placeholder, known, task, node)
    if body.function is None:
        _check_asked_for(body, component, task)


def inputs_named(executor: ContainerExecutor) -> Iterator[str]:
    """The parameters that its words name."""
    for _, word in _words(executor):
        for _, placeholder in placeholders_in(word):
            if placeholder is not None and placeholder.kind is PlaceholderKind.INPUT_PARAMETER:
                yield placeholder.name


def words_of(executor: ContainerExecutor) -> list[Any]:
    """All that may hold placeholders. The source of a Python function may not: it is code."""
    return [word for _, word in _words(executor)]


def _words(executor: ContainerExecutor) -> Iterator[tuple[str, Any]]:
    yield "image", executor.image
    for name, value in executor.env.items():
        yield f"env.{name}", value
    for key, value in dataclasses.asdict(executor.resources).items():
        yield f"resources.{key}", value
    if executor.function is None:
        yield "command", executor.command
        yield "args", executor.args


def _known(component: Component) -> Mapping[PlaceholderKind, Mapping[str, object]]:
    return {
        PlaceholderKind.INPUT_PARAMETER: component.parameters,
        PlaceholderKind.INPUT_ARTIFACT: component.artifacts,
        PlaceholderKind.OUTPUT_PARAMETER: component.output_parameters,
        PlaceholderKind.OUTPUT_ARTIFACT: component.output_artifacts,
    }


def _check_name(
    placeholder: Placeholder,
    known: Mapping[PlaceholderKind, Mapping[str, object]],
    task: str,
    node: Node,
) -> None:
    if placeholder.kind in known and placeholder.name not in known[placeholder.kind]:
        raise InvalidInput(
            f"{node.path} of task {task!r} names {placeholder.name!r} among its "
            f"{placeholder.kind.value}, which it does not have.",
            next_step=nearest(placeholder.name, known[placeholder.kind]),
        )


def _check_asked_for(body: ContainerExecutor, component: Component, task: str) -> None:
    inputs = {**component.parameters, **component.artifacts}
    for name in inputs_asked_for((*body.command, *body.args)):
        if name not in inputs:
            raise InvalidInput(
                f"The command of task {task!r} asks whether its input {name!r} is present, "
                "which it does not have.",
                next_step=nearest(name, inputs),
            )
