"""The command line of a container component, with everything filled in.

`executor_input` is what KFP calls so: `inputs.parameterValues`, `inputs.artifacts`,
`outputs.parameters` (their files), `outputs.artifacts`, `outputs.outputFile`. What is filled in is
not read again: data never becomes a placeholder or a reference to a variable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.ir.placeholders import (
    ANY_PLACEHOLDER,
    Placeholder,
    PlaceholderKind,
    parse_placeholder,
)
from seamline.train.ir.values import as_text

RunName = Callable[[str], str]

#: `$$` is an escaped `$`; `$(NAME)` a variable.
_VARIABLE = r"\$\$|\$\((?P<variable>[^()]*)\)"
_REFERENCE = re.compile(rf"(?P<placeholder>{ANY_PLACEHOLDER.pattern})|{_VARIABLE}", re.DOTALL)
_MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
_STRUCTS = ('{"Concat": ', '{"IfPresent": ')


def parse_word(text: str) -> Any:
    """A word of a compiled command: struct placeholders stand in it as JSON text.

    >>> parse_word('{"Concat": ["a", "b"]}'), parse_word("plain")
    ({'Concat': ['a', 'b']}, 'plain')
    """
    if not text.startswith(_STRUCTS):
        return text
    try:
        word = json.loads(text)
    except (ValueError, RecursionError):
        return text
    check_word(word)
    return word


def check_word(word: Any) -> None:
    """Raises InvalidInput for a struct placeholder of another shape."""
    match word:
        case str():
            return
        case {"Concat": list(items), **rest} if not rest:
            for item in items:
                check_word(item)
        case {"IfPresent": {"InputName": str(), "Then": then, **branches}, **rest} if (
            not rest and set(branches) <= {"Else"}
        ):
            for branch in (then, branches.get("Else", "")):
                for item in branch if isinstance(branch, list) else [branch]:
                    check_word(item)
        case _:
            shown = json.dumps(word)
            raise InvalidInput(
                f"{shown[:200]} is neither text nor a Concat nor an IfPresent placeholder.",
                next_step="Compile the pipeline with the KFP SDK.",
            )


def inputs_asked_for(words: Sequence[Any]) -> Iterator[str]:
    """The inputs whose presence decides about a part of the command.

    >>> list(inputs_asked_for(({"IfPresent": {"InputName": "a", "Then": ["--a"]}}, "x")))
    ['a']
    """
    for word in words:
        match word:
            case {"Concat": items}:
                yield from inputs_asked_for(items)
            case {"IfPresent": {"InputName": name, "Then": then, **branches}}:
                yield name
                for branch in (then, branches.get("Else", [])):
                    yield from inputs_asked_for(branch if isinstance(branch, list) else [branch])


def fill_words(
    words: Sequence[Any], executor_input: Mapping[str, Any], run_name: RunName
) -> list[str]:
    """The words as the program gets them; an `IfPresent` can become none of them, or several.

    >>> executor_input = {"inputs": {"parameterValues": {"n": 3}}}
    >>> fill_words(
    ...     ("--n={{$.inputs.parameters['n']}}", {"IfPresent": {"InputName": "m", "Then": ["-m"]}}),
    ...     executor_input, str,
    ... )
    ['--n=3']
    """
    present = _present(executor_input)
    return [text for word in words for text in _texts(word, present, executor_input, run_name)]


def fill_text(text: str, executor_input: Mapping[str, Any], run_name: RunName) -> str:
    """One text: an image, a resource."""
    return ANY_PLACEHOLDER.sub(lambda found: _fill(found, executor_input, run_name), text)


def fill_environment(
    env: Mapping[str, str],
    executor_input: Mapping[str, Any],
    run_name: RunName,
    given: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The variables with placeholders and, as in Kubernetes, `$(NAME)` of earlier ones filled in.

    `given`: variables that are there already, such as secrets. `$$(NAME)` is the text `$(NAME)`;
    a name that is not known stays as it is.

    >>> fill_environment({"A": "1", "B": "$(A)2 $$(A) $(C)"}, {}, str)
    {'A': '1', 'B': '12 $(A) $(C)'}
    """
    filled: dict[str, str] = {}
    for name, value in env.items():
        filled[name] = _reference(value, executor_input, run_name, {**(given or {}), **filled})
    return filled


def expand_variables(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` in a command or its arguments, as Kubernetes does it.

    >>> expand_variables("$(A) $$(A) $(date) $A", {"A": "1"})
    '1 $(A) $(date) $A'
    """
    return re.sub(_VARIABLE, lambda found: _variable(found, variables), text)


def local_path(uri: str) -> str:
    """Where a program finds an artifact: the same mapping as that of the KFP SDK.

    >>> local_path("/data/x"), local_path("file:///data/x"), local_path("s3://bucket/x")
    ('/data/x', '/data/x', '/s3/bucket/x')
    """
    if uri.startswith("oci://"):
        return f"/oci/{uri.removeprefix('oci://').replace('/', '_')}/models"
    for scheme, folder in _MOUNTS.items():
        if uri.startswith(scheme):
            return folder + uri.removeprefix(scheme)
    return uri.removeprefix("file://")


# -- struct placeholders -----------------------------------------------------------------------
def _present(executor_input: Mapping[str, Any]) -> frozenset[str]:
    inputs = executor_input.get("inputs", {})
    values = {**inputs.get("parameterValues", {}), **inputs.get("artifacts", {})}
    return frozenset(name for name, value in values.items() if value is not None)


def _texts(
    word: Any, present: frozenset[str], executor_input: Mapping[str, Any], run_name: RunName
) -> list[str]:
    match word:
        case str():
            return [fill_text(word, executor_input, run_name)]
        case list():
            return [t for item in word for t in _texts(item, present, executor_input, run_name)]
        case {"Concat": items}:
            return ["".join(_texts(items, present, executor_input, run_name))]
        case {"IfPresent": {"InputName": name, "Then": then, **branches}}:
            chosen = then if name in present else branches.get("Else") or []
            return _texts(chosen, present, executor_input, run_name)
    check_word(word)
    return []


# -- placeholders and variables ----------------------------------------------------------------
def _reference(
    text: str,
    executor_input: Mapping[str, Any],
    run_name: RunName,
    variables: Mapping[str, str],
) -> str:
    def one(found: re.Match[str]) -> str:
        if found["placeholder"]:
            inner = ANY_PLACEHOLDER.fullmatch(found["placeholder"])
            return _fill(inner, executor_input, run_name) if inner else found.group()
        return _variable(found, variables)

    return _REFERENCE.sub(one, text)


def _variable(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found.group() == "$$":
        return "$"
    return variables.get(found["variable"], found.group())


def _fill(found: re.Match[str], executor_input: Mapping[str, Any], run_name: RunName) -> str:
    placeholder = parse_placeholder(found.group(1))
    if placeholder is None:
        return found.group()  # in the source of a Python component: refused anywhere else
    return placeholder.escaped(_text_of(placeholder, executor_input, run_name))


def _text_of(placeholder: Placeholder, executor_input: Mapping[str, Any], run_name: RunName) -> str:
    inputs, outputs = executor_input.get("inputs", {}), executor_input.get("outputs", {})
    match placeholder.kind:
        case PlaceholderKind.EXECUTOR_INPUT:
            return json.dumps(executor_input)
        case PlaceholderKind.RUN_NAME:
            return run_name(placeholder.name)
        case PlaceholderKind.OUTPUT_FILE:
            return str(outputs["outputFile"])
        case PlaceholderKind.INPUT_PARAMETER:
            return as_text(inputs.get("parameterValues", {}).get(placeholder.name))
        case PlaceholderKind.OUTPUT_PARAMETER:
            return str(outputs["parameters"][placeholder.name]["outputFile"])
        case PlaceholderKind.INPUT_ARTIFACT:
            return _artifact_text(placeholder, inputs.get("artifacts", {}))
        case PlaceholderKind.OUTPUT_ARTIFACT:
            return _artifact_text(placeholder, outputs.get("artifacts", {}))


def _artifact_text(placeholder: Placeholder, artifacts: Mapping[str, Any]) -> str:
    """`null` for an optional artifact that was not given, as for parameters."""
    listed = artifacts.get(placeholder.name)
    if not placeholder.attribute:
        return json.dumps(listed)
    if not listed or not listed["artifacts"]:
        return as_text(None)
    artifact = listed["artifacts"][0]
    match placeholder.attribute:
        case "uri":
            return str(artifact["uri"])
        case "path":
            return str(artifact.get("customPath") or local_path(artifact["uri"]))
        case "name":
            return str(artifact.get("name", ""))
    metadata = artifact.get("metadata") or {}
    if not placeholder.key:
        return as_text(metadata)
    if placeholder.kind is PlaceholderKind.OUTPUT_ARTIFACT:
        return as_text(metadata.get(placeholder.key))  # known only when the task has ended
    if placeholder.key not in metadata:
        raise InvalidInput(
            f"The artifact {placeholder.name!r} has no metadata {placeholder.key!r}.",
            next_step=nearest(placeholder.key, metadata),
        )
    return as_text(metadata[placeholder.key])
