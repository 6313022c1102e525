"""What a run of a prediction pipeline took and made, as its records and its tables tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from seamline.app.platform import Platform
from seamline.data.declaration import DAY
from seamline.data.versions import find_version, read_version
from seamline.train.runs import show_run

_IMPORTER = "importer"
_DATASETS = "datasets://"
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class TableMade:
    """`keys`: distinct keys, where they are known; `nulls`: column → part that is null."""

    rows: int
    nulls: dict[str, float]
    keys: pl.DataFrame | None = None
    #: Of the keys of the dataset that the run read, over the table's days: how many there are, and
    #: how many of them have an answer.
    asked: int | None = None
    answered: int | None = None

    @property
    def duplicates(self) -> int:
        return 0 if self.keys is None else self.rows - self.keys.height

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"rows": self.rows, "nulls": self.nulls}
        if self.keys is not None:
            told |= {"keys": self.keys.height, "duplicate_rows": self.duplicates}
        if self.asked is not None:
            told |= {"keys_asked": self.asked, "keys_answered": self.answered}
        return told


@dataclass(frozen=True)
class RunMade:
    run_id: str
    pipeline_digest: str
    #: Seconds that its tasks ran, together: neither waiting for a slot nor making environments.
    task_s: float
    #: The highest of its tasks.
    peak_bytes: int
    tasks: int
    #: What it read: dataset → URI of the version.
    read: dict[str, str]
    tables: dict[str, TableMade] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run_id,
            "pipeline": self.pipeline_digest,
            "tasks": self.tasks,
            "task_s": round(self.task_s, 3),
            "peak_bytes": self.peak_bytes,
            "read": self.read,
            "tables": {name: table.to_json() for name, table in self.tables.items()},
        }


@dataclass(frozen=True)
class Wanted:
    """`outputs`: names of the outputs that are looked at; none: every table that it makes. `keys`
    tell their rows apart; `data` is the dataset that has one row for each key."""

    outputs: frozenset[str] = frozenset()
    keys: tuple[str, ...] = ()
    data: str | None = None


def measure_run(platform: Platform, run_id: str, wanted: Wanted) -> RunMade:
    """Of a run that has succeeded."""
    run = show_run(platform.stores, run_id)
    worked = [one for one in run["tasks"] if one["wall_s"] is not None]
    read = dict(_read(run["tasks"]))
    return RunMade(
        run_id,
        run["pipeline_digest"],
        sum(one["wall_s"] for one in worked),
        max((one["peak_rss_bytes"] or 0 for one in worked), default=0),
        len(worked),
        read,
        {
            name: _table(platform, digest, run_id, wanted, read)
            for name, digest in _tables(platform, run["tasks"], wanted.outputs)
        },
    )


def was_run_whole(run: dict[str, Any]) -> bool:
    """Whether no result of another run stood in for its work."""
    return all(one["cached_from"] is None for one in run["tasks"])


def _read(tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for one in tasks:
        for found in one["outputs"]["artifacts"].values():
            if found["uri"].startswith(_DATASETS):
                yield found["uri"].removeprefix(_DATASETS).partition("@")[0], found["uri"]


def _tables(
    platform: Platform, tasks: Sequence[dict[str, Any]], outputs: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Name → digest of each Parquet file that tasks made; the task stands before the output."""
    for one in tasks:
        if one["kind"] == _IMPORTER:
            continue
        for output, found in one["outputs"]["artifacts"].items():
            if outputs and output not in outputs:
                continue
            if not found["is_directory"] and _is_parquet(platform, found["digest"]):
                yield f"{one['name']}.{output}", found["digest"]


def _is_parquet(platform: Platform, digest: str) -> bool:
    with platform.stores.blobs.path_of(digest).open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


def _table(
    platform: Platform, digest: str, run_id: str, wanted: Wanted, read: dict[str, str]
) -> TableMade:
    path = platform.stores.blobs.verified_path(digest, f"a table of run {run_id}")
    rows = pl.scan_parquet(path)
    names = rows.collect_schema().names()
    counts = rows.select(pl.len().alias("rows"), pl.all().null_count().name.prefix("null:"))
    told = counts.collect().row(0, named=True)
    height = int(told["rows"])
    nulls = {name: told[f"null:{name}"] / height if height else 0.0 for name in names}
    keys = None
    if wanted.keys and set(wanted.keys) <= set(names):
        keys = rows.select(wanted.keys).unique().collect()
    if keys is None or wanted.data not in read or DAY not in names or not height:
        return TableMade(height, nulls, keys)
    day = rows.collect_schema()[DAY]
    cast = pl.col(DAY).str.to_date(strict=False) if day == pl.String else pl.col(DAY)
    days = rows.select(cast.cast(pl.Date, strict=False)).collect().get_column(DAY)
    asked = _keys_asked(platform, read[wanted.data], wanted.keys, days)
    if asked is None:
        return TableMade(height, nulls, keys)
    return TableMade(height, nulls, keys, asked.height, count_common(asked, keys))


def _keys_asked(
    platform: Platform, uri: str, keys: Sequence[str], days: pl.Series
) -> pl.DataFrame | None:
    first, last = days.min(), days.max()
    if not isinstance(first, date) or not isinstance(last, date):
        return None
    reference = uri.removeprefix(_DATASETS).partition("/")[0]
    version = find_version(platform.stores, reference)
    if not set(keys) <= {name for name, _ in version.schema}:
        return None
    after = date.fromordinal(last.toordinal() + 1)
    return read_version(platform.stores, version, list(keys), first, after).unique()


def count_common(one: pl.DataFrame, other: pl.DataFrame) -> int:
    """How many rows of keys are in both, whatever integers or texts they are written as.

    >>> count_common(pl.DataFrame({"k": [1, 2, None]}), pl.DataFrame({"k": [2, 3, None]}))
    2
    """
    names = one.columns
    texts = [pl.col(name).cast(pl.String) for name in names]
    left, right = one.select(texts), other.select(names).select(texts)
    return left.join(right, on=names, how="semi", nulls_equal=True).height
