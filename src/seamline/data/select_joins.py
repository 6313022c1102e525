"""The tables of a SELECT that joins dataset versions: `FROM flights@9 JOIN weather@3 USING (hour)`.

The first one gives the rows; others are looked up for them, by INNER or LEFT JOIN. So the rows of
one file after another can be answered, whatever their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seamline.data.select_tokens import END, Token
from seamline.domain.errors import InvalidInput

AFTER_TABLES = ("WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET")
_JOINS = ("JOIN", "INNER", "LEFT")
_OTHERS = ("RIGHT", "FULL", "CROSS", "NATURAL", "OUTER", "SEMI", "ANTI", "ASOF")
_NO_ALIAS = (*AFTER_TABLES, *_JOINS, *_OTHERS, "ON", "USING")
JOIN_GRAMMAR = (
    "Write FROM a@1 JOIN b@2 ON a.x = b.x, or LEFT JOIN, or USING (x); no subqueries, no comments."
)


@dataclass(frozen=True)
class Table:
    """`reference`: as written, NAME or NAME@VERSION; `alias`: what its columns are called by."""

    reference: str
    alias: str
    #: Where the reference stands in the text, and whether an alias follows.
    start: int
    end: int
    is_named: bool

    @property
    def dataset(self) -> str:
        return self.reference.partition("@")[0]

    @property
    def is_pinned(self) -> bool:
        return "@" in self.reference


def read_tables(tokens: Sequence[Token], start: int) -> list[Table]:
    """Those from place `start` on, which follows FROM. Raises InvalidInput."""
    found, place = _table(tokens, start)
    tables = [found]
    while (token := _at(tokens, place)).text and token.word not in AFTER_TABLES:
        place = _after_join(tokens, place)
        found, place = _table(tokens, place)
        tables.append(found)
        place = _after_condition(tokens, place, found)
    twice = [
        one.alias for number, one in enumerate(tables) if one.alias in _aliases(tables[:number])
    ]
    if twice:
        raise InvalidInput(
            f"The query has two tables called {twice[0]}.",
            next_step=f"Name one of them: JOIN {twice[0]}@1 AS earlier.",
        )
    return tables


def rewrite(text: str, tables: Sequence[Table]) -> str:
    """Each version as one name that the engine knows.

    >>> from seamline.data.select_tokens import tokens_of
    >>> text = "SELECT * FROM a@1 JOIN b AS c USING (k)"
    >>> rewrite(text, read_tables(list(tokens_of(text)), 3))
    'SELECT * FROM "a@1" AS "a" JOIN "b" AS c USING (k)'
    """
    for table in reversed(tables):
        named = "" if table.is_named else f' AS "{table.alias}"'
        text = f'{text[: table.start]}"{table.reference}"{named}{text[table.end :]}'
    return text


def _aliases(tables: Sequence[Table]) -> set[str]:
    return {one.alias for one in tables}


def _at(tokens: Sequence[Token], place: int) -> Token:
    return tokens[place] if place < len(tokens) else END


def _table(tokens: Sequence[Token], place: int) -> tuple[Table, int]:
    first = _at(tokens, place)
    if not first.name or first.word in _NO_ALIAS:
        raise InvalidInput(
            f"The query has {first.text or 'nothing'!r} where a dataset should be.",
            next_step=JOIN_GRAMMAR,
        )
    reference, end, place = first.name, first.end, place + 1
    if _at(tokens, place).text == "@":
        version = _at(tokens, place + 1)
        if version.kind not in ("number", "name"):
            raise InvalidInput(
                f"The query names no version after {reference}@.", next_step=JOIN_GRAMMAR
            )
        reference, end, place = f"{reference}@{version.text}", version.end, place + 2
    alias = reference.partition("@")[0]
    is_as = _at(tokens, place).word == "AS"
    named = _at(tokens, place + is_as)
    is_named = bool(named.name) and named.word not in _NO_ALIAS
    if is_named:
        alias, place = named.name, place + is_as + 1
    return Table(reference, alias, first.start, end, is_named), place


def _after_join(tokens: Sequence[Token], place: int) -> int:
    words = []
    while _at(tokens, place).word in (*_JOINS, *_OTHERS):
        words.append(tokens[place].word)
        place += 1
        if words[-1] == "JOIN":
            break
    if words in (["JOIN"], ["INNER", "JOIN"], ["LEFT", "JOIN"], ["LEFT", "OUTER", "JOIN"]):
        return place
    said = " ".join(words) or _at(tokens, place).text
    raise InvalidInput(f"The query has {said!r} after its table.", next_step=JOIN_GRAMMAR)


def _after_condition(tokens: Sequence[Token], place: int, table: Table) -> int:
    """Up to the next join, or the clause after the tables."""
    word, start = _at(tokens, place).word, place
    while (token := _at(tokens, place)).text:
        is_call = _at(tokens, place + 1).text == "("  # LEFT(…) is a function
        if token.depth == 0 and token.word in (*AFTER_TABLES, *_JOINS, *_OTHERS) and not is_call:
            break
        place += 1
    if any(token.text == "," and not token.depth for token in tokens[start:place]):
        raise InvalidInput("The query has ',' after its table.", next_step=JOIN_GRAMMAR)
    has_equal = any(token.text == "=" for token in tokens[start:place])
    if word not in ("ON", "USING") or (word == "ON" and not has_equal):
        raise InvalidInput(
            f"The query joins {table.reference} without saying by which columns.",
            next_step=JOIN_GRAMMAR,
        )
    return place
