"""Profiles: additive counts of a frame on a basis; the whole is exactly the sum of its parts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from seamline.domain.errors import InvalidInput
from seamline.measure.basis import Basis
from seamline.measure.columns import ColumnProfile, add_columns
from seamline.measure.counting import (
    Segments,
    count_column,
    make_segments,
    one_segment,
    segments_of_runs,
)

__all__ = [
    "MISSING_PARTITION",
    "ColumnProfile",
    "Profile",
    "add_profiles",
    "profile_frame",
    "profile_partitions",
    "profile_runs",
    "sum_profiles",
]

#: The label of the partition whose key is missing.
MISSING_PARTITION = "(missing)"


@dataclass(frozen=True)
class Profile:
    """The columns that the frame and the basis share (a served frame has no label column)."""

    basis: Basis
    rows: int
    columns: Mapping[str, ColumnProfile]

    def to_json(self) -> dict[str, Any]:
        """Without the basis itself: it is stored once per dataset, here is its digest."""
        columns = {name: column.to_json() for name, column in self.columns.items()}
        return {"basis": self.basis.digest, "rows": self.rows, "columns": columns}

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], basis: Basis, only: Collection[str] | None = None
    ) -> Profile:
        """Of `only` these columns, if that is given: reading them is what takes time.

        Raises InvalidInput when the profile was counted on another basis.
        """
        if data["basis"] != basis.digest:
            raise InvalidInput(
                f"The profile was counted on basis {data['basis']}, not on {basis.digest}.",
                next_step="Profile the rows again on this basis.",
            )
        columns = data["columns"]
        names = [name for name in columns if only is None or name in only]
        read = {name: ColumnProfile.from_json(columns[name]) for name in names}
        return cls(basis, data["rows"], read)


def profile_frame(frame: pl.DataFrame, basis: Basis) -> Profile:
    """
    >>> from seamline.measure.basis import make_basis
    >>> frame = pl.DataFrame({"hour": [5, 6, 6, None], "carrier": ["UA", "UA", "DL", "B6"]})
    >>> profile = profile_frame(frame, make_basis(frame.head(3)))
    >>> profile.columns["hour"].counts, profile.columns["hour"].missing
    ((0, 1, 2, 0), 1)
    >>> profile.columns["carrier"].counts, profile.columns["carrier"].others.top(1)
    ((2, 1, 1), [('B6', 1)])
    """
    return _profile_segments(frame, basis, one_segment(frame.height))[0]


def profile_partitions(
    frame: pl.DataFrame, basis: Basis, by: str | pl.Series
) -> dict[str, Profile]:
    """One profile per value of a column (or of a series of labels), keyed and ordered by it."""
    labels = frame[by] if isinstance(by, str) else by
    if not len(labels):
        return {}
    different = labels.unique()
    texts = different.cast(pl.String).fill_null(MISSING_PARTITION).to_list()
    names = sorted(set(texts))
    place = {name: i for i, name in enumerate(names)}
    codes = labels.replace_strict(
        different, pl.Series([place[text] for text in texts]), return_dtype=pl.Int64
    )
    segments = make_segments(codes.to_numpy(), len(names))
    return dict(zip(names, _profile_segments(frame, basis, segments), strict=True))


def profile_runs(frame: pl.DataFrame, basis: Basis, runs: Mapping[str, int]) -> dict[str, Profile]:
    """The same where the rows of each partition follow one another: so many of each.

    >>> from seamline.measure.basis import make_basis
    >>> frame = pl.DataFrame({"hour": [5, 6, 6], "day": ["mon", "mon", "tue"]})
    >>> basis = make_basis(frame)
    >>> profile_runs(frame, basis, {"mon": 2, "tue": 1}) == profile_partitions(frame, basis, "day")
    True
    """
    segments = segments_of_runs(list(runs.values()))
    return dict(zip(runs, _profile_segments(frame, basis, segments), strict=True))


def _profile_segments(frame: pl.DataFrame, basis: Basis, segments: Segments) -> list[Profile]:
    series = {one.name: one for one in frame}
    counted = {
        name: count_column(series[name], column, segments)
        for name, column in basis.columns.items()
        if name in series
    }
    return [
        Profile(basis, rows, {name: columns[i] for name, columns in counted.items()})
        for i, rows in enumerate(segments.rows.tolist())
    ]


def add_profiles(a: Profile, b: Profile) -> Profile:
    """The profile of both frames' rows, exactly. Refuses profiles of different bases or columns."""
    return sum_profiles([a, b])


def sum_profiles(profiles: Iterable[Profile]) -> Profile:
    """The profile of all their rows. Raises InvalidInput like `add_profiles`, and without any."""
    parts = list(profiles)
    if not parts:
        raise InvalidInput("There is no profile to add.", next_step="Profile a frame first.")
    first = parts[0]
    for part in parts[1:]:
        _check_alike(first, part)
    columns = {name: add_columns([part.columns[name] for part in parts]) for name in first.columns}
    return Profile(first.basis, sum(part.rows for part in parts), columns)


def _check_alike(a: Profile, b: Profile) -> None:
    if a.basis.digest != b.basis.digest:
        raise InvalidInput(
            f"Profiles on different bases do not add: {a.basis.digest} and {b.basis.digest}.",
            next_step="Profile both on one basis.",
        )
    if a.columns.keys() != b.columns.keys():
        odd = ", ".join(sorted(set(a.columns) ^ set(b.columns)))
        raise InvalidInput(
            f"Profiles of different columns do not add; only one has {odd}.",
            next_step="Profile frames with the same columns.",
        )
