"""Text of an expression → its tree.

Two readings, because the KFP compiler escapes nothing: `dsl.If(name == "it's")` compiles into
`inputs.parameter_values['pipelinechannel--name'] == 'it's'`.

1. As CEL: a text in single quotes ends at the next single quote; backslashes in it stand for
   themselves, as the compiler writes them. A text in double quotes, which the compiler never writes
   in a condition, has CEL's escapes.
2. If that gives no condition (or one that compares constants with each other, which the compiler
   cannot emit), as the compiler's own shape: comparisons of an input with one other operand, the
   negated ones in `!(…)`, joined with ` && `. There, a text runs up to the quote that ends its
   comparison. Operands that the compiler meant to cast to text but only put into quotes
   (`'int(inputs.parameter_values['n'])'`) are cast to text.

What neither reading can tell apart: a constant that itself contains quotes and a comparison with
`inputs.parameter_values[…]`. It is read as CEL, as by every other backend.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from seamline.domain.errors import InvalidInput
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

MAX_DEPTH = 50
FUNCTIONS = ("int", "double", "string", "bool", "parseJson")
_WORDS: dict[str, Tree] = {
    "true": Constant(True),
    "false": Constant(False),
    "null": Constant(None),
    "string_value": Whole(),
    # Not CEL: what the compiler writes for Python's float("inf") and float("nan").
    "inf": Constant(float("inf")),
    "nan": Constant(float("nan")),
}
_RELATIONS = ("==", "!=", "<=", ">=", "<", ">")
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<raw>'[^']*')
    |(?P<escaped>"(?:[^"\\\n]|\\.)*")
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>&&|\|\||[=!<>]=|[<>!()\[\].-])""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL
)
_LETTERS = dict(zip("abfnrtv\\?\"'`", "\a\b\f\n\r\t\v\\?\"'`", strict=True))

_INPUT = r"inputs\.parameter_values\['[^']*'\]"
_SIDE = rf"(?:double\(int\({_INPUT}\)\)|(?:int|double)\({_INPUT}\)|{_INPUT})"
_SIDE = rf"(?:{_SIDE}|'{_SIDE}')"
_BETWEEN = rf" (?:{'|'.join(_RELATIONS)}) "
#: One comparison as the compiler writes it, up to the end or to the next one.
_COMPILED = re.compile(
    rf"(?P<negated>!\()?(?P<left>{_SIDE})(?P<operator>{_BETWEEN})"
    rf"(?P<right>{_SIDE}|'.*?'|[^'\s]+?)(?(negated)\))"
    rf"(?:\Z| && (?=(?:!\()?{_SIDE}{_BETWEEN}))",
    re.DOTALL,
)


def parse(text: str) -> Tree:
    """Raises InvalidInput pointing at the character that does not fit."""
    try:
        tree = _Parser(text).whole()
        _check_meaning(tree, text)
        return tree
    except InvalidInput:
        compiled = _parse_compiled(text)
        if compiled is None:
            raise
        return compiled


def _parse_compiled(text: str) -> Tree | None:
    operands: list[Tree] = []
    at = 0
    while at < len(text):
        found = _COMPILED.match(text, at)
        if found is None:
            return None
        try:
            left, right = _operand(found["left"]), _operand(found["right"])
        except InvalidInput:
            return None
        comparison = Compare(left, found["operator"].strip(), right)
        operands.append(Not(comparison) if found["negated"] else comparison)
        at = found.end()
    if not operands:
        return None
    return operands[0] if len(operands) == 1 else Chain("&&", tuple(operands))


def _operand(text: str) -> Tree:
    if not text.startswith("'"):
        return _Parser(text).whole()
    if re.fullmatch(_SIDE, text):
        return Call("string", _Parser(text[1:-1]).whole())
    return Constant(text[1:-1])


def _check_meaning(tree: Tree, text: str) -> None:
    """Raises InvalidInput for a condition of constants: more likely a text with quotes in it."""
    for node in walk(tree):
        match node:
            case Compare():
                judged: tuple[Tree, ...] = (node,)
            case Not(operand):
                judged = (operand,)
            case Chain(_, operands):
                judged = operands
            case _:
                continue
        if any(_is_constant(one) for one in judged):
            raise InvalidInput(
                f"The expression {_shown(text)} compares constants with each other.",
                next_step="Compare an input: inputs.parameter_values['name'].",
            )


def _is_constant(tree: Tree) -> bool:
    """Reads no input; `true` and `false` by themselves do not count."""
    nodes = list(walk(tree))
    return not any(isinstance(node, Input | Whole) for node in nodes) and any(
        isinstance(node, Constant) and not isinstance(node.value, bool) for node in nodes
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:197] + "…")


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


class _Parser:
    """Recursive descent: `||`, `&&`, a comparison, `!`, then a value with its parts."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._next = 0
        self._depth = 0

    def whole(self) -> Tree:
        tree = self._any()
        if self._peek().kind != "end":
            raise self._wrong("an operator or the end")
        return tree

    def _split(self) -> list[_Token]:
        tokens: list[_Token] = []
        at = 0
        while at < len(self._text):
            found = _TOKEN.match(self._text, at)
            if found is None:
                raise self._wrong_at(at, "a value or an operator")
            if found.lastgroup != "space":
                tokens.append(_Token(str(found.lastgroup), found.group(), at))
            at = found.end()
        return [*tokens, _Token("end", "", len(self._text))]

    # -- levels, loosest first
    def _any(self) -> Tree:
        return self._chain("||", self._all)

    def _all(self) -> Tree:
        return self._chain("&&", self._comparison)

    def _chain(self, operator: str, level: Callable[[], Tree]) -> Tree:
        operands = [level()]
        while self._take(operator):
            operands.append(level())
        return operands[0] if len(operands) == 1 else Chain(operator, tuple(operands))

    def _comparison(self) -> Tree:
        left = self._value()
        if self._peek().text not in _RELATIONS:
            return left
        operator = self._advance().text
        comparison = Compare(left, operator, self._value())
        if self._peek().text in _RELATIONS:
            raise self._wrong("&& or ||, since comparisons do not chain")
        return comparison

    def _value(self) -> Tree:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"at most {MAX_DEPTH} levels")
        tree = Not(self._value()) if self._take("!") else self._parts()
        self._depth -= 1
        return tree

    def _parts(self) -> Tree:
        tree = self._primary()
        while self._take("["):
            tree = Part(tree, self._key())
            self._expect("]")
        return tree

    def _key(self) -> str | int:
        token = self._advance()
        if token.kind in ("raw", "escaped"):
            return _unquoted(token)
        if token.kind == "number" and token.text.isdigit() and len(token.text) < 10:
            return int(token.text)
        raise self._wrong_at(token.at, "a key in quotes, or an index")

    def _primary(self) -> Tree:
        token = self._advance()
        if token.kind in ("raw", "escaped"):
            return Constant(_unquoted(token))
        if token.text == "(":
            inner = self._any()
            self._expect(")")
            return inner
        if token.text == "-":
            return self._negative()
        if token.kind == "number":
            return Constant(self._number(token))
        if token.text in FUNCTIONS:
            self._expect("(")
            argument = self._any()
            self._expect(")")
            return Call(token.text, argument)
        if token.text == "inputs":
            return self._input()
        if token.text in _WORDS:
            return _WORDS[token.text]
        raise self._wrong_at(token.at, "a value")

    def _negative(self) -> Tree:
        token = self._advance()
        if token.kind == "number":
            return Constant(-self._number(token))
        if token.text == "inf":
            return Constant(float("-inf"))
        raise self._wrong_at(token.at, "a number")

    def _number(self, token: _Token) -> int | float:
        if not token.text.isdigit():
            return float(token.text)
        if len(token.text) > 400:  # more than any double has
            raise self._wrong_at(token.at, "a shorter number")
        return int(token.text)

    def _input(self) -> Tree:
        for wanted in (".", "parameter_values", "["):
            self._expect(wanted)
        token = self._advance()
        if token.kind not in ("raw", "escaped"):
            raise self._wrong_at(token.at, "the name of an input in quotes")
        self._expect("]")
        return Input(_unquoted(token))

    # -- tokens
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _advance(self) -> _Token:
        token = self._peek()
        if token.kind == "end":
            raise self._wrong("a value")
        self._next += 1
        return token

    def _take(self, sign: str) -> bool:
        token = self._peek()
        if token.kind == "sign" and token.text == sign:
            self._next += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        token = self._peek()
        if token.kind not in ("sign", "name") or token.text != text:
            raise self._wrong(repr(text))
        self._next += 1

    def _wrong(self, wanted: str) -> InvalidInput:
        return self._wrong_at(self._peek().at, wanted)

    def _wrong_at(self, at: int, wanted: str) -> InvalidInput:
        found = repr(self._text[at]) if at < len(self._text) else "the end"
        return InvalidInput(
            f"The expression {_shown(self._text)} has {found} at character {at + 1}; "
            f"{wanted} was expected there.",
            next_step="Compile the pipeline with the KFP SDK, which writes conditions and "
            "selectors of loop items.",
            position=at + 1,
        )


def _unquoted(token: _Token) -> str:
    inner = token.text[1:-1]
    return inner if token.kind == "raw" else _ESCAPE.sub(_unescaped, inner)


def _unescaped(found: re.Match[str]) -> str:
    for digits, base in ((found[1], 16), (found[2], 16), (found[3], 16), (found[4], 8)):
        if digits and int(digits, base) <= 0x10FFFF:
            return chr(int(digits, base))
    return _LETTERS.get(found[5] or "", found[0])
