"""A YAML or JSON file from outside: loaded safely, and walked with a path for error messages."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from seamline.domain.errors import InvalidInput, Refused

MAX_BYTES = 64 << 20
#: Aliases let a small file name a huge value; this bounds what is walked.
MAX_VALUES = 1_000_000
MAX_DEPTH = 100

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_COMPILE = "Compile the pipeline with the KFP SDK (kfp.compiler.Compiler) and send that file."


def load_documents(data: bytes) -> list[dict[str, Any]]:
    """The file's one or two documents; raises InvalidInput for anything that is not plain YAML."""
    documents = [one for one in load_plain(data, "The pipeline", _COMPILE) if one is not None]
    if not 1 <= len(documents) <= 2 or not all(isinstance(d, dict) for d in documents):
        raise InvalidInput(
            "A compiled pipeline is one YAML object, or two with a platform specification; "
            f"this file holds {len(documents)} document(s) of another shape.",
            next_step=_COMPILE,
        )
    return documents


def load_plain(data: bytes, what: str, next_step: str) -> list[Any]:
    """JSON values from a YAML or JSON file (`what`, as in "The pipeline")."""
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{what} has {len(data)} bytes; {MAX_BYTES} are allowed.")
    try:
        documents = _load_json(data)
        if documents is None:
            _check_depth(data, what, next_step)
            documents = list(yaml.load_all(data, Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInput(
            f"{what} is neither YAML nor JSON: {said}.", next_step=next_step
        ) from error
    _check_plain(documents, what, next_step)
    return documents


def _load_json(data: bytes) -> list[Any] | None:
    """JSON read as JSON (None: it is none); YAML 1.1 takes 1e+22 for text, and refuses U+007F.

    >>> _load_json(b'{"v": 1e+22}'), _load_json(b"{v: 1}")
    ([{'v': 1e+22}], None)
    """
    if not data[:64].lstrip().startswith(b"{"):
        return None
    try:
        return [json.loads(data, parse_constant=_refuse_constant)]
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _check_depth(data: bytes, what: str, next_step: str) -> None:
    """Before anything is composed: that recurses in C, and 100,000 levels end the process."""
    depth = 0
    for event in yaml.parse(data, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise InvalidInput(f"{what} nests deeper than {MAX_DEPTH} levels.", next_step=next_step)


def _check_plain(documents: list[Any], what: str, next_step: str) -> None:
    pending: list[tuple[Any, str, int]] = [(document, "", 0) for document in documents]
    seen = 0
    while pending:
        value, path, depth = pending.pop()
        seen += 1
        if seen > MAX_VALUES or depth > MAX_DEPTH:  # aliases nest, too
            raise InvalidInput(
                f"{what} is nested too deeply or too large at {path[:200]}.",
                next_step=next_step,
            )
        if isinstance(value, dict):
            for key, item in value.items():
                if not isinstance(key, str):
                    raise InvalidInput(f"{path or 'The top'} has the key {key!r}, not a string.")
                pending.append((item, f"{path}.{key}" if path else key, depth + 1))
        elif isinstance(value, list):
            pending.extend((item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
        elif value is not None and not isinstance(value, str | int | float):
            raise InvalidInput(
                f"{path} is a {type(value).__name__}; only JSON values can stand there.",
                next_step="Put quotes around it.",
            )


@dataclass(frozen=True)
class Node:
    """A value and where it stands; every accessor raises InvalidInput with that path."""

    value: Any
    path: str = ""

    def wrong(self, wanted: str) -> InvalidInput:
        where = self.path or "The document"
        if self.value is None:
            return InvalidInput(f"{where} is missing; {wanted} is needed.", next_step=_COMPILE)
        return InvalidInput(
            f"{where} has to be {wanted}, not {type(self.value).__name__}.", next_step=_COMPILE
        )

    def unsupported(self, feature: str, task: str = "") -> Refused:
        task = task.removeprefix("exec-")  # executors are labelled by their task
        whose = f"Task {task!r} uses" if task else "The pipeline uses"
        return Refused(
            f"{whose} {feature} (at {self.path}), which is not supported yet.",
            next_step="Leave it out, or run this pipeline on another backend.",
            feature=feature,
            task=task,
        )

    def only(self, known: Collection[str], task: str = "") -> None:
        """Raises Refused for a field that nobody reads: nothing is ignored silently."""
        for key in self.object():
            if key not in known and key in self:
                raise self.at(key).unsupported(f"the field {key!r}", task)

    def __contains__(self, key: str) -> bool:
        """Present and not empty: the proto does not tell an empty message from an absent one."""
        return isinstance(self.value, dict) and self.value.get(key) not in (None, {}, [], "")

    def at(self, key: str) -> Node:
        path = f"{self.path}.{key}" if self.path else key
        return Node(self.object().get(key), path)

    def object(self) -> dict[str, Any]:
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return self.value

    def items(self) -> Iterator[tuple[str, Node]]:
        for key in self.object():
            yield key, self.at(key)

    def list(self) -> list[Node]:
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Node(item, f"{self.path}[{i}]") for i, item in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise self.wrong("a string")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool | None):
            raise self.wrong("true or false")
        return bool(self.value)

    def number(self, default: float = 0.0) -> float:
        if self.value is None:
            return default
        if isinstance(self.value, str) and _WHOLE.fullmatch(self.value):
            return float(self.value)  # the proto's JSON writes 64-bit integers as text
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.wrong("a number")
        return float(self.value)

    def count(self) -> int:
        """A whole number that is not negative; 0 when absent."""
        number = self.number()
        if number < 0 or not number.is_integer():
            raise self.wrong("a whole number, zero or more")
        return int(number)
