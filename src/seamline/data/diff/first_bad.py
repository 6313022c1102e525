"""The first partition that shows a change, and the version that brought it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, compress, islice, repeat

import numpy as np

from seamline.data.diff.columns import (
    MODERATE,
    Pair,
    chance_limit,
    grouped,
    missing_moved,
    new_cells,
    shifts,
    unfit,
)
from seamline.data.diff.deliveries import Days, Delivery
from seamline.data.diff.findings import FirstSeen
from seamline.measure.columns import ColumnProfile
from seamline.measure.drift import N_GROUPS, Ints, ValueChange, group_cells
from seamline.measure.exact import Floats

_GROUPS = N_GROUPS + 1
#: So many windows of partitions are compared at a time.
_MOST_WINDOWS = 64
#: How many values of a partition are bad: 0 none; None: it is bad as a whole.
Bad = Callable[[ColumnProfile], int | None]


def find_first(deliveries: Iterable[Delivery], column: str, bad: Bad) -> FirstSeen | None:
    """The least partition with anything bad; of the deliveries into it, the earliest with such."""
    found: dict[str, FirstSeen] = {}
    for delivery in deliveries:
        counted = ((day, one, bad(one)) for day, one in delivery.days_of(column))
        first = next(((day, one, n) for day, one, n in counted if n != 0), None)
        if first is not None:
            day, profile, n = first
            found.setdefault(day, FirstSeen(day, n, profile.rows, delivery.commit))
    return found[min(found)] if found else None


def first_schema(deliveries: Iterable[Delivery], name: str, dtype: str | None) -> Delivery | None:
    """The earliest delivery after which the column has that type (None: is not there)."""
    return next((one for one in deliveries if dict(one.schema).get(name) == dtype), None)


def count_mistyped(profile: ColumnProfile) -> int:
    return profile.mistyped


def count_unfit(fits: frozenset[str]) -> Bad:
    return lambda profile: unfit(profile, fits)


def count_values(pair: Pair, values: tuple[ValueChange, ...]) -> Bad:
    """Of these values, kept by the basis or not."""
    cells, names = new_cells(pair, values), {one.value for one in values}

    def count(profile: ColumnProfile) -> int:
        n = sum(profile.counts[cell] for cell in cells)
        if profile.others is None:
            return n
        named = zip(profile.others.values, profile.others.counts, strict=True)
        return n + sum(count for value, count in named if value in names)

    return count


def more_missing(pair: Pair) -> Bad:
    """Partitions that moved as the whole did."""
    up = pair.part.missing * pair.before.rows >= pair.before.missing * pair.part.rows

    def count(profile: ColumnProfile) -> int | None:
        if not missing_moved(pair.before, profile):
            return 0
        is_up = profile.missing * pair.before.rows >= pair.before.missing * profile.rows
        return (profile.missing or None) if is_up == up else 0

    return count


def find_first_shift(deliveries: Iterable[Delivery], pair: Pair, psi: float) -> FirstSeen | None:
    """The first partition that is shifted at least half as much as the whole. Partitions with too
    few rows to tell are taken together with the ones that follow, until there are enough."""
    least = max(MODERATE, psi / 2)
    groups = group_cells(pair.before, pair.basis)
    was = grouped(pair.before, groups)
    n_was = int(was.sum())
    found: dict[str, FirstSeen] = {}
    for delivery in deliveries:
        windows = _windows(
            delivery.days_of(pair.name), groups, lambda n: _is_enough(n_was, n, least)
        )
        # Ever more at a time: mostly it is the first one, and else each alone would cost as much
        # as all of them.
        for size in chain(range(1, _MOST_WINDOWS, 4), repeat(_MOST_WINDOWS)):
            if not (some := list(islice(windows, size))):
                break
            told = shifts(was, np.array([one.counts for one in some]), least)
            shifted = next(compress(some, ~np.isnan(told)), None)
            if shifted is not None:
                seen = FirstSeen(shifted.first, None, shifted.rows, delivery.commit)
                found.setdefault(shifted.first, seen)
                break
    return found[min(found)] if found else None


@dataclass(frozen=True)
class _Window:
    """`rows` of its first partition; the `counts` by group of all that are taken together."""

    first: str
    rows: int
    counts: Floats


def _windows(days: Days, groups: Ints, is_enough: Callable[[int], bool]) -> Iterator[_Window]:
    """From each partition on as many as are enough, or as there are."""
    waiting: deque[tuple[str, int, Floats]] = deque()
    held, n = np.zeros(int(groups.max()) + 1), 0
    while True:
        while not is_enough(n) and (day := next(days, None)) is not None:
            counts = grouped(day[1], groups)
            waiting.append((day[0], day[1].rows, counts))
            held, n = held + counts, n + int(counts.sum())
        if not waiting:
            return
        first, rows, counts = waiting.popleft()
        yield _Window(first, rows, held)
        held, n = held - counts, n - int(counts.sum())


def _is_enough(n_before: int, n: int, least: float) -> bool:
    """Ten rows for each group (with fewer, PSI's smoothing hides what there is), and so many that
    chance does not show as much; or as many as there were before."""
    if n >= n_before:
        return True
    return n >= 10 * _GROUPS and chance_limit(n_before, n, _GROUPS) <= least
