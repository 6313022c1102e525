"""A person's SELECT over a dataset version: what it may say, and that it reads nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seamline.data import select as select_module
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.data.select import parse_joins, parse_select, select_rows
from seamline.data.versions import DatasetVersion
from seamline.domain.clock import ManualClock
from seamline.domain.errors import InvalidInput, Refused
from seamline.store.stores import Stores, open_stores

CSV = """day,route,carrier,rows,delay
2013-01-01,JFK-LAX,AA,1,2.5
2013-01-01,JFK-LAX,DL,2,
2013-01-02,JFK-LAX,AA,3,0.5
2013-01-02,LGA-ORD,UA,4,-1.5
2013-01-03,LGA-ORD,AA,5,10
"""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    opened = open_stores(tmp_path_factory.mktemp("select") / "workspace", ManualClock())
    yield opened
    opened.db.close()


@pytest.fixture(scope="module")
def legs(stores: Stores) -> DatasetVersion:
    path = stores.root / "legs.csv"
    path.write_text(CSV)
    declaration = DatasetDeclaration("legs", time="day", keys=("rows",))
    return ingest(stores, declaration, path, source="legs.csv", by="ana").version


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            "SELECT route, carrier, count(*) AS n FROM legs GROUP BY route, carrier",
            [
                {"route": "JFK-LAX", "carrier": "AA", "n": 2},
                {"route": "JFK-LAX", "carrier": "DL", "n": 1},
                {"route": "LGA-ORD", "carrier": "AA", "n": 1},
                {"route": "LGA-ORD", "carrier": "UA", "n": 1},
            ],
        ),
        (
            'select distinct l.carrier from "legs" as l order by carrier desc;',
            [{"carrier": "UA"}, {"carrier": "DL"}, {"carrier": "AA"}],
        ),
        (
            "SELECT carrier, SUM(rows) AS n, ROUND(AVG(delay), 1) AS late FROM legs t "
            "WHERE route LIKE 'JFK%' AND (delay IS NOT NULL OR carrier IN ('DL', 'from')) "
            "GROUP BY carrier HAVING COUNT(*) >= 1 ORDER BY n DESC LIMIT 5",
            [{"carrier": "AA", "n": 4, "late": 1.5}, {"carrier": "DL", "n": 2, "late": None}],
        ),
        ("SELECT count(*) AS n FROM legs", [{"n": 5}]),
        ("SELECT max(ds) AS last FROM legs", [{"last": "2013-01-03"}]),
        (
            "SELECT CASE WHEN delay > 0 THEN 'late' ELSE 'not' END AS kind, rows * 2 - 1 AS n "
            "FROM legs WHERE rows <= 2",
            [{"kind": "late", "n": 1}, {"kind": "not", "n": 3}],
        ),
        (
            "SELECT * FROM legs WHERE rows = 1",
            [{"day": "2013-01-01", "route": "JFK-LAX", "carrier": "AA", "rows": 1, "delay": 2.5}],
        ),
    ],
)
def test_a_query_gives_json_rows_in_a_fixed_order(
    stores: Stores, legs: DatasetVersion, text: str, rows: list[dict[str, Any]]
) -> None:
    found = select_rows(stores, legs, text, most=100)
    assert [{key: row[key] for key in rows[0]} for row in found] == rows


HOSTILE = (
    "SELECT * FROM read_csv('{path}')",
    "SELECT * FROM legs, read_csv('{path}')",
    "SELECT * FROM legs l, read_csv('{path}')",
    "SELECT * FROM legs AS l, legs",
    "SELECT * FROM legs JOIN read_csv('{path}') r ON true",
    "SELECT * FROM legs CROSS JOIN legs",
    "SELECT * FROM legs NATURAL INNER JOIN legs",
    "SELECT * FROM \"read_csv\"('{path}')",
    "SELECT * FROM READ_CSV ('{path}')",
    "SELECT * FROM read_csv/**/('{path}')",
    "SELECT * FROM legs WHERE carrier IN (SELECT text FROM read_csv('{path}'))",
    "SELECT * FROM legs WHERE carrier IN (FROM read_csv('{path}'))",
    "SELECT * FROM legs WHERE rows IN (FROM legs)",
    "SELECT DISTINCT FROM legs, legs WHERE rows IN (FROM legs)",
    "SELECT * FROM legs WHERE rows IN (TABLE legs)",
    "SELECT * FROM legs UNION ALL SELECT * FROM legs",
    "SELECT * FROM legs UNION TABLE legs",
    "SELECT * FROM (SELECT * FROM legs)",
    "FROM legs SELECT *",
    "FROM read_csv('{path}')",
    "WITH x AS (FROM read_csv('{path}')) SELECT * FROM x",
    "SELECT 1; SELECT * FROM legs",
    "SELECT 1",
    "DROP TABLE legs",
    "TRUNCATE legs",
    "DELETE FROM legs",
    "CREATE TABLE x AS SELECT * FROM legs",
    "EXPLAIN SELECT * FROM legs",
    "SHOW TABLES",
    "SELECT * FROM legs -- '\n, read_csv('{path}') --'",
    "SELECT * FROM legs /* /* */ ' */, read_csv('{path}') /* ' */",
    "SELECT * FROM legs # '\n, read_csv('{path}')",
    "SELECT * FROM legs WHERE route = 'a\\' OR route IN (FROM read_csv('{path}')) OR route = '\\'",
    "SELECT * FROM legs WHERE route = E'x'",
    "SELECT * FROM legs WHERE route = '' '' ''",
    "SELECT * FROM legs WHERE route = ''''",
    "SELECT * FROM legs WHERE route = '''a'''",
    "SELECT * FROM legs WHERE route = $$x$$",
    'SELECT * FROM legs WHERE "a""b" = 1',
    "SELECT * FROM legs WHERE `carrier` = 'AA'",
    "SELECT lpad(route, 1000000000, 'x') FROM legs",
    "SELECT replace(route, 'a', 'aaaa') FROM legs",
    "SELECT unnest(route) FROM legs",
    "SELECT * FROM legs TABLESAMPLE (1)",
    "SELECT * FROM legs AS l (a, b)",
    "SELECT * INTO x FROM legs",
    "SELECT * FROM other",
    "SELECT * FROM",
    "SELECT * FROM legs AS",
    "",
    "SELECT",
    "(SELECT * FROM legs)",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_all_but_one_select_over_the_table_is_refused(
    stores: Stores, legs: DatasetVersion, text: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("text\nthe-secret\n")
    with pytest.raises(InvalidInput) as caught:
        select_rows(stores, legs, text.format(path=secret), most=100)
    assert "the-secret" not in str(caught.value)


def test_what_is_refused_would_indeed_have_read_the_file(tmp_path: Path) -> None:
    """Should Polars drop `read_csv` one day, this page of rules may go."""
    path = tmp_path / "secret.csv"
    path.write_text("text\nthe-secret\n")
    frame = pl.SQLContext().execute(HOSTILE[0].format(path=path), eager=True)
    assert frame.item() == "the-secret"


@pytest.mark.parametrize(
    ("text", "says", "then"),
    [
        ("SELECT carier FROM legs", "The query over legs@1 fails", "day, route, carrier"),
        ("SELECT carrier FROM lges", "The query reads 'lges'; its dataset is legs", 'FROM "legs"'),
        ("SELECT counts(*) FROM legs", "The query calls counts", "Did you mean COUNT?"),
        ("SELECT regexp_x(day) FROM legs", "The query calls regexp_x", "Allowed: ABS, AVG"),
        ("SELECT carrier FROM legs WHERE", "fails", "Its columns are"),
        ("SELECT rows FROM legs", "gives 5 rows; at most 4 are allowed", "WHERE"),
        ("SELECT " + "rows+" * 3000 + "1 FROM legs", "has 15,018 characters; 10,000", ""),
        ("SELECT a ~ b FROM legs", "cannot have '~ b FROM l' (at character 10)", "one SELECT"),
    ],
)
def test_a_mistake_is_explained(
    stores: Stores, legs: DatasetVersion, text: str, says: str, then: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        select_rows(stores, legs, text, most=4)
    assert says in caught.value.message
    assert then in caught.value.next_step


def test_only_the_columns_that_are_named_count_and_are_read(
    stores: Stores, legs: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select_module, "MAX_CELLS", 10)
    narrow = "SELECT carrier, count(*) AS n, MIN(rows) * 2 AS m FROM legs GROUP BY carrier"
    assert len(select_rows(stores, legs, narrow, most=100)) == 3
    for wide in (
        "SELECT * FROM legs",
        "SELECT l.* FROM legs l",
        "SELECT day, route, rows FROM legs",
    ):
        with pytest.raises(Refused, match="columns of 5 rows of legs@1; 10 values are allowed"):
            select_rows(stores, legs, wide, most=100)


def test_a_star_is_told_from_a_product() -> None:
    for text, has_star in (
        ("SELECT * FROM t", True),
        ("SELECT a, * FROM t", True),
        ("SELECT DISTINCT * FROM t", True),
        ("SELECT t.* FROM t", True),
        ("SELECT a * b FROM t", False),
        ("SELECT COUNT(*) FROM t", False),
    ):
        assert parse_select(text, "t").has_star is has_star, text


def test_joined_tables_are_versions_with_a_name_each():
    text = """SELECT f.*, w.x FROM "big-flights"@7 f INNER JOIN b@june AS w ON LEFT(f.k, 2) = w.k
    LEFT OUTER JOIN "c@2" USING (k) WHERE LEFT(f.k, 1) = 'a'"""
    found = parse_joins(text, "big-flights")
    assert [(one.reference, one.alias) for one in found.tables] == [
        ("big-flights@7", "f"),
        ("b@june", "w"),
        ("c@2", "c"),
    ]
    assert found.sql.split("\n")[0] == (
        'SELECT f.*, w.x FROM "big-flights@7" f INNER JOIN "b@june" AS w ON LEFT(f.k, 2) = w.k'
    )
    assert (found.is_by_row, found.has_star, found.text) == (True, True, text)


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("CROSS JOIN b@1", "'CROSS JOIN' after its table"),
        ("RIGHT JOIN b@1 USING (k)", "'RIGHT JOIN' after its table"),
        ("LEFT b@1 USING (k)", "'LEFT' after its table"),
        ("NATURAL JOIN b@1", "'NATURAL JOIN' after"),
        (", b@1", "',' after its table"),
        ("JOIN b@1 USING (k), c", "',' after its table"),
        ("JOIN b@1 ON a.k = b.k, read_csv('/etc/passwd')", "',' after its table"),
        ("JOIN b@1", "joins b@1 without saying by which columns"),
        ("JOIN b@1 ON TRUE", "joins b@1 without saying by which columns"),
        ("JOIN read_csv('/etc/passwd') ON a.k = b.k", "joins read_csv without saying"),
        ("JOIN b@1 ON a.k = read_csv('/etc/passwd')", "calls read_csv"),
        ("JOIN (SELECT * FROM b) USING (k)", "not exactly one SELECT"),
        ("JOIN b@ USING (k)", "joins b@USING"),
        ("JOIN ON a.k = b.k", "'ON' where a dataset should be"),
        ("JOIN", "'nothing' where a dataset should be"),
        ("JOIN a@1 USING (k)", "two tables called a.*AS earlier"),
        ("JOIN b@1 USING (k) UNION ALL", "has UNION"),
        ("b c JOIN d USING (k)", "'c' after its table"),
    ],
)
def test_a_join_is_of_two_kinds_and_says_by_what(rest, told):
    with pytest.raises(InvalidInput, match=rf"(?s){told}"):
        parse_joins(f"SELECT a.k FROM a {rest}", "a")


def test_a_join_of_everything_with_everything_stops(
    stores: Stores, legs: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more rows are made than may be kept."""
    monkeypatch.setattr(select_module, "MAX_CELLS", 11)
    select = parse_joins(
        "SELECT a.rows, b.rows AS r FROM legs a JOIN legs@1 b USING (route)", "legs"
    )
    with pytest.raises(Refused, match="more than 5 rows"):
        list(select_module.select_frames(stores, legs, select, {"legs@1": legs}))
