"""One plain SELECT over a dataset version, run in the control plane.

What is run is a person's text, so it is held to a grammar first: one table, no joins or
subqueries, known functions. Polars' SQL reads any file of the machine (`read_csv('…')`), and a
join of a table with itself can need more memory than there is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

import polars as pl

from seamline.data.declaration import DAY
from seamline.data.versions import DatasetVersion, read_version
from seamline.data.versions.read import read_file, version_files
from seamline.domain.errors import InvalidInput, Refused, nearest
from seamline.store.stores import Stores

MAX_LENGTH = 10_000
#: Rows times columns that a query may read.
MAX_CELLS = 200_000_000

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<text>'[^'\\]*'(?!'))                  # neither escapes nor doubled quotes
      | (?P<name>"[^"\\]+"(?!")|[^\W\d]\w*)
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<mark><>|!=|<=|>=|\|\||-(?!-)|/(?!\*)|[+*%=<>(),.])  # no comments""",
    re.VERBOSE,
)
_FUNCTIONS = """
COUNT SUM AVG MIN MAX MEDIAN STDDEV VARIANCE FIRST LAST QUANTILE_CONT QUANTILE_DISC
ABS CEIL FLOOR ROUND SIGN SQRT LN LOG10 EXP POWER MOD COALESCE NULLIF IF GREATEST LEAST
UPPER LOWER LTRIM RTRIM LEFT RIGHT SUBSTR LENGTH STARTS_WITH ENDS_WITH STRPOS CONCAT
CAST TRY_CAST DATE_PART ROW_NUMBER RANK DENSE_RANK
"""
#: Words after which a parenthesis is no function's.
_OPENERS = """
SELECT DISTINCT ON WHERE HAVING BY AND OR NOT IN BETWEEN LIKE CASE WHEN THEN ELSE OVER
DECIMAL NUMERIC VARCHAR CHAR
"""
_AFTER_TABLE = ("WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET")
_MORE_TABLES = """
JOIN UNION INTERSECT EXCEPT MINUS WITH INTO VALUES TABLE UNNEST LATERAL APPLY
"""
#: Words by which a row's answer depends on other rows.
_OVER_ROWS = """
COUNT SUM AVG MIN MAX MEDIAN STDDEV VARIANCE FIRST LAST QUANTILE_CONT QUANTILE_DISC
ROW_NUMBER RANK DENSE_RANK OVER DISTINCT GROUP HAVING ORDER LIMIT OFFSET
"""
_GRAMMAR = "Write one SELECT over one table, without joins, subqueries and comments."


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    depth: int

    @property
    def word(self) -> str:
        """A name without quotes, in capitals; empty for all else."""
        return self.text.upper() if self.kind == "name" and self.text[0] != '"' else ""

    @property
    def name(self) -> str:
        return self.text.strip('"') if self.kind == "name" else ""


@dataclass(frozen=True)
class PlainSelect:
    text: str
    #: Every name in it; some of them are columns.
    names: frozenset[str]
    has_star: bool
    is_ordered: bool
    #: What it says of a row depends on that row alone.
    is_by_row: bool


def parse_select(text: str, table: str) -> PlainSelect:
    """Raises InvalidInput for what is not one SELECT over `table`.

    >>> parse_select("SELECT a, count(*) AS n FROM flights GROUP BY a", "flights").has_star
    False
    >>> [parse_select(f"SELECT a FROM t {rest}", "t").is_by_row for rest in ("", "LIMIT 3")]
    [True, False]
    >>> parse_select("SELECT * FROM read_csv('/etc/passwd')", "flights")
    Traceback (most recent call last):
    seamline.domain.errors.InvalidInput: The query reads 'read_csv'; ... Write FROM "flights".
    """
    text = text.strip().removesuffix(";")
    if len(text) > MAX_LENGTH:
        raise InvalidInput(
            f"The query has {len(text):,} characters; {MAX_LENGTH:,} are allowed.",
            next_step="Say less of it, or make the list in a pipeline of its own.",
        )
    tokens = list(_tokens(text))
    words = [token.word for token in tokens]
    if words[:1] != ["SELECT"] or words.count("SELECT") != 1:
        raise InvalidInput("The query is not exactly one SELECT.", next_step=_GRAMMAR)
    more = next((word for word in words if word in _MORE_TABLES.split()), None)
    if more is not None:
        raise InvalidInput(f"The query has {more}.", next_step=_GRAMMAR)
    _check_table(tokens, table)
    _check_calls(tokens)
    return PlainSelect(
        text=text,
        names=frozenset(token.name for token in tokens if token.name),
        has_star=any(
            token.text == "*" and (before.word in ("SELECT", "DISTINCT") or before.text in ",.")
            for before, token in pairwise(tokens)
        ),
        is_ordered=any(token.word == "ORDER" and token.depth == 0 for token in tokens),
        is_by_row=not {*words} & {*_OVER_ROWS.split()},
    )


def select_rows(
    stores: Stores, version: DatasetVersion, text: str, *, most: int
) -> list[dict[str, Any]]:
    """The rows as JSON values; in an order of their own, unless the query orders them.

    The table is called like the dataset. Only the columns that the query names are read.
    """
    select = parse_select(text, version.dataset)
    found = _select_whole(stores, version, select)
    if found.height > most:
        raise InvalidInput(
            f"The query over {version.reference} gives {found.height} rows; "
            f"at most {most} are allowed.",
            next_step="Narrow it down with WHERE, or group its rows.",
        )
    return [{key: _plain(key, value) for key, value in row.items()} for row in found.to_dicts()]


def select_frames(
    stores: Stores, version: DatasetVersion, select: PlainSelect
) -> Iterator[tuple[str, pl.DataFrame]]:
    """(day, rows), the same each time: a file at a time where what is said of a row depends on that
    row alone, so that any number of rows may be asked for; else all at once, of no day."""
    if not select.is_by_row:
        yield "", _select_whole(stores, version, select)
        return
    columns = _columns_of(version, select)
    stored = [name for name in columns if name != DAY]
    for file in version_files(stores, version):
        frame = read_file(stores, version, file, stored).select(columns)
        yield file.partition, _execute(version, select, frame)


def _select_whole(stores: Stores, version: DatasetVersion, select: PlainSelect) -> pl.DataFrame:
    columns = _columns_of(version, select)
    if version.rows * len(columns) > MAX_CELLS:
        raise Refused(
            f"The query would read {len(columns)} columns of {version.rows} rows of "
            f"{version.reference}; {MAX_CELLS} values are allowed.",
            next_step="Name fewer columns, or make the list in a pipeline of its own.",
        )
    found = _execute(version, select, read_version(stores, version, columns))
    if select.is_ordered:
        return found
    flat = [name for name, dtype in found.schema.items() if not dtype.is_nested()]
    return found.sort(flat) if flat else found


def _columns_of(version: DatasetVersion, select: PlainSelect) -> list[str]:
    """Only what the query names is read."""
    known = [*(name for name, _ in version.schema), DAY]
    named = known if select.has_star else [name for name in known if name in select.names]
    return named or [DAY]


def _execute(version: DatasetVersion, select: PlainSelect, frame: pl.DataFrame) -> pl.DataFrame:
    try:
        return pl.SQLContext({version.dataset: frame}).execute(select.text, eager=True)
    except pl.exceptions.PolarsError as error:
        known = [*(name for name, _ in version.schema), DAY]
        raise InvalidInput(
            f"The query over {version.reference} fails: {_first_line(error)}.",
            next_step=f"Its columns are {', '.join(known)}.",
        ) from error


def _tokens(text: str) -> Iterator[_Token]:
    at = depth = 0
    previous = ""
    while at < len(text):
        match = _TOKEN.match(text, at)
        # `E'…'` and its like have escapes, too.
        if match is None or (match.lastgroup == "text" and previous == "name"):
            raise InvalidInput(
                f"The query cannot have {text[at : at + 10]!r} (at character {at + 1}).",
                next_step=_GRAMMAR,
            )
        previous = match.lastgroup or ""
        depth -= match[0] == ")"
        if previous != "space":
            yield _Token(previous, match[0], depth)
        depth += match[0] == "("
        at = match.end()


def _check_table(tokens: Sequence[_Token], table: str) -> None:
    """`FROM table`, once, with nothing after it but an alias and the next clause."""
    places = [place for place, token in enumerate(tokens) if token.word == "FROM"]
    if len(places) != 1 or tokens[places[0]].depth:
        raise InvalidInput("The query does not have exactly one FROM.", next_step=_GRAMMAR)
    end = _Token("mark", "", 0)
    name, *rest = (*tokens[places[0] + 1 :], end)
    if name.name != table:
        raise InvalidInput(
            f"The query reads {name.text!r}; its dataset is {table}.",
            next_step=f'Write FROM "{table}".',
        )
    if rest[0].word == "AS" or (rest[0].name and rest[0].word not in _AFTER_TABLE):
        rest = rest[2:] if rest[0].word == "AS" else rest[1:]
    after = (*rest, end)[0]
    if after.text and after.word not in _AFTER_TABLE:
        raise InvalidInput(f"The query has {after.text!r} after its table.", next_step=_GRAMMAR)


def _check_calls(tokens: Sequence[_Token]) -> None:
    functions = _FUNCTIONS.split()
    allowed = {*functions, *_OPENERS.split()}
    for before, token in pairwise(tokens):
        if token.text == "(" and before.kind == "name" and before.word not in allowed:
            raise InvalidInput(
                f"The query calls {before.text}, which is not allowed here.",
                next_step=_known(before.text.upper(), functions),
            )


def _known(name: str, functions: Collection[str]) -> str:
    said = nearest(name, functions)
    return said if said.startswith("Did") else f"Allowed: {', '.join(sorted(functions))}."


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def _plain(column: str, value: Any) -> Any:
    match value:
        case None | bool() | str() | int() | float():
            return value
        case date():  # and datetime
            return value.isoformat()
        case Decimal():
            return float(value)
    raise InvalidInput(
        f"The query's column {column!r} holds {type(value).__name__} values.",
        next_step="Cast it to a number or to text.",
    )
