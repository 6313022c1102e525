"""What each version's delivery brought, day by day, from stored profiles: decoded when asked for.

A year of days with twenty columns is megabytes of JSON, and a comparison looks at the days of a
few columns only: so these are kept as bytes, and of a column only its counts are decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

from seamline.data.declaration import DAY
from seamline.data.diff.findings import Commit
from seamline.data.versions import (
    DatasetVersion,
    VersionFile,
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
    """The same on another basis, and their sum: reads every file of the last one, whose rows these
    are, one at a time."""
    found: list[Delivery] = []
    whole: list[Profile] = []
    last = versions[-1]
    columns = [name for name, _ in last.schema]
    for version, files in _brought(stores, versions):
        days: dict[str, list[Profile]] = {}
        for file in files:
            frame = read_file(stores, last, file, columns).drop(DAY)
            days.setdefault(file.partition, []).append(profile_frame(frame, basis))
        summed = {day: sum_profiles(parts) for day, parts in sorted(days.items())}
        whole += summed.values()
        found.append(Delivery(commit_of(version), version.schema, _days_of(summed)))
    return _sum(whole, basis), found


def _brought(
    stores: Stores, versions: list[DatasetVersion]
) -> Iterator[tuple[DatasetVersion, list[VersionFile]]]:
    """Which of the last one's files hold what each delivery brought. By their places: within a day
    files are in the order of deliveries, and stay so where all are rewritten in wider types."""
    days: dict[str, list[VersionFile]] = {}
    for file in version_files(stores, versions[-1]):
        days.setdefault(file.partition, []).append(file)
    before: Counter[str] = Counter()
    for version in versions:
        upto = Counter(file.partition for file in version_files(stores, version))
        yield version, [one for day in upto for one in days[day][before[day] : upto[day]]]
        before = upto


def _sum(parts: list[Profile], basis: Basis) -> Profile:
    """Also of parts some of which lack a column."""
    columns = {
        name: add_columns([part.columns[name] for part in parts if name in part.columns])
        for name in basis.columns
        if any(name in part.columns for part in parts)
    }
    return Profile(basis, sum(part.rows for part in parts), columns)


def _days_of(days: Mapping[str, Profile]) -> Callable[[str], Days]:
    def find(column: str) -> Days:
        return ((day, one.columns[column]) for day, one in days.items() if column in one.columns)

    return find


def commit_of(version: DatasetVersion) -> Commit:
    return Commit(
        *(version.dataset, version.version, version.run_id, version.committed_by),
        *(version.source, version.at),
    )
