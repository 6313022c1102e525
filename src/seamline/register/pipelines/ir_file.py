"""Does a file look like compiled Kubeflow Pipelines IR, and what is it called? Bytes are kept."""

from __future__ import annotations

import re
from typing import Any

import yaml

from seamline.domain.errors import InvalidInput, Refused
from seamline.register.names import normalised_package
from seamline.register.pipelines.ir_events import TooDeep, Unusual, read_first

#: The KFP compiler nests a few levels per sub-pipeline; the C parser recurses per level.
MAX_DEPTH = 200
#: Aliases let a small file name a huge value; this bounds what is walked.
MAX_VALUES = 1_000_000
#: Whatever the host: this server, or that of another environment.
_OUR_INDEX = re.compile(rb"https?://[^\s'\"/]+/pypi/[A-Za-z0-9_-]+/simple")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?")
#: `/packages` is a path of the registry protocol.
_RESERVED = {"packages"}


def package_of_ir(data: bytes) -> str:
    """The normalised `pipelineInfo.name`; InvalidInput says what is missing.

    >>> package_of_ir(b"{schemaVersion: 2.1.0, pipelineInfo: {name: A_b}, root: {dag: {}}}")
    'a-b'
    """
    return package_of_document(load_ir(data))


def load_ir(data: bytes) -> dict[str, Any]:
    """The first document of an IR file; what follows it is for platforms.

    >>> load_ir(b"{root: {dag: {}}}\\n---\\nplatforms: {}")
    {'root': {'dag': {}}}
    """
    document = _first_document(data)
    if not isinstance(document, dict):
        raise _not_ir("its first document is no mapping")
    return document


def package_of_document(document: dict[str, Any]) -> str:
    """As `package_of_ir`, of what `load_ir` read."""
    missing = [key for key in ("schemaVersion", "pipelineInfo", "root") if key not in document]
    if missing:
        raise _not_ir(f"it has no {', '.join(missing)}")
    if not str(document["schemaVersion"]).startswith("2."):
        raise _not_ir(f"its schemaVersion is {document['schemaVersion']!r}, wanted 2.x")
    if not isinstance(document["root"], dict):
        raise _not_ir("its root is no mapping")
    info = document["pipelineInfo"]
    name = info.get("name") if isinstance(info, dict) else None
    if not isinstance(name, str):
        raise _not_ir("its pipelineInfo has no name")
    return check_package(name)


def check_no_index_of_ours(data: bytes) -> None:
    """Refused where the IR says which environment its packages come from.

    >>> check_no_index_of_ours(b"python -m pip install 'numpy'")
    """
    found = _OUR_INDEX.search(data)
    if found is not None:
        raise Refused(
            f"The pipeline names the package index {found.group().decode()}, which is that of one "
            "environment: promoted, it would go on reading there.",
            next_step="Leave pip_index_urls out: each task gets the index of the environment that "
            "it runs in.",
        )


def check_package(name: str) -> str:
    """Normalised; InvalidInput when no pipeline can be called so.

    >>> check_package("Late_Arrival")
    'late-arrival'
    """
    package = normalised_package(name)
    if not _NAME.fullmatch(package) or package in _RESERVED:
        raise InvalidInput(
            f"{name!r} cannot be a pipeline's name.",
            next_step="Use letters, digits and hyphens (at most 128); 'packages' is reserved.",
        )
    return package


def _first_document(data: bytes) -> Any:
    try:
        try:
            document = read_first(data, MAX_DEPTH)
        except Unusual:
            _check_depth(data)
            document = next(iter(yaml.load_all(data, yaml.CSafeLoader)), None)
    except TooDeep as error:
        raise _not_ir(str(error)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _not_ir(f"it is no YAML ({' '.join(str(error).split())[:200]})") from error
    if document is None:
        raise _not_ir("it is empty")
    return document


def _check_depth(data: bytes) -> None:
    """The event parser keeps its stack on the heap; composing would recurse in C."""
    depth = 0
    for event in yaml.parse(data, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise TooDeep(f"it nests deeper than {MAX_DEPTH} levels")


def check_size(document: dict[str, Any]) -> None:
    """InvalidInput when walking the document would never end, or as good as never."""
    level: list[Any] = [document]
    seen = depth = 0
    while level:
        seen += len(level)
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            if seen + len(below) > MAX_VALUES:
                break
        if seen + len(below) > MAX_VALUES or depth > MAX_DEPTH:  # aliases nest, too
            raise _not_ir(f"it holds more than {MAX_VALUES} values, or {MAX_DEPTH} levels of them")
        level, depth = below, depth + 1


def _not_ir(why: str) -> InvalidInput:
    return InvalidInput(
        f"This is not a compiled pipeline: {why}.",
        next_step="Compile it first: kfp.compiler.Compiler().compile(pipeline, 'pipeline.yaml').",
    )
