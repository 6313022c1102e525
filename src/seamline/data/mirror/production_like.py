"""Whether one environment's table is like another's: schema, how much of it, what values, how they
are distributed, how fresh. From profiles alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from seamline.data.declaration import DatasetDeclaration
from seamline.data.mirror.likeness import LEAST_ROWS
from seamline.data.mirror.mirrored import find_mirrored
from seamline.data.mirror.profiled import profiles_on
from seamline.data.versions import DatasetVersion
from seamline.domain.states import Verdict
from seamline.measure.basis import Basis, Kind
from seamline.measure.columns import ColumnProfile
from seamline.measure.drift_rules import DriftVerdict, decide_drift
from seamline.measure.profiles import Profile, sum_profiles
from seamline.store.stores import Stores

_SAID = 3


@dataclass(frozen=True)
class Limits:
    """The least shares of what production has, and the most drift and delay."""

    rows: float = 0.01
    keys: float = 0.01
    categories: float = 0.95
    psi: float = 0.2
    lag_days: float = 7.0


@dataclass(frozen=True)
class Alike:
    """`theirs` is production's. Shares are of what it has; of categories, of its rows.

    `broken` and `unknown`: sentences that name columns.
    """

    ours: str
    theirs: str
    rows: tuple[int, int] = (0, 0)
    keys: Mapping[str, float] = field(default_factory=dict)
    categories: Mapping[str, float] = field(default_factory=dict)
    newest: tuple[str, str] = ("", "")
    drift: DriftVerdict | None = None
    masked: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        if self.broken:
            return Verdict.FAIL
        return Verdict.INCONCLUSIVE if self.unknown else Verdict.PASS

    def sentence(self) -> str:
        between = f"{self.ours} and {self.theirs}"
        if self.ours == self.theirs:
            return f"{self.ours} is what production reads"
        if self.broken or self.unknown:
            told = [*self.broken, *self.unknown]
            more = f"; and {len(told) - _SAID} more" if len(told) > _SAID else ""
            return f"{between}: {'; '.join(told[:_SAID])}{more}"
        n = len(self.drift.columns) if self.drift else 0
        return f"{between} are alike: {self.rows[0]:,} rows of {self.rows[1]:,}, {n} columns"

    def to_json(self) -> dict[str, Any]:
        drift = self.drift.to_json() if self.drift else None
        return {**self.__dict__, "drift": drift, "verdict": str(self.verdict)}


def compare_tables(
    stores: Stores,
    ours: DatasetVersion,
    theirs: DatasetVersion,
    basis: Basis,
    declared: DatasetDeclaration,
    limits: Limits,
) -> Alike:
    """`basis`: that of the data trained on, so that what the model has seen is what is counted."""
    if ours.reference == theirs.reference:
        return Alike(ours.reference, theirs.reference, (ours.rows, theirs.rows))
    mirrored = find_mirrored(stores, ours)
    masked = tuple(sorted(mirrored.recipe.mask)) if mirrored else ()
    schema = _schema(ours, theirs, masked)
    mine, other = (profiles_on(stores, one, basis) for one in (ours, theirs))
    shown = Alike(ours.reference, theirs.reference, (ours.rows, theirs.rows), masked=masked)
    if not mine or not other:
        return _with(shown, schema, ("one of them has no rows",))
    return _judge(shown, mine, other, declared, limits, schema)


def _judge(
    shown: Alike,
    mine: Mapping[date, Profile],
    other: Mapping[date, Profile],
    declared: DatasetDeclaration,
    limits: Limits,
    schema: Sequence[str],
) -> Alike:
    ours, theirs = sum_profiles(mine.values()), sum_profiles(other.values())
    apart = {*shown.masked, *declared.keys, *declared.day_columns}
    shared = [one for one in theirs.columns if one in ours.columns and one not in apart]
    kinds = theirs.basis.columns
    compared = [one for one in shared if kinds[one].kind not in (Kind.TIME, Kind.TEXT)]
    keys = {
        one: share
        for one in declared.keys
        if one not in shown.masked and (share := _distinct_share(ours, theirs, one)) is not None
    }
    categories = {
        one: value_share(theirs.columns[one], ours.columns[one])
        for one in shared
        if kinds[one].kind in (Kind.CATEGORICAL, Kind.BOOLEAN)
    }
    newest = (max(mine), max(other))
    drift = decide_drift(
        theirs,
        ours,
        day_profiles=list(other.values()),
        days=len(mine),
        threshold=limits.psi,
        columns=compared,
    )
    broken = (
        *schema,
        *_amounts(shown.rows, keys, categories, limits),
        *_late(newest, limits),
        *(one.drift.sentence().rstrip(".") for one in drift.columns if one.verdict is Verdict.FAIL),
    )
    told = Alike(
        shown.ours,
        shown.theirs,
        shown.rows,
        keys,
        categories,
        (newest[0].isoformat(), newest[1].isoformat()),
        drift,
        shown.masked,
    )
    return _with(told, broken, tuple(_unknown(told, compared)))


def value_share(theirs: ColumnProfile, ours: ColumnProfile) -> float:
    """Of their rows, the share whose value is one that ours have, too. Values that the basis does
    not keep count as one.

    >>> both = ColumnProfile(10, 0, 0, (6, 3, 1))
    >>> value_share(both, ColumnProfile(5, 0, 0, (5, 0, 0)))
    0.6
    """
    pairs = list(zip(theirs.counts, ours.counts, strict=True))
    total = sum(theirs.counts)
    return sum(count for count, has in pairs if has) / total if total else 1.0


def _distinct_share(ours: Profile, theirs: Profile, column: str) -> float | None:
    """None where nobody counted them, or a side has none."""
    sides = [one.columns[column].distinct if column in one.columns else None
             for one in (ours, theirs)]  # fmt: skip
    return sides[0] / sides[1] if sides[0] is not None and sides[1] else None


def _schema(ours: DatasetVersion, theirs: DatasetVersion, masked: Sequence[str]) -> tuple[str, ...]:
    mine, other = dict(ours.schema), dict(theirs.schema)
    asked = [(name, dtype) for name, dtype in other.items() if name not in masked]
    return (
        *(f"{name}: the column is missing" for name, _ in asked if name not in mine),
        *(
            f"{name}: {mine[name]}, where {theirs.reference} has {dtype}"
            for name, dtype in asked
            if mine.get(name, dtype) != dtype
        ),
    )


def _amounts(
    rows: tuple[int, int],
    keys: Mapping[str, float],
    categories: Mapping[str, float],
    limits: Limits,
) -> list[str]:
    found = []
    if rows[0] < limits.rows * rows[1]:
        found.append(f"{rows[0]:,} rows are less than {limits.rows:.0%} of {rows[1]:,}")
    found += [
        f"{column}: {share:.1%} of production's keys, {limits.keys:.0%} are asked for"
        for column, share in keys.items()
        if share < limits.keys
    ]
    return found + [
        f"{column}: its values are those of {share:.1%} of production's rows, "
        f"{limits.categories:.0%} are asked for"
        for column, share in categories.items()
        if share < limits.categories
    ]


def _late(newest: tuple[date, date], limits: Limits) -> list[str]:
    lag = (newest[1] - newest[0]).days
    if lag <= limits.lag_days:
        return []
    return [f"the newest day is {newest[0]}, {lag} days behind production's"]


def _unknown(told: Alike, compared: Sequence[str]) -> list[str]:
    if not compared:
        return ["no column is left to compare"]
    if told.rows[0] < LEAST_ROWS:
        return [f"{told.rows[0]:,} rows are too few to tell ({LEAST_ROWS} are needed)"]
    if told.drift is not None and told.drift.verdict is Verdict.INCONCLUSIVE:
        return [told.drift.sentence().rstrip(".")]
    return []


def _with(told: Alike, broken: Sequence[str], unknown: Sequence[str]) -> Alike:
    return Alike(**{**told.__dict__, "broken": tuple(broken), "unknown": tuple(unknown)})
