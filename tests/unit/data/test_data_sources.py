from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import polars as pl
import pytest

from seamline.data.sources import Format, parse_delivery, read_delivery
from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput, NotFound

CSV = b"id,distance\n1,12.5\n2,n/a\n"


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
    filename: str, data: bytes, expected: Format, tmp_path: Path
) -> None:
    path = tmp_path / filename
    path.write_bytes(data)
    delivery = read_delivery(path)
    assert delivery.format is expected
    assert delivery.digest == digest_of(data)
    assert delivery.is_text == (expected in (Format.CSV, Format.TSV))
    assert delivery.frame["id"].cast(pl.Int64).to_list() == [1, 2]
    assert delivery.frame["distance"].to_list() == ["12.5", "n/a"]


def test_values_of_a_csv_stay_as_they_are_written() -> None:
    data = b'\xef\xbb\xbfa,b\r\n007,\r\n"",NA\r\n"x, ""y""\nz",1e3\r\n'
    frame = parse_delivery(data, "a.csv", "a.csv").frame
    assert frame.to_dict(as_series=False) == {"a": ["007", "", 'x, "y"\nz'], "b": ["", "NA", "1e3"]}


@pytest.mark.parametrize(
    ("filename", "data", "told"),
    [
        ("a.csv", b"", "Empty CSV file"),
        ("a.csv", b"a,b\n", "holds no rows"),
        ("a.csv", b"a,b\n1,2\n3\n", "Expected 2 columns, got 1"),
        ("a.csv", b"a,b\n1,2,3\n", "Expected 2 columns, got 3"),
        ("a.csv", b"a,a\n1,2\n", "column names"),
        ("a.csv", b"a,\n1,2\n", "column names"),
        ("a.csv", b"a,b\n1,\xff\n", "(?i)utf"),
        ("a.csv", b'a,b\n1,"x\n3,4\n', "never closed"),
        ("a.jsonl", b'{"a": 1}\nnonsense\n', "line 2 is not a JSON object: 'nonsense'"),
        ("a.json", b'[{"a": 1}]', "line 1 is not a JSON object"),
        ("a.parquet", b"PAR1 and no more", "parquet"),
        ("a.csv.gz", gzip.compress(CSV)[:20], "cannot be unpacked"),
        ("a.zip", zipped(a=CSV, b=CSV), "holds 2 files: a, b"),
        ("a.zip", zipped(a=CSV)[:30], "cannot be unpacked"),
    ],
)
def test_errors_name_the_file_and_what_is_wrong(filename: str, data: bytes, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        parse_delivery(data, filename, "s3://in/delivery")
    assert "s3://in/delivery" in caught.value.message


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no file"):
        read_delivery(tmp_path / "none.csv")
    with pytest.raises(InvalidInput, match="is not a file"):
        read_delivery(tmp_path)


def test_json_lines_with_mixed_types_lose_no_value() -> None:
    data = b'{"a": 12.5}\n{"a": "n/a"}\n{"b": true}\n'
    frame = parse_delivery(data, "a.jsonl", "a").frame
    assert frame["a"].to_list() == ["12.5", "n/a", None]
