"""`{{$.…}}`: another input's value, a place for an output, or a name that the run gives.

In a task's constants only inputs' values and names of the run can stand; in the command of a
container (`command.py`) all of them can. `{{$` that is followed by anything but a dot or the end is
plain text, as for every other backend.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.ir.document import Node
from seamline.train.ir.values import as_text

ANY_PLACEHOLDER = re.compile(r"\{\{\$((?:\..*?)?)\}\}", re.DOTALL)
RUN_NAMES = (
    ".pipeline_job_name",
    ".pipeline_job_uuid",
    ".pipeline_job_resource_name",
    ".pipeline_job_create_time_utc",
    ".pipeline_job_schedule_time_utc",
    ".pipeline_task_name",
    ".pipeline_task_uuid",
    ".pipeline_root",
    ".workspace_path",
)
WORKSPACE_PATH = ".workspace_path"
_VERTEX = (
    ".pipeline_google_cloud_project_id",
    ".pipeline_google_cloud_location",
    ".pipeline_service_account",
    ".pipeline_persistent_resource_id",
)
_OUTPUT_FILES = (".outputs.output_file", ".outputMetadataUri")
_ESCAPES = re.compile(r"(?P<inner>.*)\.json_escape\[(?P<times>[0-9])\]", re.DOTALL)
_NAMED = re.compile(
    r"\.(?P<kind>(?:inputs|outputs)\.(?:parameters|artifacts))"
    r"\[(?P<quote>['\"])(?P<name>.+?)(?P=quote)\]"
    r"(?:\.(?P<attribute>\w+))?"
    r"(?:\[(?P<around>['\"])(?P<key>.+?)(?P=around)\])?"
)


class PlaceholderKind(StrEnum):
    EXECUTOR_INPUT = "executor_input"
    INPUT_PARAMETER = "inputs.parameters"
    INPUT_ARTIFACT = "inputs.artifacts"
    OUTPUT_PARAMETER = "outputs.parameters"
    OUTPUT_ARTIFACT = "outputs.artifacts"
    OUTPUT_FILE = "outputs.output_file"
    RUN_NAME = "run_name"


_ARTIFACT_ATTRIBUTES = frozenset({"", "uri", "path", "name", "metadata"})
_ATTRIBUTES = {
    PlaceholderKind.INPUT_PARAMETER: frozenset({""}),
    PlaceholderKind.INPUT_ARTIFACT: _ARTIFACT_ATTRIBUTES,
    PlaceholderKind.OUTPUT_PARAMETER: frozenset({"output_file"}),
    PlaceholderKind.OUTPUT_ARTIFACT: _ARTIFACT_ATTRIBUTES,
}


@dataclass(frozen=True)
class Placeholder:
    kind: PlaceholderKind
    #: Of the input, the output or the run's name; empty for the others.
    name: str = ""
    #: uri, path, name, metadata or output_file; empty: the value itself.
    attribute: str = ""
    #: A key of the metadata; empty: all of it.
    key: str = ""
    #: How often its text is escaped, to stand inside a JSON text (inside a JSON text …).
    escapes: int = 0

    def escaped(self, text: str) -> str:
        """
        >>> Placeholder(PlaceholderKind.EXECUTOR_INPUT, escapes=1).escaped('{"a": 1}')
        '{\\\\"a\\\\": 1}'
        """
        for _ in range(self.escapes):
            text = json.dumps(text)[1:-1]
        return text


def parse_placeholder(inner: str) -> Placeholder | None:
    """What stands between `{{$` and `}}`; None if that is no placeholder that can be filled.

    >>> parse_placeholder(".inputs.artifacts['m'].metadata['rows']")
    Placeholder(kind=<PlaceholderKind.INPUT_ARTIFACT: 'inputs.artifacts'>, name='m', \
attribute='metadata', key='rows', escapes=0)
    """
    escaped = _ESCAPES.fullmatch(inner)
    if escaped:
        inner, escapes = escaped["inner"], int(escaped["times"])
    else:
        escapes = 0
    if not inner:
        return Placeholder(PlaceholderKind.EXECUTOR_INPUT, escapes=escapes)
    if inner in RUN_NAMES:
        return Placeholder(PlaceholderKind.RUN_NAME, inner.removeprefix("."), escapes=escapes)
    if inner in _OUTPUT_FILES:
        return Placeholder(PlaceholderKind.OUTPUT_FILE, escapes=escapes)
    named = _NAMED.fullmatch(inner)
    if named is None:
        return None
    kind, attribute = PlaceholderKind(named["kind"]), named["attribute"] or ""
    if attribute not in _ATTRIBUTES[kind] or (named["key"] and attribute != "metadata"):
        return None
    return Placeholder(kind, named["name"], attribute, named["key"] or "", escapes)


def placeholders_in(value: Any) -> Iterator[tuple[str, Placeholder | None]]:
    """Those at any depth, with their text between `{{$` and `}}`."""
    for inner in _inner_texts(value):
        yield inner, parse_placeholder(inner)


def parameters_named(value: Any) -> Iterator[str]:
    """
    >>> list(parameters_named({"a": "x {{$.inputs.parameters['n']}} {{$.pipeline_job_uuid}}"}))
    ['n']
    """
    for _, placeholder in placeholders_in(value):
        if placeholder is not None and placeholder.kind is PlaceholderKind.INPUT_PARAMETER:
            yield placeholder.name


def uses_workspace(value: Any) -> bool:
    return any(inner.startswith(WORKSPACE_PATH) for inner in _inner_texts(value))


def unfillable(inner: str, task: str, node: Node) -> Exception:
    """The error for a placeholder that is unknown, or means nothing where it stands."""
    whose = ", which only Vertex AI fills" if inner in _VERTEX else ""
    return node.unsupported(f"the placeholder {{{{${inner}}}}}{whose}", task)


def check_placeholders(value: Any, known: Iterable[str], task: str, node: Node) -> None:
    """For constants: raises InvalidInput for an unknown parameter, Refused for a placeholder that
    cannot be filled there."""
    names = set(known)
    for inner, placeholder in placeholders_in(value):
        if placeholder is None or placeholder.kind not in (
            PlaceholderKind.INPUT_PARAMETER,
            PlaceholderKind.RUN_NAME,
        ):
            raise unfillable(inner, task, node)
        if placeholder.kind is PlaceholderKind.INPUT_PARAMETER and placeholder.name not in names:
            raise InvalidInput(
                f"{node.path}: the placeholder names the input {placeholder.name!r}, "
                f"which task {task!r} does not have.",
                next_step=nearest(placeholder.name, names),
            )


def fill(value: Any, parameter: Callable[[str], Any], run_name: Callable[[str], str]) -> Any:
    """The constant with its placeholders filled in, at any depth; what is filled in is not read
    again, so that data never becomes a placeholder.

    A text that is one placeholder and nothing else takes the value itself, whatever its type.

    >>> fill(["n={{$.inputs.parameters['n']}}", "{{$.inputs.parameters['n']}}"], {"n": 3}.get, str)
    ['n=3', 3]
    """

    def value_of(found: re.Match[str]) -> Any:
        placeholder = parse_placeholder(found.group(1))
        if placeholder is None:
            return found.group(0)
        if placeholder.kind is PlaceholderKind.RUN_NAME:
            filled = run_name(placeholder.name)
        else:
            filled = parameter(placeholder.name)
        return placeholder.escaped(as_text(filled)) if placeholder.escapes else filled

    if isinstance(value, str):
        whole = ANY_PLACEHOLDER.fullmatch(value)
        if whole and "{{$" not in whole.group(1):
            return value_of(whole)
        return ANY_PLACEHOLDER.sub(lambda found: as_text(value_of(found)), value)
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
        yield from (match.group(1) for match in ANY_PLACEHOLDER.finditer(value))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _inner_texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _inner_texts(key)
            yield from _inner_texts(item)
