"""What each version's delivery brought, day by day, from stored profiles: decoded when asked for.

A year of days with twenty columns is megabytes of JSON, and a comparison looks at the days of a
few columns only: so these are kept as bytes, and of a column only its counts are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

from seamline.data.declaration import DAY, Mode
from seamline.data.diff.findings import Commit
from seamline.data.versions import (
    DatasetVersion,
    list_versions,
    read_file,
    version_files,
)
from seamline.measure.basis import Basis
from seamline.measure.columns import ColumnProfile, add_columns
from seamline.measure.profiles import Profile, profile_frame, sum_profiles
from seamline.measure.sketches import Sketch
from seamline.store.stores import Stores

#: (day, the column's profile on that day), in order.
Days = Iterator[tuple[str, ColumnProfile]]


@dataclass(frozen=True)
class Delivery:
    """`days_of` gives a column's profiles by day, one after another as they are asked for: counts,
    and the values that the basis does not keep."""

    commit: Commit
    schema: tuple[tuple[str, str], ...]
    days_of: Callable[[str], Days]


class _Sketched(msgspec.Struct):
    values: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()


class _Counted(msgspec.Struct):
    rows: int
    missing: int
    mistyped: int
    counts: tuple[int, ...]
    shapes: dict[str, int] = {}
    others: _Sketched | None = None

    def profile(self) -> ColumnProfile:
        others = self.others
        return ColumnProfile(
            *(self.rows, self.missing, self.mistyped, self.counts),
            shapes=tuple(self.shapes.items()),
            # Without its hashes: a day's values are counted, not added.
            others=None if others is None else Sketch(b"", others.values, others.counts),
        )


class _Day(msgspec.Struct):
    columns: dict[str, msgspec.Raw]


class StoredDays:
    """The profiles by day that a version was committed with."""

    def __init__(self, stores: Stores, version: DatasetVersion) -> None:
        self._stores = stores
        self._version = version

    @cached_property
    def _days(self) -> dict[str, _Day]:
        version = self._version
        what = f"the profiles by day of {version.reference}"
        data = self._stores.blobs.get(version.days_digest, what)
        return msgspec.json.decode(data, type=dict[str, _Day])

    def __call__(self, column: str) -> Days:
        """Days that know the column."""
        decode = msgspec.json.Decoder(_Counted).decode
        for day, held in sorted(self._days.items()):
            if column in held.columns:
                yield day, decode(held.columns[column]).profile()


def stored_deliveries(stores: Stores, versions: list[DatasetVersion]) -> list[Delivery]:
    return [Delivery(commit_of(one), one.schema, StoredDays(stores, one)) for one in versions]


def profiled_deliveries(
    stores: Stores, versions: list[DatasetVersion], basis: Basis
) -> tuple[Profile, list[Delivery]]:
    """The same on another basis, and their sum: reads every file of theirs, one at a time."""
    found: list[Delivery] = []
    whole: list[Profile] = []
    for version in versions:
        days: dict[str, list[Profile]] = {}
        before = _files_before(stores, version)
        columns = [name for name, _ in version.schema]
        for file in version_files(stores, version):
            if file.relative in before:
                continue
            frame = read_file(stores, version, file, columns).drop(DAY)
            days.setdefault(file.partition, []).append(profile_frame(frame, basis))
        summed = {day: sum_profiles(parts) for day, parts in sorted(days.items())}
        whole += summed.values()
        found.append(Delivery(commit_of(version), version.schema, _days_of(summed)))
    return _sum(whole, basis), found


def _sum(parts: list[Profile], basis: Basis) -> Profile:
    """Also of parts some of which lack a column."""
    columns = {
        name: add_columns([part.columns[name] for part in parts if name in part.columns])
        for name in basis.columns
        if any(name in part.columns for part in parts)
    }
    return Profile(basis, sum(part.rows for part in parts), columns)


def _files_before(stores: Stores, version: DatasetVersion) -> set[str]:
    """What was in the table before its delivery."""
    if version.mode is Mode.REPLACE or version.version == 1:
        return set()
    previous = list_versions(stores, version.dataset)[version.version - 2]
    return {file.relative for file in version_files(stores, previous)}


def _days_of(days: Mapping[str, Profile]) -> Callable[[str], Days]:
    def find(column: str) -> Days:
        return ((day, one.columns[column]) for day, one in days.items() if column in one.columns)

    return find


def commit_of(version: DatasetVersion) -> Commit:
    return Commit(
        *(version.dataset, version.version, version.run_id, version.committed_by),
        *(version.source, version.at),
    )
