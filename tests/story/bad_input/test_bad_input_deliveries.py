"""Deliveries that are broken: refused as a whole, named by column and day, and cleared away."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

HEADER = "day,temperature,weekend,sold\n"
GOOD = HEADER + "".join(f"2026-06-{day:02},20.5,0,100\n" for day in range(1, 10))

CONTRACT = {
    "missing.csv": (
        "day,temperature,weekend\n2026-06-01,20,0\n",
        ["sold: the column is missing; the contract expects int."],
    ),
    "extra.csv": (
        "day,temperature,weekend,sold,rain\n2026-06-01,20,0,1,0\n",
        ["rain: the column is not in the contract."],
    ),
    "renamed.csv": (
        "day,temprature,weekend,sold\n2026-06-01,20,0,1\n",
        ["temperature: the column is missing; the contract expects float."],
    ),
    "text.csv": (
        HEADER + "2026-06-01,20,0,1\n2026-06-02,warm,0,1\n",
        ["temperature: 1 of 2 values are not float, e.g. 'warm'; first bad day 2026-06-02."],
    ),
    "fraction.csv": (
        HEADER + "2026-06-01,20,0,1.5\n",
        ["sold: 1 of 1 values are not int, e.g. '1.5'; first bad day 2026-06-01."],
    ),
    "huge-number.csv": (
        HEADER + "2026-06-01,20,0,99999999999999999999999\n",
        ["sold: 1 of 1 values are not int"],
    ),
    "line.csv": (
        HEADER + "2026-06-01," + "9" * 20_000_000 + ",0,1\n",
        ["temperature: 1 of 1 values are not float, e.g. '99999"],
    ),
    "nul.csv": (HEADER + "2026-06-01,20\0,0,1\n", ["temperature: 1 of 1 values are not float"]),
}

UNREADABLE = {
    "empty.csv": (b"", "empty.csv is empty."),
    "header.csv": (HEADER.encode(), "header.csv holds no rows. Deliver at least one row."),
    "binary.csv": (bytes(range(128, 256)) * 40, "line 1 is not UTF-8 (byte 0x80 after '')"),
    "latin.csv": (
        HEADER.encode() + b"2026-06-01,2\xe9,0,1\n",
        "latin.csv cannot be read: line 2 is not UTF-8 (byte 0xe9 after '2026-06-01,2')",
    ),
    "ragged.csv": (HEADER.encode() + b"2026-06-01,20,0\n", "line 2 has 3 values and the header 4"),
    "quote.csv": (
        HEADER.encode() + b'2026-06-01,20,0,"1\n',
        "a double quote is never closed: the value that begins on line 2",
    ),
    "twice.csv": (b"day,day\n2026-06-01,1\n", "column names that are not one each: 'day'"),
    "half.csv.gz": (gzip.compress(GOOD.encode())[:60], "half.csv.gz cannot be unpacked: "),
    "text.parquet": (GOOD.encode(), "text.parquet cannot be read as parquet: "),
    "text.jsonl": (GOOD.encode(), "text.jsonl cannot be read as "),
    "day.csv": (
        HEADER.encode() + b"never,20,0,1\n",
        "the day of 1 of 1 rows cannot be told from day, e.g. 'never'.",
    ),
    "no-day.csv": (
        b"when,temperature,weekend,sold\n2026-06-01,20,0,1\n",
        "Dataset sales declares the column 'day'; the delivery has none of that name.",
    ),
}


@pytest.mark.parametrize("name", CONTRACT)
def test_bad_input_deliveries_that_break_the_contract(
    kiosk: Any, tmp_path: Path, name: str
) -> None:
    text, sentences = CONTRACT[name]
    (tmp_path / name).write_text(text)
    with kiosk.untouched():
        said = kiosk.person.is_refused("data", "ingest", "sales", str(tmp_path / name))
    assert said.startswith(
        f"refused: {name} breaks the contract of dataset sales and was refused:\n"
    )
    assert [sentence for sentence in sentences if sentence not in said] == []
    assert said.endswith("Correct the delivery and send it again; the dataset is as it was.")


@pytest.mark.parametrize("name", UNREADABLE)
def test_bad_input_deliveries_that_cannot_be_read(kiosk: Any, tmp_path: Path, name: str) -> None:
    data, sentence = UNREADABLE[name]
    (tmp_path / name).write_bytes(data)
    with kiosk.untouched():
        said = kiosk.person.is_refused("data", "ingest", "sales", str(tmp_path / name))
    assert said.startswith("invalid_input: ")
    assert sentence in said
    assert len(said) < 500
