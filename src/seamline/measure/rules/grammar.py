"""The language of rules over several columns; what is made of a rule is the reader's choice.

Rules come out of repositories, and the control plane runs none of their code: so nothing is
evaluated but what this grammar knows: comparisons, arithmetic, `and`, `or`, `not`, `in`,
`between`, `is null` and a few functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from seamline.domain.errors import InvalidInput, nearest

MAX_LENGTH = 1_000
MAX_DEPTH = 20

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<text>'(?:[^']|'')*')
      | (?P<name>"[^"]+"|[^\W\d]\w*)
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<mark><>|!=|<=|>=|==|[-+*/%=<>(),])""",
    re.VERBOSE,
)
_WORDS = ("and", "or", "not", "in", "between", "is", "null", "true", "false")
#: How many arguments each takes, and what is made of them. Polars counts months in 8 bits and
#: lengths without a sign, and goes on from the other end: so whole numbers are all of 64 bits.
_FUNCTIONS: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "abs": (1, lambda make, x: x.abs()),
    "round": (1, lambda make, x: x.round()),
    "length": (1, lambda make, x: x.str.len_chars().cast(make.Int64)),
    "lower": (1, lambda make, x: x.str.to_lowercase()),
    "upper": (1, lambda make, x: x.str.to_uppercase()),
    "starts_with": (2, lambda make, x, y: x.str.starts_with(y)),
    "ends_with": (2, lambda make, x, y: x.str.ends_with(y)),
    "coalesce": (2, lambda make, x, y: make.coalesce(x, y)),
    "least": (2, lambda make, x, y: make.min_horizontal(x, y)),
    "greatest": (2, lambda make, x, y: make.max_horizontal(x, y)),
    "year": (1, lambda make, x: x.dt.year().cast(make.Int64)),
    "month": (1, lambda make, x: x.dt.month().cast(make.Int64)),
    "day": (1, lambda make, x: x.dt.day().cast(make.Int64)),
    "hour": (1, lambda make, x: x.dt.hour().cast(make.Int64)),
    "date": (1, lambda make, x: x),  # of a text alone: see _date
}
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": lambda x, y: x == y,
    "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
    "<>": lambda x, y: x != y,
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    ">": lambda x, y: x > y,
    ">=": lambda x, y: x >= y,
}
_MATHS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "%": lambda x, y: x % y,
}


def read_expression(text: str, columns: Collection[str], make: Any) -> Any:
    """What `make` makes of the rule: `make` is Polars, or does as Polars does: writes its
    code, or takes arrays.

    Raises InvalidInput for what the language or the columns do not know.
    """
    return _Parser(text, _tokens(text), columns, make).whole()


def rule_error(text: str, what: str, next_step: str = "") -> InvalidInput:
    return InvalidInput(f"The rule {_short(text)!r} {what}.", next_step=next_step)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str

    @property
    def word(self) -> str:
        lower = self.text.lower()
        return lower if self.kind == "name" and lower in _WORDS else ""


def _tokens(text: str) -> list[_Token]:
    if len(text) > MAX_LENGTH:
        raise InvalidInput(f"The rule has {len(text):,} characters; {MAX_LENGTH:,} are allowed.")
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InvalidInput(
                f"The rule {_short(text)!r} cannot have {text[at]!r} (at character {at + 1}).",
                next_step="Write comparisons, arithmetic, and, or, not, in, between, is null.",
            )
        if match.lastgroup != "space":
            found.append(_Token(match.lastgroup or "", match[0]))
        at = match.end()
    return [*found, _Token("end", "")]


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


class _Parser:
    """Recursive descent: either → both → negated → compared → sum → product → value."""

    def __init__(
        self, text: str, tokens: Sequence[_Token], columns: Collection[str], make: Any
    ) -> None:
        self._text, self._tokens, self._columns, self._make = text, tokens, columns, make
        self._at = 0

    @property
    def token(self) -> _Token:
        return self._tokens[self._at]

    def error(self, what: str, next_step: str = "") -> InvalidInput:
        return rule_error(self._text, what, next_step)

    def whole(self) -> Any:
        found = self.either(0)
        if self.token.text:
            raise self.error(f"has {self.token.text!r} where it should end")
        return found

    def either(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self.error(f"is nested more than {MAX_DEPTH} deep")
        found = self._both(depth)
        while self._take_word("or"):
            found = found | self._both(depth)
        return found

    def _both(self, depth: int) -> Any:
        found = self._negated(depth)
        while self._take_word("and"):
            found = found & self._negated(depth)
        return found

    def _negated(self, depth: int) -> Any:
        turns = 0
        while self._take_word("not"):
            turns += 1
        found = self._compared(depth)
        return ~found if turns % 2 else found

    def _compared(self, depth: int) -> Any:
        left = self._sum(depth)
        mark = self.token.text
        if self.token.kind == "mark" and mark in _COMPARE:
            self._at += 1
            return _COMPARE[mark](left, self._sum(depth))
        if self._take_word("is"):
            negated = self._take_word("not")
            if not self._take_word("null"):
                raise self.error("has 'is' without 'null' or 'not null'")
            return left.is_not_null() if negated else left.is_null()
        negated = self._take_word("not")
        if self._take_word("between"):
            low = self._sum(depth)
            if not self._take_word("and"):
                raise self.error("has 'between' without 'and'")
            found = (left >= low) & (left <= self._sum(depth))
        elif self._take_word("in"):
            found = left.is_in(self._list())
        elif negated:
            raise self.error("has 'not' where 'not in' or 'not between' would do")
        else:
            return left
        return ~found if negated else found

    def _sum(self, depth: int) -> Any:
        found = self._product(depth)
        while self.token.kind == "mark" and self.token.text in "+-":
            maths = _MATHS[self._take()]
            found = maths(found, self._product(depth))
        return found

    def _product(self, depth: int) -> Any:
        found = self._value(depth)
        while self.token.kind == "mark" and self.token.text in ("*", "/", "%"):
            maths = _MATHS[self._take()]
            found = maths(found, self._value(depth))
        return found

    def _value(self, depth: int) -> Any:
        signs = 0
        while self._take_mark("-"):
            signs += 1
        found = self._plain(depth)
        return -found if signs % 2 else found

    def _plain(self, depth: int) -> Any:
        token = self.token
        if token.kind in ("number", "text") or token.word in ("true", "false"):
            return self._make.lit(self._constant())
        if self._take_mark("("):
            found = self.either(depth + 1)
            self._expect(")")
            return found
        if token.kind != "name" or token.word:
            raise self.error(
                f"has {token.text!r} where a value should be"
                if token.text
                else "ends where a value should be"
            )
        self._at += 1
        if token.text[0] != '"' and self._take_mark("("):
            return self._call(token.text, depth)
        name = token.text.strip('"')
        if name not in self._columns:
            raise self.error(f"names {name!r}, which is no column", nearest(name, self._columns))
        return self._make.col(name)

    def _call(self, name: str, depth: int) -> Any:
        known = _FUNCTIONS.get(name.lower())
        if known is None:
            said = nearest(name.lower(), _FUNCTIONS)
            allowed = f"Allowed: {', '.join(sorted(_FUNCTIONS))}."
            raise self.error(f"calls {name}", said if said.startswith("Did") else allowed)
        count, function = known
        if name.lower() == "date":
            return self._date()
        arguments = [self.either(depth + 1)]
        while self._take_mark(","):
            arguments.append(self.either(depth + 1))
        self._expect(")")
        if len(arguments) != count:
            raise self.error(f"gives {name} {len(arguments)} arguments; it takes {count}")
        return function(self._make, *arguments)

    def _date(self) -> Any:
        value = self._constant()
        self._expect(")")
        try:
            return self._make.lit(date.fromisoformat(str(value)))
        except ValueError:
            raise self.error(f"has the date {value!r}", "Write date('2013-07-09').") from None

    def _list(self) -> list[object]:
        self._expect("(")
        found = [self._signed()]
        while self._take_mark(","):
            found.append(self._signed())
        self._expect(")")
        if len({isinstance(one, str) for one in found}) > 1:
            raise self.error("has a list of texts and numbers")
        return found

    def _signed(self) -> object:
        negative = self._take_mark("-")
        value = self._constant()
        if negative and isinstance(value, str):
            raise self.error(f"has a minus before {value!r}")
        return -value if negative and isinstance(value, int | float) else value

    def _constant(self) -> int | float | str | bool:
        token = self.token
        self._at += 1
        if token.kind == "text":
            return token.text[1:-1].replace("''", "'")
        if token.word in ("true", "false"):
            return token.word == "true"
        if token.kind != "number":
            raise self.error(f"has {token.text!r} where a constant should be")
        return int(token.text) if token.text.isdigit() else float(token.text)

    def _take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1].text

    def _take_word(self, word: str) -> bool:
        found = self.token.word == word
        self._at += found
        return found

    def _take_mark(self, mark: str) -> bool:
        found = self.token.kind == "mark" and self.token.text == mark
        self._at += found
        return found

    def _expect(self, mark: str) -> None:
        if not self._take_mark(mark):
            raise self.error(f"lacks {mark!r} before {self.token.text or 'its end'!r}")
