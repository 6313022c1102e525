"""Parameter values: one JSON value, cast to the type that the pipeline declares.

Compiled IR writes every number as a double. Whole numbers become integers again, inside lists and
structs too, except where a double is declared.
"""

from __future__ import annotations

import json
import math
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.ir.kinds import kind_of
from seamline.train.ir.types import ParameterSpec, ParameterType

_WANTED = {
    ParameterType.STRING: "a string",
    ParameterType.NUMBER_INTEGER: "an integer",
    ParameterType.NUMBER_DOUBLE: "a number",
    ParameterType.BOOLEAN: "true or false",
    ParameterType.LIST: "a list",
    ParameterType.STRUCT: "an object",
    ParameterType.TASK_FINAL_STATUS: "how a task has ended",
    ParameterType.ANY: "a value",
}
#: Beyond it a double, and so the compiled IR, cannot tell neighbours apart.
MAX_SAFE_INTEGER = 2**53 - 1
#: Lists and objects in one another: whoever walks a value has room for that many.
MAX_NESTING = 200


def cast_value(value: Any, wanted: ParameterType, what: str) -> Any:
    """`value` as the declared type; raises InvalidInput naming what was wanted and what came.

    >>> cast_value(4.0, ParameterType.NUMBER_INTEGER, "n"), cast_value(4, ParameterType.STRING, "s")
    (4, '4')
    >>> cast_value({"a": [1.0, 1.5]}, ParameterType.STRUCT, "s")
    {'a': [1, 1.5]}
    """
    if wanted is ParameterType.STRING:
        return value if isinstance(value, str) else as_text(value)
    return check_value(value, wanted, what)


def check_value(value: Any, wanted: ParameterType, what: str) -> Any:
    """Like `cast_value`, but a string has to be one: for values that people send."""
    match wanted:
        case ParameterType.STRING if isinstance(value, str):
            return value
        case ParameterType.BOOLEAN if isinstance(value, bool):
            return value
        case ParameterType.NUMBER_INTEGER if _is_whole(value):
            return int(value)
        case ParameterType.NUMBER_DOUBLE if _is_number(value):
            return float(value)
        case ParameterType.LIST if isinstance(value, list):
            return whole_numbers(value)
        case ParameterType.STRUCT | ParameterType.TASK_FINAL_STATUS if isinstance(value, dict):
            return whole_numbers(value)
        case ParameterType.ANY:
            return whole_numbers(value)
    shown = value if isinstance(value, str) else as_text(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "…"
    raise InvalidInput(
        f"{what} has to be {_WANTED[wanted]}; {kind_of(value)} came: {shown}.",
        next_step=f"Send {_WANTED[wanted]}.",
        wanted=wanted.value,
        value=shown,
    )


def check_literals(value: Any, spec: ParameterSpec, what: str) -> Any:
    """`value`, if it is one of those that the parameter may have."""
    if spec.literals and value not in spec.literals:
        texts = [as_text(item) for item in spec.literals]
        raise InvalidInput(
            f"{what} has to be one of {', '.join(texts)}; {as_text(value)} came.",
            next_step=nearest(as_text(value), texts),
        )
    return value


def parse_text(text: str, wanted: ParameterType, what: str) -> Any:
    """A value written by hand, as on a command line.

    >>> parse_text("[1, 2]", ParameterType.LIST, "xs"), parse_text("7", ParameterType.STRING, "s")
    ([1, 2], '7')
    """
    if wanted is ParameterType.STRING:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return check_value(value, wanted, what)


def whole_numbers(value: Any, depth: int = 0) -> Any:
    """Doubles without a fraction become integers, at any depth.

    Raises InvalidInput for what nests so deeply that not every reader of it could follow.
    """
    match value:
        case float() if value.is_integer() and abs(value) <= MAX_SAFE_INTEGER:
            return int(value)
        case list() | dict() if depth == MAX_NESTING:
            raise InvalidInput(
                f"A value nests deeper than {MAX_NESTING} lists and objects.",
                next_step="Hand it on as an artifact.",
            )
        case list():
            return [whole_numbers(item, depth + 1) for item in value]
        case dict():
            return {key: whole_numbers(item, depth + 1) for key, item in value.items()}
    return value


def as_text(value: Any) -> str:
    """How a value stands inside a longer string: text as it is, all else as JSON.

    >>> as_text("a"), as_text(2.0), as_text(True), as_text([1.0])
    ('a', '2', 'true', '[1]')
    """
    return value if isinstance(value, str) else json.dumps(whole_numbers(value))


def presentable(value: Any) -> Any:
    """A value that strict JSON can hold: NaN and infinities become their names, and text is UTF-8.

    >>> presentable({"loss": float("nan"), "n": 3})
    {'loss': 'NaN', 'n': 3}
    """
    match value:
        case str() if not value.isascii():
            return value.encode("utf-8", "backslashreplace").decode()
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        case list():
            return [presentable(item) for item in value]
        case dict():
            return {presentable(key): presentable(item) for key, item in value.items()}
    return value


def storable(text: str) -> str:
    r"""Text that every database holds and UTF-8 can write: Python's own need be neither.

    >>> print(storable("no \udcff.csv\0"))
    no \udcff.csv\x00
    """
    shown: str = presentable(text)
    return shown.replace("\0", "\\x00")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)
