"""Values, names and files that people do deliver: what cannot be held is said, nothing is bent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import IngestResult, ingest
from seamline.data.versions import read_version
from seamline.domain.errors import InvalidInput
from seamline.measure.contracts import Policy
from seamline.store.stores import Stores

LONG = (12345678901234567890, 12345678901234567891)


class Desk:
    """Takes files in, as datasets of one column more or less."""

    def __init__(self, stores: Stores, folder: Path) -> None:
        self._stores, self._folder = stores, folder

    def take(self, filename: str, content: bytes | str | pa.Table, **declared: Any) -> IngestResult:
        path = self._folder / f"{len(list(self._folder.iterdir()))}-{filename}"
        if isinstance(content, pa.Table):
            parquet.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        declaration = DatasetDeclaration("shop", **declared)
        return ingest(self._stores, declaration, path, source=filename, by="ada")

    def rows(self, taken: IngestResult) -> list[dict[str, Any]]:
        return read_version(self._stores, taken.version).drop("ds").to_dicts()


@pytest.fixture
def desk(stores: Stores, tmp_path: Path) -> Desk:
    (tmp_path / "in").mkdir()
    return Desk(stores, tmp_path / "in")


def test_numbers_of_more_digits_than_a_float_has_stay_what_they_are(desk: Desk) -> None:
    taken = desk.take("a.csv", f"id,n\n{LONG[0]},1\n{LONG[1]},2\n", keys=("id",))
    assert dict(taken.version.schema) == {"id": "string", "n": "int"}
    assert [row["id"] for row in desk.rows(taken)] == [str(one) for one in LONG]


def test_and_so_they_do_where_a_fraction_comes_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seamline.data.sources.files.BLOCK_BYTES", 64)
    monkeypatch.setattr("seamline.data.sources.files._BLOCK_BYTES_PER_COLUMN", 1)
    wholes = "".join(f"{2**53 + 1 + 2 * at}\n" for at in range(20))
    taken = desk.take("a.csv", f"n\n{wholes}1.5\n")
    assert dict(taken.version.schema) == {"n": "string"}
    assert desk.rows(taken)[0] == {"n": str(2**53 + 1)}


def test_whole_numbers_that_a_float_holds_may_be_of_fractions(desk: Desk) -> None:
    taken = desk.take("a.csv", f"n\n{10**20}\n{2**60}\n1.5\n")
    assert desk.rows(taken) == [{"n": 1e20}, {"n": 2.0**60}, {"n": 1.5}]


def test_nor_do_they_lose_digits_when_the_table_becomes_wider(desk: Desk) -> None:
    desk.take("a.csv", f"id,n\n{2**53 + 1},1\n", on_breach=Policy.WARN)
    taken = desk.take("b.csv", "id,n\n1.5,1.5\n", on_breach=Policy.WARN)
    assert dict(taken.version.schema) == {"id": "string", "n": "float"}
    assert [row["id"] for row in desk.rows(taken)] == [str(2**53 + 1), "1.5"]


def test_days_of_the_year_1_are_days(desk: Desk) -> None:
    taken = desk.take("a.csv", "id,until\n1,0001-01-01\n2,9999-12-31\n")
    assert [row["until"] for row in desk.rows(taken)] == [date(1, 1, 1), date(9999, 12, 31)]


def test_what_is_no_year_in_utc_is_no_time(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="'0001-01-01T00:00:00'"):
        desk.take("a.csv", "at\n0001-01-01T00:00:00\n", time="at", zone="Asia/Tokyo")


NESTED: Mapping[str, list[Any]] = {
    "tags": [["a", None], None],
    "of": [{"x": 1}, {"x": None}],
    "at": [time(8, 30, 0, 250_000), None],
}


@pytest.mark.parametrize("policy", [None, Policy.WARN])
def test_nested_values_are_json_and_times_of_day_text(desk: Desk, policy: Policy | None) -> None:
    taken = desk.take("a.parquet", pa.table(NESTED), on_breach=policy)
    assert desk.rows(taken) == [
        {"tags": '["a",null]', "of": '{"x":1}', "at": "08:30:00.250"},
        {"tags": None, "of": '{"x":null}', "at": None},
    ]


def test_nested_json_stays_json(desk: Desk) -> None:
    lines = '{"a": 1, "of": {"x": [1]}}\n{"a": 2, "of": {"y": "z"}}\n{"a": 3, "of": null}\n'
    assert [row["of"] for row in desk.rows(desk.take("a.jsonl", lines))] == [
        '{"x": [1]}',
        '{"y": "z"}',
        None,
    ]


def test_long_numbers_of_json_keep_their_digits(desk: Desk) -> None:
    taken = desk.take("a.jsonl", "".join(f'{{"id": {one}}}\n' for one in LONG))
    assert [row["id"] for row in desk.rows(taken)] == [str(one) for one in LONG]


def test_a_byte_order_mark_belongs_to_no_line(desk: Desk) -> None:
    assert desk.rows(desk.take("a.jsonl", '\ufeff{"a": 1}\n')) == [{"a": 1}]


def test_decimals_without_a_fraction_are_whole_numbers(desk: Desk) -> None:
    ids = pa.array([Decimal(2**53 + 1), None], pa.decimal128(38, 0))
    taken = desk.take("a.parquet", pa.table({"id": ids}))
    assert desk.rows(taken) == [{"id": 2**53 + 1}, {"id": None}]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (pa.array([b"\xff", None]), "'x' has bytes"),
        (pa.array([[b"a"], None]), "'x' has bytes"),
        (pa.array([timedelta(1), None]), "'x' has durations"),
        (pa.array([2**63, 1], pa.uint64()), "more than 64 bits .9223372036854775808."),
        (pa.array([Decimal(10**30)], pa.decimal128(38, 0)), "more than 64 bits .1000000"),
        (pa.array([2**62], pa.timestamp("us")), "outside of the years 1 to 9999"),
        (pa.array([2**30], pa.date32()), "outside of the years 1 to 9999"),
    ],
)
@pytest.mark.parametrize("policy", [None, Policy.WARN])
def test_what_no_dataset_holds_is_named(
    desk: Desk, values: pa.Array, told: str, policy: Policy | None
) -> None:
    with pytest.raises(InvalidInput, match=f"a.parquet: column .*{told}"):
        desk.take("a.parquet", pa.table({"x": values}), on_breach=policy)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,Id\n1,2\n", "not one each: 'id', 'Id'"),
        ("id,DS\n1,2\n", "'DS' is called like 'ds'"),
        ("a\0b,c\n1,2\n", "not one each: 'a.x00b'"),
        ("a;b\n1;2\n", "separated by ';'"),
        ("a\tb\n1\t2,5\n", "separated by '.t'"),
    ],
)
def test_headers_that_no_table_can_have(desk: Desk, content: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        desk.take("a.csv", content)


def test_one_column_may_have_any_name_in_quotes(desk: Desk) -> None:
    assert desk.rows(desk.take("a.csv", '"a;b"\n1\n')) == [{"a;b": 1}]


def test_a_line_with_nan_is_named(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match=r"line 2 is not a JSON object: '\{.a.: NaN\}'"):
        desk.take("a.jsonl", '{"a": 1.5}\n{"a": NaN}\n')


def test_the_day_may_be_called_as_the_partition_is(desk: Desk, stores: Stores) -> None:
    declared = {"time": "ds", "keys": ("id", "ds")}
    desk.take("a.csv", "id,ds\n1,2025-03-01\n", **declared)
    taken = desk.take("b.csv", "id,ds\n1,2025-03-02\n", **declared)
    assert read_version(stores, taken.version).rows() == [
        (1, date(2025, 3, 1)),
        (1, date(2025, 3, 2)),
    ]
    with pytest.raises(InvalidInput, match="'ds' holds times, and no days"):
        desk.take(
            "c.parquet", pa.table({"id": [1], "ds": [datetime(2025, 3, 3, tzinfo=UTC)]}), **declared
        )


def test_names_are_only_names(desk: Desk) -> None:
    header = ["a b", "ü", "😀", "select", ";drop table x--", 'q"q', "a/b", "__index", "day"]
    frame = pl.DataFrame({name: [at] for at, name in enumerate(header)})
    assert desk.rows(desk.take("a.csv", frame.write_csv())) == frame.to_dicts()


NOON = datetime(2025, 3, 1, 17, tzinfo=UTC)  # in New York


@pytest.mark.parametrize(
    "ended",
    [
        ["2025-03-01T12:00:00", "2025-03-01T17:00:00Z", "2025-03-01 18:00:00+01:00", None],
        [datetime(2025, 3, 1, 12), None],
        [datetime(2025, 3, 1, 17, tzinfo=UTC), None],
    ],
)
def test_a_time_without_an_offset_is_of_the_zone_in_every_column(
    desk: Desk, ended: list[Any]
) -> None:
    table = pa.table({"at": [date(2025, 3, 1)] * len(ended), "ended": ended})
    declared = {"time": "at", "zone": "America/New_York"}
    text = isinstance(ended[0], str)
    content = pl.DataFrame(table).write_csv() if text else table
    taken = desk.take("a.csv" if text else "a.parquet", content, **declared)
    assert [row["ended"] for row in desk.rows(taken)] == [NOON] * (len(ended) - 1) + [None]
