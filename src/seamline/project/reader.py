"""TOML tables → declaration dataclasses, with errors that point at the line."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from seamline.domain.errors import InvalidInput, nearest

Declared = TypeVar("Declared")


@dataclass(frozen=True)
class Source:
    """The text of a file, so that an error can name the line."""

    name: str
    text: str

    def error(self, where: str, message: str, next_step: str = "") -> InvalidInput:
        line = self._line_of(where)
        return InvalidInput(f"{self.name}:{line}: {message}", next_step=next_step, line=line)

    def pointing(self, where: str, parse: Callable[[str], object], text: str) -> None:
        """What `parse` refuses is refused with the line."""
        try:
            parse(text)
        except InvalidInput as error:
            raise self.error(where, error.message, error.next_step) from error

    def _line_of(self, where: str) -> int:
        """The line of the dotted key `where`, or of the nearest table around it."""
        parts = where.split(".")
        found, table = 1, ""
        for number, line in enumerate(self.text.splitlines(), 1):
            header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
            if header:
                table = header[1].replace('"', "").replace("'", "")
            key = re.match(r"""\s*["']?([\w.-]+)["']?\s*=""", line)
            name = table if header else f"{table}.{key[1]}".lstrip(".") if key else ""
            if name == where or (header and name.startswith(f"{where}.")):
                return number
            if name and ".".join(parts[: len(name.split("."))]) == name:
                found = number
        return found


def read_declared(
    cls: type[Declared], table: object, where: str, source: Source, **given: Any
) -> Declared:
    """An instance of the dataclass `cls`; unknown, missing or mistyped keys are InvalidInput."""
    if not isinstance(table, dict):
        raise source.error(where, f"{where} has to be a table.")
    hints = typing.get_type_hints(cls)
    # In Python `not` cannot be a name: `not_` is the key `not`.
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    known = {name.rstrip("_"): name for name in fields if name not in given}
    for key in table:
        if key not in known:
            raise source.error(
                f"{where}.{key}", f"{where} has no key {key!r}.", nearest(key, known)
            )
    values = dict(given)
    for key, name in known.items():
        if key in table:
            values[name] = _convert(hints[name], table[key], f"{where}.{key}", source)
        elif _is_required(fields[name]):
            raise source.error(where, f"{where} lacks the key {key!r}.", f"Add {key} = ….")
    try:
        return cls(**values)
    except InvalidInput as error:
        raise source.error(where, error.message, error.next_step) from error


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _convert(hint: Any, value: Any, where: str, source: Source) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        kind = next(one for one in arguments if one is not types.NoneType)
        return _convert(kind, value, where, source)
    if origin is tuple:
        if not isinstance(value, list):
            raise source.error(where, f"{where} has to be a list, not {value!r}.")
        return tuple(_convert(arguments[0], one, where, source) for one in value)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise source.error(where, f"{where} has to be a table, not {value!r}.")
        return {
            key: _convert(arguments[1], one, f"{where}.{key}", source) for key, one in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return read_declared(typing.cast(type[Any], hint), value, where, source)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value not in list(hint):
            raise source.error(
                where, f"{where}: {value!r} is not known.", nearest(str(value), hint)
            )
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise source.error(where, f"{where} has to be {_named(hint)}, not {value!r}.")
    return value


def _named(hint: type) -> str:
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(hint, hint.__name__)
