from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.data.sources.batches import Delivery, spool
from seamline.data.sources.files import Format, detect_format, open_file
from seamline.data.sources.json_lines import JsonLines
from seamline.data.sources.separated import Separated
from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput, NotFound

CSV = b"id,distance\n1,12.5\n2,n/a\n"

Opener = Callable[[str, bytes], Delivery]


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def written(kind: str) -> bytes:
    buffer = io.BytesIO()
    frame = pl.DataFrame({"id": [1, 2], "distance": ["12.5", "n/a"]})
    getattr(frame, kind)(buffer)
    return buffer.getvalue()


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    def open_it(filename: str, data: bytes) -> Delivery:
        path = tmp_path / filename
        path.write_bytes(data)
        folder = tmp_path / "own"
        folder.mkdir(exist_ok=True)
        return open_file(path, folder, name="s3://in/delivery")

    return open_it


def rows(delivery: Delivery) -> dict[str, list[Any]]:
    return pl.concat(delivery.batches()).to_dict(as_series=False)


@pytest.mark.parametrize(
    ("filename", "data", "expected"),
    [
        ("a.csv", CSV, Format.CSV),
        ("a", CSV, Format.CSV),
        ("a.csv.gz", gzip.compress(CSV), Format.CSV),
        ("a.zip", zipped(flights=CSV), Format.CSV),
        ("a.tsv", CSV.replace(b",", b"\t"), Format.TSV),
        ("a", written("write_parquet"), Format.PARQUET),
        ("a.jsonl", written("write_ndjson"), Format.JSON_LINES),
        ("a", written("write_ndjson"), Format.JSON_LINES),
        ("a", written("write_ipc"), Format.ARROW),
        ("a", written("write_ipc_stream"), Format.ARROW_STREAM),
    ],
)
def test_every_format_by_its_bytes_or_its_suffix(
    filename: str, data: bytes, expected: Format, opened: Opener
) -> None:
    delivery = opened(filename, data)
    if filename[-3:] not in (".gz", "zip"):
        assert detect_format(data, filename) is expected
    assert delivery.digest == digest_of(data)
    assert delivery.is_text == (expected in (Format.CSV, Format.TSV))
    for _ in range(2):  # it can be read again
        frame = pl.concat(delivery.batches())
        assert frame.schema == delivery.schema
        assert frame["id"].cast(pl.Int64).to_list() == [1, 2]
        assert frame["distance"].to_list() == ["12.5", "n/a"]


def test_values_of_a_csv_stay_as_they_are_written(opened: Opener) -> None:
    delivery = opened("a.csv", b'\xef\xbb\xbfa,b\r\n007,\r\n"",NA\r\n"x, ""y""\nz",1e3\r\n')
    assert rows(delivery) == {"a": ["007", "", 'x, "y"\nz'], "b": ["", "NA", "1e3"]}


def test_lines_may_end_as_on_old_computers(opened: Opener) -> None:
    assert rows(opened("a.csv", b"a,b\r1,2\r3,4\r")) == {"a": ["1", "3"], "b": ["2", "4"]}


@pytest.mark.parametrize(
    ("filename", "data", "told"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"a,b\n1,2\n3\n", "line 3 has 1 value and the header 2: '3'"),
        ("a.csv", b"a,b\n1,2,3\n", "line 2 has 3 values and the header 2: '1,2,3'"),
        ("a.csv", b'a,b\n"1\n1",2\n\n3\n', "line 5 has 1 value"),
        ("a.csv", b"a,a\n1,2\n", "column names that are not one each: 'a'"),
        ("a.csv", b"a,\n1,2\n", "column names"),
        ("a.csv", b"a,b\n1,2\n1,Z\xfcrich\n", "line 3 is not UTF-8 .byte 0xfc after '1,Z'"),
        ("a.csv", b"na\xefve,b\n1,2\n", "line 1 is not UTF-8"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "is UTF-16, not UTF-8"),
        ("a.csv", b'a,b\n1,"x\n3,4\n', "never closed: the value that begins on line 2"),
        ("a.csv", b'"a,b\n3,4\n', "never closed: the value that begins on line 1"),
        ("a.jsonl", b'{"a": 1}\n\nnonsense\n', "line 3 is not a JSON object: 'nonsense'"),
        ("a.json", b'[{"a": 1}]', "line 1 is not a JSON object"),
        ("a.parquet", b"PAR1 and no more", "was cut off"),
        ("a.parquet", written("write_parquet")[:-20], "was cut off"),
        ("a.arrow", written("write_ipc")[:300], "cannot be read as arrow"),
        ("a.arrow", written("write_ipc_stream")[:200], "cannot be read as arrow stream"),
        ("a.csv.gz", gzip.compress(CSV)[:20], "cannot be unpacked"),
        ("a.zip", zipped(a=CSV, b=CSV), "holds 2 files: a, b"),
        ("a.zip", zipped(a=CSV)[:30], "cannot be unpacked"),
    ],
)
def test_errors_name_the_file_and_what_is_wrong(
    filename: str, data: bytes, told: str, opened: Opener
) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        rows(opened(filename, data))
    assert "s3://in/delivery" in caught.value.message


def damaged(data: bytes, draws: random.Random) -> bytes:
    altered = bytearray(data)
    for _ in range(draws.choice((1, 2, 8))):
        altered[draws.randrange(len(altered))] = draws.choice((0, 0x7F, 0x80, 0xFF))
    return bytes(altered)


@pytest.mark.parametrize("kind", ["write_ipc", "write_ipc_stream"])
def test_damaged_arrow_is_read_or_refused_and_ends_no_process(kind: str, opened: Opener) -> None:
    """Its numbers say where in memory values lie: without a look at them the process would end."""
    buffer = io.BytesIO()
    texts = ["x" * length for length in range(50)]
    getattr(pl.DataFrame({"id": range(50), "text": texts}), kind)(buffer)
    draws, refused = random.Random(20261122), 0
    for _ in range(200):
        try:
            rows(opened("a", damaged(buffer.getvalue(), draws)))
        except InvalidInput:
            refused += 1
    assert 50 < refused < 200


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no file"):
        open_file(tmp_path / "none.csv", tmp_path)
    with pytest.raises(InvalidInput, match="is not a file"):
        open_file(tmp_path, tmp_path)


VALUES = st.text(st.sampled_from('ab,"\n\r é'), max_size=6)


@settings(deadline=None)
@given(
    table=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8),
    block_bytes=st.integers(1, 40),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_csv_reads_the_same_in_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[tuple[str, str]],
    block_bytes: int,
    end: str,
) -> None:
    lines = [("a", "b"), *table]
    quoted = [",".join('"' + value.replace('"', '""') + '"' for value in line) for line in lines]
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes((end.join(quoted) + end).encode())
    read = pl.concat(Separated(path, "a", ",", block_bytes).batches())
    assert read.rows() == table


@pytest.mark.parametrize("bad", [1, 700, 999])
def test_a_bad_line_has_its_own_number_in_any_block(tmp_path: Path, bad: int) -> None:
    lines = [f'{n},"two\nlines"' for n in range(1000)]
    lines[bad] = "only one"
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["a,b", *lines]))
    number = 2 + 2 * bad
    with pytest.raises(InvalidInput, match=f"line {number} has 1 value"):
        list(Separated(path, "a", ",", 512).batches())


def test_json_lines_with_mixed_types_lose_no_value(opened: Opener) -> None:
    data = b'{"a": 12.5}\n{"a": "n/a"}\n{"b": true}\n'
    assert rows(opened("a.jsonl", data))["a"] == ["12.5", "n/a", None]


JSON = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(0, 1), st.sampled_from(["x", "7"])
)


@settings(deadline=None)
@given(values=st.lists(JSON, min_size=1, max_size=12), block_bytes=st.integers(1, 30))
def test_json_lines_read_the_same_in_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], block_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.jsonl"

    path.write_text("".join(json.dumps({"at": n, "v": v}) + "\n" for n, v in enumerate(values)))
    read = []
    for size in (block_bytes, 1 << 20):
        source = JsonLines(path, "a", size)
        read.append(pl.concat(source.batches(source.schema())))
    assert read[0].equals(read[1])
    kept = read[0]["v"]
    assert kept.is_null().to_list() == [value is None for value in values]


def test_categories_become_plain_strings(opened: Opener) -> None:
    buffer = io.BytesIO()
    table = pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode()})
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    delivery = opened("a.arrow", buffer.getvalue())
    assert delivery.schema == {"a": pl.String()}
    assert rows(delivery) == {"a": ["x", "y", "x"]}


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 5_000), max_size=6))
def test_a_spool_is_the_same_however_its_rows_came(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    frame = pl.DataFrame(
        {"n": range(5_000), "s": [None if n % 7 == 0 else f"text {n}" for n in range(5_000)]}
    )
    edges = [0, *sorted(cuts), frame.height]
    parts = [frame.slice(a, b - a) for a, b in pairwise(edges)]
    folder = tmp_path_factory.mktemp("spool")
    whole = spool([frame], folder / "whole", name="n", asked="SELECT 1")
    split = spool(parts, folder / "split", name="n", asked="SELECT 1")
    assert split.digest == whole.digest
    assert split.rows == 5_000
    assert pl.concat(split.batches()).equals(frame)
    other = spool([frame], folder / "other", name="n", asked="SELECT 2")
    assert other.digest != whole.digest


def test_a_spool_of_nothing_and_one_that_changes_its_columns(tmp_path: Path) -> None:
    assert list(spool([], tmp_path / "a", name="n", asked="q").batches()) == []
    empty = spool([pl.DataFrame(schema={"a": pl.Int64})], tmp_path / "b", name="n", asked="q")
    assert empty.schema == {"a": pl.Int64()}
    assert empty.rows == 0
    frames = [pl.DataFrame({"a": [1]}), pl.DataFrame({"a": ["x"]})]
    with pytest.raises(InvalidInput, match="changes its columns on the way"):
        spool(frames, tmp_path / "c", name="n", asked="q")
