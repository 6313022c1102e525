"""`{{$.…}}` inside constants: another input's value, or a name that the run gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.document import Node
from seamline.train.values import as_text

_ANY = re.compile(r"\{\{\$(.*?)\}\}", re.DOTALL)
_INPUT = re.compile(r"\.inputs\.parameters\[(['\"])(.+?)\1\]")
RUN_NAMES = (
    ".pipeline_job_name",
    ".pipeline_job_uuid",
    ".pipeline_job_resource_name",
    ".pipeline_job_create_time_utc",
    ".pipeline_task_name",
    ".pipeline_task_uuid",
)


def parameters_named(value: Any) -> Iterator[str]:
    """
    >>> list(parameters_named({"a": "x {{$.inputs.parameters['n']}} {{$.pipeline_job_uuid}}"}))
    ['n']
    """
    for inner in _inner_texts(value):
        match = _INPUT.fullmatch(inner)
        if match:
            yield match.group(2)


def check_placeholders(value: Any, known: Iterable[str], task: str, node: Node) -> None:
    """Raises InvalidInput for an unknown parameter, Refused for a placeholder we cannot fill."""
    names = set(known)
    for inner in _inner_texts(value):
        match = _INPUT.fullmatch(inner)
        if match is None and inner not in RUN_NAMES:
            raise node.unsupported(f"the placeholder {{{{${inner}}}}}", task)
        if match is not None and match.group(2) not in names:
            raise InvalidInput(
                f"{node.path}: the placeholder names the input {match.group(2)!r}, "
                f"which task {task!r} does not have.",
                next_step=nearest(match.group(2), names),
            )


def fill(value: Any, parameter: Callable[[str], Any], run_name: Callable[[str], str]) -> Any:
    """The constant with its placeholders filled in, at any depth.

    A text that is one placeholder and nothing else takes the value itself, whatever its type.

    >>> fill(["n={{$.inputs.parameters['n']}}", "{{$.inputs.parameters['n']}}"], {"n": 3}.get, str)
    ['n=3', 3]
    """

    def value_of(inner: str) -> Any:
        match = _INPUT.fullmatch(inner)
        return parameter(match.group(2)) if match else run_name(inner.removeprefix("."))

    if isinstance(value, str):
        whole = _ANY.fullmatch(value)
        if whole and "{{" not in whole.group(1):
            return value_of(whole.group(1))
        return _ANY.sub(lambda match: as_text(value_of(match.group(1))), value)
    if isinstance(value, list):
        return [fill(item, parameter, run_name) for item in value]
    if isinstance(value, dict):
        return {
            str(fill(key, parameter, run_name)): fill(item, parameter, run_name)
            for key, item in value.items()
        }
    return value


def _inner_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (match.group(1) for match in _ANY.finditer(value))
    elif isinstance(value, list):
        for item in value:
            yield from _inner_texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _inner_texts(key)
            yield from _inner_texts(item)
