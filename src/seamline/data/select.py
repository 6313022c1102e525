"""One plain SELECT over a dataset version, run in the control plane.

What is run is a person's text, so it is held to a grammar first: one table, no joins or
subqueries, known functions. Polars' SQL reads any file of the machine (`read_csv('…')`), and a
join of a table with itself can need more memory than there is. Who takes joins says so, and gets
no more rows of one than may be read at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

import polars as pl

from seamline.data.declaration import DAY
from seamline.data.select_joins import (
    AFTER_TABLES,
    JOIN_GRAMMAR,
    Table,
    read_tables,
    rewrite,
)
from seamline.data.select_tokens import END, Token, tokens_of
from seamline.data.versions import DatasetVersion, read_version
from seamline.data.versions.read import read_file, version_files
from seamline.domain.errors import InvalidInput, Refused, nearest
from seamline.store.stores import Stores

MAX_LENGTH = 10_000
#: Rows times columns that a query may read.
MAX_CELLS = 200_000_000

_FUNCTIONS = """
COUNT SUM AVG MIN MAX MEDIAN STDDEV VARIANCE FIRST LAST QUANTILE_CONT QUANTILE_DISC
ABS CEIL FLOOR ROUND SIGN SQRT LN LOG10 EXP POWER MOD COALESCE NULLIF IF GREATEST LEAST
UPPER LOWER LTRIM RTRIM LEFT RIGHT SUBSTR LENGTH STARTS_WITH ENDS_WITH STRPOS CONCAT
CAST TRY_CAST DATE_PART ROW_NUMBER RANK DENSE_RANK
"""
#: Words after which a parenthesis is no function's.
_OPENERS = """
SELECT DISTINCT ON USING WHERE HAVING BY AND OR NOT IN BETWEEN LIKE CASE WHEN THEN ELSE OVER
DECIMAL NUMERIC VARCHAR CHAR
"""
_MORE_TABLES = """
JOIN UNION INTERSECT EXCEPT MINUS WITH INTO VALUES TABLE UNNEST LATERAL APPLY
"""
#: Words by which a row's answer depends on other rows.
_OVER_ROWS = """
COUNT SUM AVG MIN MAX MEDIAN STDDEV VARIANCE FIRST LAST QUANTILE_CONT QUANTILE_DISC
ROW_NUMBER RANK DENSE_RANK OVER DISTINCT GROUP HAVING ORDER LIMIT OFFSET
"""
GRAMMAR = "Write one SELECT over one table, without joins, subqueries and comments."


@dataclass(frozen=True)
class PlainSelect:
    text: str
    #: Every name in it; some of them are columns.
    names: frozenset[str]
    has_star: bool
    is_ordered: bool
    #: What it says of a row depends on that row alone.
    is_by_row: bool
    #: Where it joins: the tables, and the text in which each version is one name.
    tables: tuple[Table, ...] = ()
    sql: str = ""


def parse_joins(text: str, table: str) -> PlainSelect:
    """As `parse_select`, with other tables joined to `table`, each NAME@VERSION.

    >>> parse_joins("SELECT a.*, b.x FROM a JOIN b@3 USING (k)", "a").tables[1].reference
    'b@3'
    """
    return _parse(text, table, may_join=True)


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
    return _parse(text, table, may_join=False)


def _parse(text: str, table: str, *, may_join: bool) -> PlainSelect:
    text = text.strip().removesuffix(";")
    if len(text) > MAX_LENGTH:
        raise InvalidInput(
            f"The query has {len(text):,} characters; {MAX_LENGTH:,} are allowed.",
            next_step="Say less of it, or make the list in a pipeline of its own.",
        )
    grammar = JOIN_GRAMMAR if may_join else GRAMMAR
    tokens = list(tokens_of(text))
    words = [token.word for token in tokens]
    if words[:1] != ["SELECT"] or words.count("SELECT") != 1:
        raise InvalidInput("The query is not exactly one SELECT.", next_step=grammar)
    refused = {*_MORE_TABLES.split()} - ({"JOIN"} if may_join else set())
    more = next((word for word in words if word in refused), None)
    if more is not None:
        raise InvalidInput(f"The query has {more}.", next_step=grammar)
    tables: Sequence[Table] = ()
    if may_join and ("JOIN" in words or "@" in [token.text for token in tokens]):
        tables = read_tables(tokens, _place_of_tables(tokens, grammar))
        _check_name(tables[0].dataset, tables[0].reference, table)
    else:
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
        tables=tuple(tables),
        sql=rewrite(text, tables),
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
    stores: Stores,
    version: DatasetVersion,
    select: PlainSelect,
    joined: Mapping[str, DatasetVersion] | None = None,
) -> Iterator[tuple[str, pl.DataFrame]]:
    """(day, rows), the same each time: a file at a time where what is said of a row depends on that
    row alone, so that any number of rows may be asked for; else all at once, of no day.

    `joined`: the versions of the tables of `select` after the first, by their references.
    """
    if not select.is_by_row:
        yield "", _select_whole(stores, version, select, joined)
        return
    columns = _columns_of(version, select)
    stored = [name for name in columns if name != DAY]
    others = _read_joined(stores, select, joined or {})
    for file in version_files(stores, version):
        frame = read_file(stores, version, file, stored).select(columns)
        yield file.partition, _execute(version, select, frame, others)


def _select_whole(
    stores: Stores,
    version: DatasetVersion,
    select: PlainSelect,
    joined: Mapping[str, DatasetVersion] | None = None,
) -> pl.DataFrame:
    columns = _columns_of(version, select)
    _check_cells(version, len(columns))
    others = _read_joined(stores, select, joined or {})
    found = _execute(version, select, read_version(stores, version, columns), others)
    if select.is_ordered:
        return found
    flat = [name for name, dtype in found.schema.items() if not dtype.is_nested()]
    return found.sort(flat) if flat else found


def _check_cells(version: DatasetVersion, columns: int) -> None:
    if version.rows * columns > MAX_CELLS:
        raise Refused(
            f"The query would read {columns} columns of {version.rows} rows of "
            f"{version.reference}; {MAX_CELLS} values are allowed.",
            next_step="Name fewer columns, or make the list in a pipeline of its own.",
        )


def _columns_of(version: DatasetVersion, select: PlainSelect) -> list[str]:
    """Only what the query names is read."""
    known = _known_of(version)
    named = known if select.has_star else [name for name in known if name in select.names]
    return named or [DAY]


def _known_of(version: DatasetVersion) -> list[str]:
    return [*(name for name, _ in version.schema), DAY]


def _read_joined(
    stores: Stores, select: PlainSelect, joined: Mapping[str, DatasetVersion]
) -> dict[str, tuple[DatasetVersion, pl.DataFrame]]:
    """Wholly, as far as the query names their columns; the day only where it is named."""
    found = {}
    for reference, version in joined.items():
        columns = _columns_of(version, select)
        if select.has_star and DAY not in select.names:
            columns.remove(DAY)
        _check_cells(version, len(columns))
        found[reference] = (version, read_version(stores, version, columns).select(columns))
    return found


def _execute(
    version: DatasetVersion,
    select: PlainSelect,
    frame: pl.DataFrame,
    others: Mapping[str, tuple[DatasetVersion, pl.DataFrame]],
) -> pl.DataFrame:
    first = select.tables[0].reference if select.tables else version.dataset
    frames = {reference: one for reference, (_, one) in others.items()}
    known = [(version, frame), *others.values()]
    try:
        lazy = pl.SQLContext({**frames, first: frame}).execute(select.sql, eager=False)
        width = max(1, len(lazy.collect_schema()))
        # A join can make more rows than anybody can keep: no more of them are made than this.
        most = MAX_CELLS // width + 1
        found = lazy.head(most).collect(engine="streaming") if others else lazy.collect()
    except pl.exceptions.PolarsError as error:
        names = [name for one, _ in known for name in _known_of(one)]
        raise InvalidInput(
            f"The query over {' and '.join(one.reference for one, _ in known)} fails: "
            f"{_first_line(error)}.",
            next_step=f"{_about_column(error, names)}Its columns are {_list_columns(known)}.",
        ) from error
    if others:
        _check_joined(found, most)
    return found


def _check_joined(found: pl.DataFrame, most: int) -> None:
    """What the engine renames was selected twice, and nobody has said which is meant."""
    twice = [name for name in found.columns if name.rpartition(":")[0] in found.columns]
    if twice:
        base = twice[0].rpartition(":")[0]
        raise InvalidInput(
            f"The query selects {base} of two tables.",
            next_step=f"Name the columns that you want, the other one as: w.{base} AS its_{base}.",
        )
    if found.height >= most:
        raise Refused(
            f"The query joins its tables to more than {most - 1:,} rows; "
            f"{MAX_CELLS:,} values are allowed.",
            next_step="Join by columns that name one row of the joined table each.",
        )


def _about_column(error: Exception, names: Collection[str]) -> str:
    """The nearest name of a column that is not there, or ""."""
    missing = re.search(
        r"""(?:no column named|unable to find column) ['"]([^'"]+)['"]""", str(error)
    )
    said = nearest(missing[1], names) if missing else ""
    return f"{said} " if said.startswith("Did") else ""


def _list_columns(known: Sequence[tuple[DatasetVersion, pl.DataFrame]]) -> str:
    if len(known) == 1:
        return ", ".join(_known_of(known[0][0]))
    return "; ".join(f"{one.reference}: {', '.join(_known_of(one))}" for one, _ in known)


def _place_of_tables(tokens: Sequence[Token], grammar: str = GRAMMAR) -> int:
    places = [place for place, token in enumerate(tokens) if token.word == "FROM"]
    if len(places) != 1 or tokens[places[0]].depth:
        raise InvalidInput("The query does not have exactly one FROM.", next_step=grammar)
    return places[0] + 1


def _check_name(name: str, written: str, table: str) -> None:
    if name != table:
        raise InvalidInput(
            f"The query reads {written!r}; its dataset is {table}.",
            next_step=f'Write FROM "{table}".',
        )


def _check_table(tokens: Sequence[Token], table: str) -> None:
    """`FROM table`, once, with nothing after it but an alias and the next clause."""
    name, *rest = (*tokens[_place_of_tables(tokens) :], END)
    _check_name(name.name, name.text, table)
    if rest[0].word == "AS" or (rest[0].name and rest[0].word not in AFTER_TABLES):
        rest = rest[2:] if rest[0].word == "AS" else rest[1:]
    after = (*rest, END)[0]
    if after.text and after.word not in AFTER_TABLES:
        raise InvalidInput(f"The query has {after.text!r} after its table.", next_step=GRAMMAR)


def _check_calls(tokens: Sequence[Token]) -> None:
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
