"""Other engines read a dataset's own Delta table, by its log alone: DuckDB by its Delta extension
(delta-kernel), and Sail through Spark Connect. Neither has anything in common with what wrote it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

TYPES = {
    "duckdb": ("BIGINT", "TIMESTAMP WITH TIME ZONE", "DOUBLE", "VARCHAR", "BOOLEAN", "DATE"),
    "sail": ("bigint", "timestamp", "double", "string", "boolean", "date"),
}


@pytest.fixture(scope="session", params=["duckdb", "sail"])
def engine(request: pytest.FixtureRequest) -> Any:
    fixture = {"duckdb": "duckdb_reader", "sail": "sail"}[request.param]
    return request.param, request.getfixturevalue(fixture)


def test_the_newest_rows_and_their_types(workspace: Any, engine: Any) -> None:
    name, reader = engine
    found = reader.ask("delta", workspace.table("calls"))
    whole, time, double, text, yes, day = TYPES[name]
    assert found["columns"] == [
        *(["id", whole], ["began", time], ["minutes", double], ["who", text], ["paid", yes]),
        *(["born", day], ["cents", whole], ["ds", day]),
    ]
    assert sorted(found["rows"], key=lambda row: row["id"]) == workspace.expected[3]


def test_each_version_is_there(workspace: Any, engine: Any) -> None:
    _, reader = engine
    for version, expected in workspace.expected.items():
        number = workspace.delta_version(f"calls@{version}")
        assert reader.rows("delta", workspace.table("calls"), version=number) == expected


def test_a_table_that_was_replaced(workspace: Any, engine: Any) -> None:
    _, reader = engine
    table = workspace.table("plans")
    told = [(row["id"], row["price"]) for row in reader.rows("delta", table)]
    assert told == [(1, 10.0), (2, 7.5), (4, None)]
    before = reader.rows("delta", table, version=workspace.delta_version("plans@1"))
    assert [(row["id"], row["price"]) for row in before] == [(1, 5.0), (2, 7.5), (3, None)]


@pytest.mark.parametrize(
    ("where", "keeps"),
    [
        ("ds = DATE '2026-03-02'", lambda row: row["ds"] == "2026-03-02"),
        ("id >= 4 AND id < 7", lambda row: 4 <= row["id"] < 7),
        ("cents = 9007199254740998", lambda row: row["cents"] == 2**53 + 6),
        ("cents IS NULL", lambda row: row["cents"] is None),
        ("cents IS NOT NULL AND cents < 0", lambda row: (row["cents"] or 0) < 0),
        ("born < DATE '1964-01-01'", lambda row: (row["born"] or "9") < "1964"),
        ("minutes > 1e299", lambda row: (row["minutes"] or 0) > 1e299),
        ("minutes < 0", lambda row: (row["minutes"] or 0) < 0),
        ("who = '日本'", lambda row: row["who"] == "日本"),
        ("who IS NULL", lambda row: row["who"] is None),
        ("NOT paid", lambda row: row["paid"] is False),
        (
            "began >= TIMESTAMP '2026-03-04 00:00:00+00:00'",
            lambda row: row["began"] >= "2026-03-04",
        ),
    ],
)
def test_files_are_skipped_only_where_nothing_is(
    workspace: Any, engine: Any, where: str, keeps: Any
) -> None:
    """The log says of each file what is least, most and missing in it: we wrote that ourselves."""
    _, reader = engine
    expected = [row for row in workspace.expected[3] if keeps(row)]
    assert expected, "a filter that keeps nothing proves nothing"
    assert reader.rows("delta", workspace.table("calls"), where=where) == expected


def test_an_exported_delta_table(workspace: Any, engine: Any) -> None:
    name, reader = engine
    table = workspace.folder / f"left-{name}"
    workspace.seamline("data", "export", "calls@3", "--to", table, "--as", "delta")
    workspace.seamline("data", "export", "calls@2", "--to", table, "--as", "delta")
    assert reader.rows("delta", table) == workspace.expected[2]


def test_an_exported_folder_of_parquet(workspace: Any, engine: Any) -> None:
    name, reader = engine
    folder = workspace.folder / f"parquet-{name}"
    workspace.seamline("data", "export", "calls@2", "--to", folder)
    assert reader.rows("parquet", folder) == workspace.expected[2]


def test_what_spark_connect_wrote_is_a_source(workspace: Any, sail: Any, tmp_path: Path) -> None:
    """Appended to by Sail as Delta; each time, what came since is the next version."""
    table = workspace.folder / "sail"
    for version, ids in enumerate(((1, 2), (3,)), 1):
        rows = tmp_path / f"{version}.parquet"
        times = [datetime(2026, 3, one, 12, tzinfo=UTC) for one in ids]
        pl.DataFrame({"id": ids, "began": times, "who": ["Ada" for _ in ids]}).write_parquet(rows)
        sail.ask("write", table, rows=str(rows), form="delta")
        taken = workspace.seamline("data", "ingest", "from-sail")
        assert (taken["version"], taken["rows_added"]) == (version, len(ids))
    assert not workspace.seamline("data", "ingest", "from-sail")["is_new"]
    found = workspace.read("from-sail@2").sort("id")
    assert found["id"].to_list() == [1, 2, 3]
    assert found["began"].to_list() == [datetime(2026, 3, one, 12, tzinfo=UTC) for one in (1, 2, 3)]
