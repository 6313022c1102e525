"""Source that travels with a model: its files by digest, and the settings that it is built with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from seamline.domain.digests import digest_of, parse_digest
from seamline.domain.errors import DigestMismatch, InvalidInput, nearest
from seamline.register.formats.code_rules import check_code_path

SETTINGS = "settings.json"
TASKS = ("binary_classification", "regression")
#: What a module gives for yes or no.
SCORES = ("probability", "logit")
_KEYS = ("task", "score", "inputs", "build")
_EXAMPLE = f'Write {SETTINGS}, as in {{"task": "binary_classification", "score": "logit"}}.'


@dataclass(frozen=True)
class CodeSettings:
    """`build`: the arguments of `build_model`. `inputs`: the columns as the module takes them, one
    after the other; empty: as the sample rows have them. `score`: None of a regression."""

    task: str
    score: str | None
    inputs: tuple[str, ...]
    build: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "score": self.score,
            "inputs": list(self.inputs),
            "build": dict(self.build),
        }


@dataclass(frozen=True)
class ModelCode:
    """Path → bytes, of modules in one package."""

    files: Mapping[str, bytes]
    settings: CodeSettings

    def to_json(self) -> dict[str, Any]:
        """`code` in model.json."""
        digests = {path: digest_of(source) for path, source in sorted(self.files.items())}
        return {"files": digests, "settings": self.settings.to_json()}

    def to_task(self) -> dict[str, Any]:
        """For the task process that builds the module: the very text that was looked at."""
        texts = {path: source.decode() for path, source in self.files.items()}
        return {"texts": texts, "described": self.to_json()}


def parse_settings(data: bytes) -> CodeSettings:
    """Of settings.json. InvalidInput says what is wrong with it.

    >>> parse_settings(b'{"task": "regression", "build": {"width": 8}}').build
    {'width': 8}
    """
    try:
        found = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"it is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise _wrong("it is no object")
    return read_settings(found)


def read_settings(found: Mapping[str, Any]) -> CodeSettings:
    for key in found:
        if key not in _KEYS:
            raise _wrong(f"it has no key {key!r}", nearest(key, _KEYS))
    task, inputs, build = found.get("task"), found.get("inputs") or [], found.get("build") or {}
    if task not in TASKS:
        raise _wrong(f"its task is {task!r}", nearest(str(task), TASKS))
    score = found.get("score")
    if task == "regression" and score is not None:
        raise _wrong(f"its score is {score!r}, and a regression has none")
    if task != "regression" and (score := score or SCORES[0]) not in SCORES:
        raise _wrong(f"its score is {score!r}", nearest(str(score), SCORES))
    are_names = isinstance(inputs, list) and all(isinstance(one, str) and one for one in inputs)
    if not are_names or len(set(inputs)) < len(inputs):
        raise _wrong(f"its inputs are {inputs!r}, no list of different columns")
    if not isinstance(build, dict) or not all(map(str.isidentifier, build)):
        raise _wrong(f"its build is {build!r}, no arguments by name")
    return CodeSettings(task, score, tuple(inputs), build)


def check_code_described(told: object, files: Mapping[str, bytes] | None = None) -> None:
    """`code` of a model.json holds together; and it names just these `files`, where they are given.

    InvalidInput for what cannot be, DigestMismatch for a file with other bytes.
    """
    if not isinstance(told, Mapping) or set(told) != {"files", "settings"}:
        raise InvalidInput("model.json says of its code neither files nor settings.")
    named, settings = told["files"], told["settings"]
    if not isinstance(named, Mapping) or not isinstance(settings, Mapping):
        raise InvalidInput("model.json's code has to name files and settings.")
    read_settings(settings)
    for path, digest in named.items():
        parse_digest(str(digest))
        check_code_path(path)
    if files is None:
        return
    strange = sorted(set(files) ^ set(named))
    if strange:
        raise InvalidInput(f"model.json and the wheel differ in its code: {', '.join(strange)}.")
    for path, source in files.items():
        if digest_of(source) != named[path]:
            raise DigestMismatch(path, expected=named[path], actual=digest_of(source))


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _wrong(why: str, next_step: str = _EXAMPLE) -> InvalidInput:
    return InvalidInput(f"{SETTINGS} cannot be read: {why}.", next_step=next_step)
