from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.data.checking.sample import Sample
from seamline.data.writing.days import DayFiles, Limits
from seamline.data.writing.parquet import describe
from seamline.data.writing.spill import Spill
from seamline.measure.basis import make_basis
from seamline.measure.profiles import profile_frame, profile_partitions, sum_profiles

ROWS = 600
START = date(2026, 1, 1)
#: Days in no order; texts of very different lengths, some missing.
FRAME = pl.DataFrame(
    {
        "n": range(ROWS),
        "x": [None if n % 11 == 0 else n * 0.5 for n in range(ROWS)],
        "s": [None if n % 13 == 0 else "ab"[n % 2] * (n % 29) for n in range(ROWS)],
        "ds": [START + timedelta(days=n * 7919 % 5) for n in range(ROWS)],
    }
)
BASIS = make_basis(FRAME.drop("ds"))
SMALL = Limits(file_cells=4 * 50, file_text_bytes=400, waiting_bytes=2_000)


def written(folder: Path, frames: list[pl.DataFrame], limits: Limits) -> DayFiles:
    folder.mkdir(exist_ok=True)
    with DayFiles(folder, BASIS, "d", limits) as files:
        for frame in frames:
            files.add(frame)
        files.finish()
    return files


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, ROWS), max_size=8))
def test_files_do_not_depend_on_how_rows_came_in_batches(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    edges = [0, *sorted(cuts), ROWS]
    frames = [FRAME.slice(a, b - a) for a, b in pairwise(edges)]
    folder = tmp_path_factory.mktemp("files")
    whole = written(folder / "whole", [FRAME], SMALL)
    split = written(folder / "split", frames, SMALL)
    names = [
        [(one.file.partition, one.file.sha256) for one in made.files] for made in (whole, split)
    ]
    assert sorted(names[0]) == sorted(names[1])
    assert whole.profiles == split.profiles


@pytest.mark.parametrize("limits", [SMALL, Limits(), Limits(waiting_bytes=1)])
def test_every_row_is_in_one_file_of_its_day_in_order(tmp_path: Path, limits: Limits) -> None:
    made = written(tmp_path / "f", list(FRAME.iter_slices(37)), limits)
    for day in range(5):
        at = START + timedelta(days=day)
        files = [one for one in made.files if one.file.partition == at.isoformat()]
        read = pl.concat(pl.read_parquet(tmp_path / "f" / one.name) for one in files)
        assert read.equals(FRAME.filter(pl.col("ds") == at).drop("ds"))
        assert [one.file.rows for one in files] == [
            pl.read_parquet(tmp_path / "f" / one.name).height for one in files
        ]
    assert made.profiles == profile_partitions(FRAME.drop("ds"), BASIS, FRAME["ds"])
    assert sum_profiles(made.profiles.values()) == profile_frame(FRAME.drop("ds"), BASIS)


@pytest.mark.parametrize("limits", [SMALL, Limits()])
def test_rows_that_come_day_by_day_wait_for_none(tmp_path: Path, limits: Limits) -> None:
    """Files are those that they would be otherwise; a row that comes late has one more."""
    in_order = FRAME.sort("ds", maintain_order=True)
    frames = list(in_order.iter_slices(37))
    waited = written(tmp_path / "waited", frames, limits)
    (tmp_path / "f").mkdir()
    with DayFiles(tmp_path / "f", BASIS, "d", limits, in_days=True) as files:
        for frame in frames:
            files.add(frame)
        early = {path.name for path in (tmp_path / "f").glob("*.parquet")}
        files.add(in_order.head(1))
        files.finish()
    assert early
    late = [one for one in files.files if one.file.rows == 1]
    assert len(late) >= 1
    names = [
        sorted((one.file.partition, one.file.sha256) for one in made)
        for made in (waited.files, files.files)
    ]
    assert set(names[0]) < set(names[1])
    assert len(names[1]) == len(names[0]) + 1
    assert sum_profiles(files.profiles.values()) == profile_frame(
        pl.concat([in_order, in_order.head(1)]).drop("ds"), BASIS
    )


def test_files_hold_no_more_than_their_limits(tmp_path: Path) -> None:
    made = written(tmp_path / "f", [FRAME], SMALL)
    for one in made.files:
        read = pl.read_parquet(tmp_path / "f" / one.name)
        assert read.height <= 50
        assert read["s"].str.len_bytes().sum() <= 400


def test_a_text_longer_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    frame = FRAME.head(4).with_columns(s=pl.Series(["a", "b" * 5_000, "c", "d"]), ds=pl.lit(START))
    made = written(tmp_path / "f", [frame], SMALL)
    assert [one.file.rows for one in made.files] == [1, 1, 2]


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, ROWS), max_size=8))
def test_a_sample_does_not_depend_on_how_rows_came_in_batches(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), ROWS]
    split, whole = Sample(most_rows=100), Sample(most_rows=100)
    whole.add(FRAME)
    for a, b in pairwise(edges):
        split.add(FRAME.slice(a, b - a))
    assert split.frame().equals(whole.frame())
    assert 25 < whole.frame().height <= 100
    assert not whole.is_whole


def test_files_are_described_one_by_one_or_many_at_once() -> None:
    """Columns without an order, without a value, without rows; a name that reads as one of ours."""
    frame = pl.DataFrame(
        {
            "low n": [3, None, 1, None],
            "d": [START, None, START + timedelta(days=1), START],
            "s": ["a", None, "c", "é"],
        }
    )
    assert describe(frame, [2, 0, 2]) == [
        '{"numRecords":2,"minValues":{"low n":3,"d":"2026-01-01"},'
        '"maxValues":{"low n":3,"d":"2026-01-01"},"nullCount":{"low n":1,"d":1,"s":1}}',
        '{"numRecords":0,"minValues":{},"maxValues":{},"nullCount":{"low n":0,"d":0,"s":0}}',
        '{"numRecords":2,"minValues":{"low n":1,"d":"2026-01-01"},'
        '"maxValues":{"low n":1,"d":"2026-01-02"},"nullCount":{"low n":1,"d":0,"s":0}}',
    ]
    for columns in (["s"], ["low n"], ["d"], ["s", "d"]):
        some = frame.select(columns)
        alone = [describe(some.slice(at, 2), [2])[0] for at in (0, 2)]
        assert describe(some, [2, 2]) == alone
    assert describe(frame.head(0), [0]) == describe(frame, [2, 0, 2])[1:2]


def test_what_waits_on_disk_comes_back_plain_or_compressed(tmp_path: Path) -> None:
    """Compressed from the first `put` on that finds too much there."""
    spill = Spill(tmp_path, plain_bytes=1)
    rows = pl.DataFrame({"n": [7] * 10_000, "s": ["seven"] * 10_000})
    for _ in range(2):
        spill.put({"mon": rows, "tue": rows.head(3)})
    plain, packed = sorted(tmp_path.iterdir())
    assert packed.stat().st_size < plain.stat().st_size / 3
    assert pl.concat(spill.take("mon")).equals(pl.concat([rows, rows]))
    assert pl.concat(spill.take("tue")).equals(pl.concat([rows.head(3), rows.head(3)]))
    assert list(spill.take("mon")) == []
