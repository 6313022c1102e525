"""The expressions of compiled IR: conditions, and selectors of a part of a value.

A subset of CEL (the Common Expression Language), read by a lexer and a parser of our own: a value
from data is only ever a value, never a piece of an expression.

Types: null, boolean, number, text, list, object. Integers and doubles are both numbers and compare
by value, exactly. Values of unlike types are unequal; ordering them (`<`) is an error, as in CEL.
Unlike in CEL,

- a text compares with a number by value if it is a number itself (`"9"`), otherwise as text, and
  with a boolean as text: on an item of an untyped list, `dsl.If(item > 9)` compiles into `> '9'`;
- an input without a value is null: equal to nothing but null, and `int(null)` is null; so
  `dsl.If(n == 3)` on an optional parameter that was not given takes the other branch.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.ir.expression_parser import parse
from seamline.train.ir.expression_tree import (
    Call,
    Chain,
    Compare,
    Constant,
    Input,
    Not,
    Part,
    Tree,
    Whole,
    walk,
)
from seamline.train.ir.kinds import kind_of

_TRUE = frozenset({"true", "True", "TRUE", "t", "1"})
_FALSE = frozenset({"false", "False", "FALSE", "f", "0"})
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,400}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,400}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Expression:
    #: As it stands in the IR.
    text: str
    tree: Tree

    @property
    def is_selector(self) -> bool:
        """Takes a part of one value (`string_value`), instead of judging inputs."""
        return any(isinstance(node, Whole) for node in walk(self.tree))


def parse_expression(text: str) -> Expression:
    """Raises InvalidInput naming the character that does not fit.

    >>> parse_expression("inputs.parameter_values['n'] > 3").tree
    Compare(left=Input(name='n'), operator='>', right=Constant(value=3))
    """
    return Expression(text, parse(text))


def names_read(expression: Expression) -> tuple[str, ...]:
    """The inputs that it reads, each once; a selector reads `string_value`.

    >>> names_read(parse_expression("int(inputs.parameter_values['n']) == 3"))
    ('n',)
    """
    names: dict[str, None] = {}
    for node in walk(expression.tree):
        if isinstance(node, Input):
            names[node.name] = None
        elif isinstance(node, Whole):
            names["string_value"] = None
    return tuple(names)


def evaluate_expression(expression: Expression, names: Mapping[str, Any]) -> Any:
    """True or false for a condition, the part for a selector.

    `names` holds the inputs by name, cast to their declared types; what it lacks is null.
    Raises InvalidInput with the expression when a value does not fit.

    >>> condition = parse_expression("inputs.parameter_values['a'] == 'x' && true")
    >>> evaluate_expression(condition, {"a": "x"}), evaluate_expression(condition, {"a": "y"})
    (True, False)
    >>> evaluate_expression(parse_expression('parseJson(string_value)["a"][1]'),
    ...                     {"string_value": '{"a": [5, 6]}'})
    6
    """
    try:
        value = _value(expression.tree, names)
        return value if expression.is_selector else _truth(value)
    except InvalidInput as error:
        raise InvalidInput(
            f"{error.message} The expression is: {expression.text}",
            next_step=error.next_step,
        ) from error


def _value(tree: Tree, names: Mapping[str, Any]) -> Any:
    match tree:
        case Constant(value):
            return value
        case Input(name):
            return names.get(name)
        case Whole():
            return names.get("string_value")
        case Call(function, argument):
            return _call(function, _value(argument, names))
        case Part(of, key):
            return _part(_value(of, names), key)
        case Not(operand):
            return not _truth(_value(operand, names))
        case Compare(left, sign, right):
            return _compare(_value(left, names), sign, _value(right, names))
        case Chain(sign, operands):
            judged = (_truth(_value(operand, names)) for operand in operands)
            return all(judged) if sign == "&&" else any(judged)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{_shown(value)} is neither true nor false.")
    return value


# -- comparisons -------------------------------------------------------------------------------
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ORDERED = ("a boolean", "a number", "a string")


def _compare(left: Any, sign: str, right: Any) -> bool:
    left, right = _alike(left, right), _alike(right, left)
    kind, other = kind_of(left), kind_of(right)
    if sign in ("==", "!="):
        return (kind == other and bool(left == right)) is (sign == "==")
    if kind != other or kind not in _ORDERED:
        raise InvalidInput(
            f"{_shown(left)} ({kind}) cannot be compared by {sign} with {_shown(right)} ({other}).",
            next_step="Compare values of one type.",
        )
    return _ORDERS[sign](left, right)


def _alike(value: Any, other: Any) -> Any:
    """The value as it compares with the other one, if one of both is a text.

    >>> _alike("9", 10), _alike("x", 10), _alike(10, "x"), _alike(True, "true"), _alike("9", "x")
    (9, 'x', '10', 'true', '9')
    """
    match value, other:
        case (str(), bool()) | (str(), str()):
            return value
        case str(), int() | float():
            if not _NUMBER.fullmatch(value):
                return value
            return int(value) if _WHOLE_NUMBER.fullmatch(value) else float(value)
        case bool(), str():
            return _to_text(value)
        case int() | float(), str() if not _NUMBER.fullmatch(other):
            return _to_text(value)
    return value


# -- functions ---------------------------------------------------------------------------------
def _call(function: str, value: Any) -> Any:
    if value is None:
        return None
    if function == "parseJson":
        return _parse_json(value)
    result = _CASTS[function](value)
    if result is None:
        raise InvalidInput(f"{function}({_shown(value)}) has no value: it is {kind_of(value)}.")
    return result


def _to_int(value: Any) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value - value == 0:
            return int(value)
        case str() if _WHOLE_NUMBER.fullmatch(value):
            return int(value)
    return None


def _to_double(value: Any) -> int | float | None:
    match value:
        case bool():
            return None
        case int() | float():
            return value  # integers stay exact: both are numbers
        case str() if "_" not in value:
            try:
                return float(value)
            except ValueError:
                return None
    return None


def _to_text(value: Any) -> str | None:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
            return str(int(value) if is_whole else value)
    return None


def _to_bool(value: Any) -> bool | None:
    if isinstance(value, str) and value in _TRUE | _FALSE:
        return value in _TRUE
    return value if isinstance(value, bool) else None


def _parse_json(value: Any) -> Any:
    """Values travel as JSON already, so only a text has to be parsed."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{_shown(value)} is not JSON: {error}.",
            next_step="An item whose parts are used (item.part) has to be an object.",
        ) from error


_CASTS: dict[str, Callable[[Any], Any]] = {
    "int": _to_int,
    "double": _to_double,
    "string": _to_text,
    "bool": _to_bool,
}


def _part(value: Any, key: str | int) -> Any:
    if isinstance(value, dict) and isinstance(key, str):
        if key in value:
            return value[key]
        raise InvalidInput(
            f"{_shown(value)} has no part {key!r}.", next_step=nearest(key, map(str, value))
        )
    if isinstance(value, list) and isinstance(key, int):
        if key < len(value):
            return value[key]
        raise InvalidInput(f"There is no item {key} in a list of {len(value)}.")
    raise InvalidInput(
        f"{_shown(value)} is {kind_of(value)}: it has no part {key!r}.",
        next_step="An item whose parts are used (item.part) has to be an object.",
    )


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"
