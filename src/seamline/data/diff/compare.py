"""Two versions compared from their profiles: what differs, the worst first. Pure: reads no row."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from seamline.data.diff import wording
from seamline.data.diff.columns import (
    LARGE,
    MODERATE,
    Pair,
    find_shift,
    find_unlike,
    find_unread,
    fitting_shapes,
    largest_moves,
    meant_shape,
    missing_moved,
    share,
    subtract,
    value_changes,
)
from seamline.data.diff.deliveries import Delivery
from seamline.data.diff.findings import Change, Finding, FirstSeen, VersionDiff
from seamline.data.diff.first_bad import (
    Bad,
    count_mistyped,
    count_unfit,
    count_values,
    find_first,
    find_first_shift,
    first_schema,
    more_missing,
)
from seamline.measure.basis import Kind
from seamline.measure.profiles import Profile

ADDED = "the rows that were added"
WHOLE = "all rows"
THRESHOLD = (
    f"Shifted: PSI ≥ {MODERATE:g} (moderate; {LARGE:g} is large: a rule of thumb for ten groups, "
    "from credit scoring) and above what so few rows show once in a thousand times by chance."
)


@dataclass(frozen=True)
class Side:
    """A version with the profile of all its rows. `schema` holds (column, type) in order."""

    reference: str
    digest: str
    schema: tuple[tuple[str, str], ...]
    profile: Profile


@dataclass(frozen=True)
class Comparison:
    """`deliveries`: what `after` has and `before` has not, oldest first. `extends`: all that
    `before` has is in `after`, too. `steady`: columns that always move on (days, keys)."""

    before: Side
    after: Side
    deliveries: Sequence[Delivery]
    extends: bool
    steady: Collection[str] = ()
    notes: tuple[str, ...] = ()


def compare_versions(found: Comparison) -> VersionDiff:
    """Both profiles are on one basis."""
    findings = [*_schema(found), *_rows(found)]
    for pair in _pairs(found):
        findings += _column(found, pair)
    order = list(Change)
    findings.sort(key=lambda one: (order.index(one.change), -one.effect, one.column or ""))
    shifts = any(one.change is Change.SHIFT for one in findings)
    return VersionDiff(
        before=found.before.reference,
        after=found.after.reference,
        is_same_digest=found.before.digest == found.after.digest,
        findings=tuple(findings),
        part=ADDED if _adds(found) else WHOLE,
        notes=(*found.notes, *([THRESHOLD] if shifts else [])),
    )


def _adds(found: Comparison) -> bool:
    before, after = found.before.profile, found.after.profile
    return found.extends and 0 < before.rows < after.rows


def _pairs(found: Comparison) -> Iterator[Pair]:
    before, after = found.before.profile, found.after.profile
    named = dict(found.after.schema)
    for name, _ in found.before.schema:
        if name in named and name in before.columns and name in after.columns:
            was, now = before.columns[name], after.columns[name]
            part = subtract(now, was) if _adds(found) else now
            yield Pair(name, before.basis.columns[name], was, now, part)


def _schema(found: Comparison) -> Iterator[Finding]:
    before, after = dict(found.before.schema), dict(found.after.schema)
    for name, dtype in before.items():
        if name not in after:
            statement = wording.say_gone(name, dtype)
            first = _first_of_schema(found, name, None)
            yield Finding(Change.COLUMN_GONE, name, statement, 1.0, dtype, None, first=first)
    for name, dtype in after.items():
        if name not in before:
            statement = wording.say_new(name, dtype)
            first = _first_of_schema(found, name, dtype)
            yield Finding(Change.COLUMN_NEW, name, statement, 1.0, None, dtype, first=first)


def _first_of_schema(found: Comparison, name: str, dtype: str | None) -> FirstSeen | None:
    """The first partition of the first delivery with that schema, where its profile knows any."""
    delivery = first_schema(found.deliveries, name, dtype)
    if delivery is None:
        return None
    for known, _ in found.after.schema:
        for day, profile in delivery.days_of(known):
            return FirstSeen(day, None, profile.rows, delivery.commit)
    return None


def _rows(found: Comparison) -> Iterator[Finding]:
    before, after = found.before.profile.rows, found.after.profile.rows
    if before != after:
        versions = len(found.deliveries)
        statement = wording.say_rows(before, after, versions)
        yield Finding(Change.ROWS, None, statement, abs(after - before), before, after)


def _column(found: Comparison, pair: Pair) -> Iterator[Finding]:
    typed = _type(found, pair)
    if typed is not None:
        yield typed
    if missing_moved(pair.before, pair.part):
        yield _missing(found, pair)
    if pair.name in found.steady:
        return
    new, gone = value_changes(pair)
    if gone:
        statement = wording.say_gone_values(pair, gone)
        effect = share(sum(one.before for one in gone), pair.before.present)
        yield Finding(Change.VALUES_GONE, pair.name, statement, effect, values=gone)
    if new:
        statement = wording.say_new_values(pair, new)
        effect = share(sum(one.after for one in new), pair.part.present)
        first = find_first(found.deliveries, pair.name, count_values(pair, new))
        yield Finding(Change.VALUES_NEW, pair.name, statement, effect, values=new, first=first)
    if pair.basis.kind not in (Kind.TIME, Kind.TEXT):
        yield from _shift(found, pair)


def _type(found: Comparison, pair: Pair) -> Finding | None:
    """Another type; or values that no longer read as what the column's values did."""
    types = dict(found.before.schema)[pair.name], dict(found.after.schema)[pair.name]
    reading = find_unread(pair)
    bad: Bad = count_mistyped
    if types[0] == types[1] and pair.after.mistyped <= pair.before.mistyped:
        reading = find_unlike(pair)
        if reading is None:
            return None
        bad = count_unfit(fitting_shapes(meant_shape(pair.before)))
    first = None
    if reading is not None and reading.n_unread:
        first = find_first(found.deliveries, pair.name, bad)
    if first is None and types[0] != types[1]:
        first = _first_of_schema(found, pair.name, types[1])
    return Finding(
        Change.TYPE,
        pair.name,
        wording.say_type(pair.name, types, reading),
        effect=0.0 if reading is None else 1.0 + reading.n_unread,
        before=types[0],
        after=types[1],
        values=() if reading is None else reading.unread[: wording.KEPT_VALUES],
        first=first,
    )


def _missing(found: Comparison, pair: Pair) -> Finding:
    was = share(pair.before.missing, pair.before.rows)
    now = share(pair.part.missing, pair.part.rows)
    return Finding(
        Change.MISSING,
        pair.name,
        wording.say_missing(pair),
        effect=abs(now - was),
        before=was,
        after=now,
        first=find_first(found.deliveries, pair.name, more_missing(pair)),
    )


def _shift(found: Comparison, pair: Pair) -> Iterator[Finding]:
    shift = find_shift(pair.before, pair.part, pair.basis)
    if shift is None:
        return
    binned = pair.basis.is_binned
    yield Finding(
        Change.SHIFT,
        pair.name,
        wording.say_shift(pair, shift, largest_moves(pair)),
        effect=shift.psi,
        before=pair.before.mean if binned else None,
        after=pair.part.mean if binned else None,
        measures=(("psi", shift.psi), ("js", shift.js)),
        first=find_first_shift(found.deliveries, pair, shift.psi),
    )
