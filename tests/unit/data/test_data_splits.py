from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date, timedelta
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.data.splits.assign import assign_splits
from seamline.data.splits.definition import SplitBy, SplitsDeclaration
from seamline.data.splits.materialize import materialize_split
from seamline.data.splits.read import Split, find_split, list_splits, read_split_frames
from seamline.data.versions import DatasetVersion, read_version
from seamline.domain.errors import InvalidInput, NotFound
from seamline.store.facts import read_facts
from seamline.store.stores import Stores

SHARES = {"train": 0.6, "dev": 0.2, "test": 0.2}
BY_KEY = SplitsDeclaration(SplitBy.KEY, SHARES, keys=("id",))
DAYS = {"train": "2013-01-03", "dev": "2013-01-05"}

Rows = list[tuple[int, int, str | None]]
ROWS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 9), st.sampled_from(["a", "b", None])), min_size=1
)


def frame_of(rows: Rows) -> pl.DataFrame:
    ids, days, labels = zip(*rows, strict=True)
    first = date(2013, 1, 1)
    return pl.DataFrame(
        {"id": ids, "label": labels, "ds": [first + timedelta(days=day) for day in days]},
        schema={"id": pl.Int64, "label": pl.String, "ds": pl.Date},
    )


DEFINITIONS = [
    BY_KEY,
    dataclasses.replace(BY_KEY, stratify="label"),
    dataclasses.replace(BY_KEY, by=SplitBy.TIME),
    SplitsDeclaration(SplitBy.TIME, until=DAYS, rest="test", keys=("id",)),
]


@pytest.mark.parametrize("definition", DEFINITIONS)
@given(rows=ROWS)
@settings(deadline=None)
def test_no_key_is_in_two_splits_and_order_does_not_matter(
    definition: SplitsDeclaration, rows: Rows
) -> None:
    frame = frame_of(rows)
    places = assign_splits(frame, definition)
    assert ((places >= 0) & (places < 3)).all()
    placed = frame.with_columns(pl.Series("place", places))
    assert placed.group_by("id").agg(pl.col("place").n_unique())["place"].max() == 1
    order = np.random.default_rng(7).permutation(frame.height)
    assert assign_splits(frame[order], definition).tolist() == places[order].tolist()


@given(rows=ROWS, more=ROWS)
@settings(deadline=None)
def test_a_key_stays_in_its_split_when_rows_are_added(rows: Rows, more: Rows) -> None:
    before = assign_splits(frame_of(rows), BY_KEY)
    after = assign_splits(frame_of(rows + more), BY_KEY)
    assert after[: len(rows)].tolist() == before.tolist()


@pytest.mark.parametrize("definition", DEFINITIONS)
@given(rows=ROWS)
@settings(deadline=None)
def test_a_key_stays_in_its_split_when_its_column_becomes_wider(
    definition: SplitsDeclaration, rows: Rows
) -> None:
    frame = frame_of(rows)
    wider = frame.with_columns(pl.col("id").cast(pl.Float64))
    assert assign_splits(wider, definition).tolist() == assign_splits(frame, definition).tolist()


@given(rows=ROWS)
@settings(deadline=None)
def test_by_time_nothing_before_a_cut_is_from_after_it(rows: Rows) -> None:
    frame = frame_of(rows)
    for keys in ((), ("id",)):
        definition = SplitsDeclaration(SplitBy.TIME, until=DAYS, rest="test", keys=keys)
        places = assign_splits(frame, definition)
        for number, day in enumerate(definition.days):
            latest = frame.filter(pl.Series(places == number))["ds"].max()
            assert latest is None or latest < day


def test_shares_are_met_and_another_seed_is_another_split() -> None:
    frame = frame_of([(n, 0, "a") for n in range(20_000)])
    places = assign_splits(frame, BY_KEY)
    shares = np.bincount(places) / len(places)
    assert np.abs(shares - np.array([0.6, 0.2, 0.2])).max() < 0.01
    other = assign_splits(frame, dataclasses.replace(BY_KEY, seed=1))
    assert 0.4 < (other == places).mean() < 0.5  # as if they were independent: 0.36 + 0.04 + 0.04


def test_strata_are_exact_to_one_key() -> None:
    rows: Rows = [(n, 0, "rare" if n % 50 == 0 else "common") for n in range(5_000)]
    definition = dataclasses.replace(BY_KEY, stratify="label")
    frame = frame_of(rows)
    placed = frame.with_columns(pl.Series("place", assign_splits(frame, definition)))
    for label, keys in (("rare", 100), ("common", 4_900)):
        counts = np.bincount(placed.filter(pl.col("label") == label)["place"], minlength=3)
        assert np.abs(counts - keys * np.array([0.6, 0.2, 0.2])).max() <= 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"by": SplitBy.KEY, "shares": {"train": 1.0}}, "two or more"),
        ({"by": SplitBy.KEY, "shares": {"train": 0.7, "test": 0.2}}, "do not add up to 1"),
        ({"by": SplitBy.KEY, "shares": {"train": 1.5, "test": -0.5}}, "do not add up to 1"),
        ({"by": SplitBy.TIME, "until": {"train": "May", "dev": "June"}, "rest": "x"}, "no day"),
        (
            {
                "by": SplitBy.TIME,
                "until": {"train": "2013-02-01", "dev": "2013-01-01"},
                "rest": "test",
            },
            "do not follow",
        ),
        ({"by": SplitBy.TIME, "until": {"train": "2013-02-01"}}, "two or more"),
        ({"by": SplitBy.KEY, "until": {"a": "2013-02-01"}, "rest": "b"}, "no days"),
        ({"by": SplitBy.TIME, "shares": SHARES, "stratify": "label"}, "cannot be stratified"),
        ({"by": SplitBy.KEY, "shares": {"a b": 0.5, "c": 0.5}}, "cannot be a tag"),
    ],
)
def test_what_cannot_be_declared(said: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        SplitsDeclaration(**said)  # type: ignore[arg-type]


# -- of stored versions ------------------------------------------------------------------------
@pytest.fixture
def declared(calls: DatasetDeclaration) -> DatasetDeclaration:
    return dataclasses.replace(calls, splits=SplitsDeclaration(SplitBy.KEY, SHARES))


@pytest.fixture
def version(
    stores: Stores, declared: DatasetDeclaration, deliver: Callable[[str], Path]
) -> DatasetVersion:
    for month in (1, 2):
        lines = [f"{month * 100 + n} 2013-0{month}-{n + 1:02}T12:00:00Z {n}.5" for n in range(20)]
        made = ingest(stores, declared, deliver("\n".join(lines)), source="a", by="ada").version
    return made


def ids_of(stores: Stores, split: Split) -> list[int]:
    return [one for frame in read_split_frames(stores, split, ["id"]) for one in frame["id"]]


def test_the_splits_of_a_version_are_its_rows_each_once(
    stores: Stores, version: DatasetVersion, declared: DatasetDeclaration
) -> None:
    splits = [find_split(stores, version, name, declared) for name in SHARES]
    ids = [ids_of(stores, split) for split in splits]
    assert sorted(chain.from_iterable(ids)) == read_version(stores, version)["id"].sort().to_list()
    assert [split.rows for split in splits] == [len(some) for some in ids]
    assert len({split.digest for split in splits}) == 3
    assert list_splits(stores, version) == {}  # nobody has used one


def test_a_used_split_stays_what_it_is_whatever_is_declared(
    stores: Stores, version: DatasetVersion, declared: DatasetDeclaration
) -> None:
    used = find_split(stores, version, "train", declared, by="ada")
    assert (used.fixed_by, list(list_splits(stores, version))) == ("ada", list(SHARES))
    other = SplitsDeclaration(SplitBy.KEY, {"train": 0.5, "holdout": 0.5}, seed=9)
    changed = dataclasses.replace(declared, splits=other)
    assert find_split(stores, version, "train", changed, by="bob") == used
    with pytest.raises(NotFound, match="holdout"):
        find_split(stores, version, "holdout", changed, by="bob")
    with stores.db.read() as connection:
        facts = read_facts(connection, kinds=["dataset.split_fixed"])
    assert [(one.body["split"], one.by) for one in facts] == [(name, "ada") for name in SHARES]


def test_without_a_declaration_there_are_no_splits(
    stores: Stores, version: DatasetVersion, calls: DatasetDeclaration
) -> None:
    with pytest.raises(NotFound, match="declares no splits"):
        find_split(stores, version, "train", calls)
    with pytest.raises(NotFound, match="Did you mean train"):
        find_split(stores, version, "trian")  # as at the last delivery


def test_a_task_sees_exactly_the_rows_of_its_split(
    stores: Stores, version: DatasetVersion, declared: DatasetDeclaration, tmp_path: Path
) -> None:
    split = find_split(stores, version, "dev", declared, by="ada")
    folder = materialize_split(stores, split, tmp_path / "cache")
    frame = pl.read_parquet(folder / "**/*.parquet", hive_partitioning=True)
    assert sorted(frame["id"]) == sorted(ids_of(stores, split)) and "ds" in frame.columns
    inode = folder.stat().st_ino
    assert materialize_split(stores, split, tmp_path / "cache") == folder
    assert folder.stat().st_ino == inode  # nothing was made anew
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]


def test_an_altered_file_of_a_split_is_replaced(
    stores: Stores, version: DatasetVersion, declared: DatasetDeclaration, tmp_path: Path
) -> None:
    split = find_split(stores, version, "dev", declared, by="ada")
    folder = materialize_split(stores, split, tmp_path)
    some = next(folder.rglob("*.parquet"))
    before = some.read_bytes()
    some.chmod(0o644)
    some.write_bytes(b"altered by a task")
    materialize_split(stores, split, tmp_path)
    assert some.read_bytes() == before


def test_declarations_survive_being_stored(declared: DatasetDeclaration) -> None:
    again = DatasetDeclaration.from_json(declared.to_json())
    assert again == declared
    assert again.splits is not None and again.splits.names == tuple(SHARES)
