"""What differs in one column, from its profiles on one basis. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from seamline.measure.basis import ColumnBasis, Kind
from seamline.measure.columns import ColumnProfile
from seamline.measure.drift import (
    Ints,
    ValueChange,
    group_cells,
    jensen_shannon,
    new_and_gone,
    population_stability,
)
from seamline.measure.exact import Floats
from seamline.measure.texts import SHAPE_NAMES, find_shapes, semantic_type

#: The rule of thumb for PSI over ten groups, from credit scoring: 0.1 moderate, 0.2 (some say
#: 0.25) large. It knows nothing of how many rows there are; `chance_limit` does.
MODERATE, LARGE = 0.1, 0.2
#: Standard normal quantile of 0.999: one column in a thousand is called shifted by chance.
_Z = 3.09
#: A change of the share of missing values is told from one percentage point on.
MISSING_STEP = 0.01
#: A value that should have come so often, and did not come at all, is gone (chance: e^-10).
EXPECTED = 10.0
#: Stands for all values that the basis does not keep.
OTHERS = "(others)"
#: Numbers outside of the range that was are told when this share of the values is one of them.
CODE_SHARE = 0.001
#: Texts of a column read as something else than text when this share does.
MOSTLY = 0.95


@dataclass(frozen=True)
class Pair:
    """A column before and after. `part`: what of `after` is held against `before`; the whole, or
    the rows that were added to it."""

    name: str
    basis: ColumnBasis
    before: ColumnProfile
    after: ColumnProfile
    part: ColumnProfile

    @property
    def is_added(self) -> bool:
        return self.part is not self.after


@dataclass(frozen=True)
class Shift:
    psi: float
    js: float


def subtract(after: ColumnProfile, before: ColumnProfile) -> ColumnProfile:
    """The rows that `after` has more: profiles add, so their counts subtract. Extremes and
    sketches do not, and are unknown.

    >>> a, b = ColumnProfile(9, 1, 0, (5, 3)), ColumnProfile(4, 1, 0, (3, 0))
    >>> subtract(a, b).counts, subtract(a, b).present
    ((2, 3), 5)
    """
    shapes = dict(after.shapes)
    for name, n in before.shapes:
        shapes[name] = shapes.get(name, 0) - n
    return ColumnProfile(
        rows=after.rows - before.rows,
        missing=after.missing - before.missing,
        mistyped=after.mistyped - before.mistyped,
        counts=tuple(a - b for a, b in zip(after.counts, before.counts, strict=True)),
        n_finite=after.n_finite - before.n_finite,
        centre=after.centre,
        total=after.total - before.total,
        squares=after.squares - before.squares,
        shapes=tuple((name, n) for name, n in shapes.items() if n > 0),
    )


def chance_limit(n_before: int, n_after: int, n_groups: int) -> float:
    """What PSI exceeds once in a thousand times when nothing has changed: for two samples of the
    same distribution n m / (n + m) PSI goes as chi-square with groups - 1 degrees of freedom; its
    quantile by Wilson and Hilferty (1931).

    >>> round(chance_limit(20_000, 20_000, 10), 4), round(chance_limit(20_000, 50, 10), 2)
    (0.0028, 0.56)
    """
    freedom = n_groups - 1
    if freedom < 1 or not n_before or not n_after:
        return 0.0
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + _Z * spread**0.5) ** 3
    return float(quantile * (1 / n_before + 1 / n_after))


def find_shift(before: ColumnProfile, after: ColumnProfile, basis: ColumnBasis) -> Shift | None:
    """Of the values that are there and read: a PSI of at least `MODERATE`, and above chance."""
    groups = group_cells(before, basis)
    was, now = grouped(before, groups), grouped(after, groups)
    psi = float(shifts(was, now[np.newaxis], MODERATE)[0])
    return None if math.isnan(psi) else Shift(psi, jensen_shannon(was, now))


def shifts(was: Floats, now: Floats, least: float) -> Floats:
    """For each row of `now`, counts by group, its PSI against those that `was`; NaN where that is
    below `least`, or where chance shows as much.

    >>> was = np.array([500.0, 500.0])
    >>> now = np.array([[510.0, 490.0], [900.0, 100.0], [2.0, 0.0], [0.0, 0.0]])
    >>> shifts(was, now, 0.1).round(2)
    array([ nan, 0.88,  nan,  nan])
    """
    psi = np.asarray(population_stability(was, now))
    n_was, told = int(was.sum()), psi >= least
    for row in np.flatnonzero(told):
        n_groups = int(((was > 0) | (now[row] > 0)).sum())
        told[row] = psi[row] >= chance_limit(n_was, int(now[row].sum()), n_groups)
    return np.where(told, psi, np.nan)


def grouped(column: ColumnProfile, groups: Ints) -> Floats:
    """How many values are in each group of cells; neither the missing nor the mistyped ones."""
    return np.bincount(groups, weights=column.counts).astype(np.float64)


def largest_moves(pair: Pair, n: int = 2) -> list[tuple[str, float, float]]:
    """Of a column of categories: the values whose shares moved most, (value, before, after)."""
    was, now = max(pair.before.present, 1), max(pair.part.present, 1)
    cells = zip(pair.basis.values, pair.before.counts, pair.part.counts, strict=False)
    moves = [(value, a / was, b / now) for value, a, b in cells]
    moves.append((OTHERS, pair.before.counts[-1] / was, pair.part.counts[-1] / now))
    return sorted(moves, key=lambda one: (-abs(one[2] - one[1]), one[0]))[:n]


def share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def missing_moved(before: ColumnProfile, after: ColumnProfile) -> bool:
    """From none to any; or by a percentage point, and more than chance does (three sigma)."""
    if not before.rows or not after.rows:
        return False
    if after.missing and not before.missing:
        return True
    was, now = share(before.missing, before.rows), share(after.missing, after.rows)
    pooled = share(before.missing + after.missing, before.rows + after.rows)
    sigma = (pooled * (1 - pooled) * (1 / before.rows + 1 / after.rows)) ** 0.5
    return abs(now - was) >= MISSING_STEP and abs(now - was) > 3 * sigma


def value_changes(pair: Pair) -> tuple[tuple[ValueChange, ...], tuple[ValueChange, ...]]:
    """The values that are new, and those that are gone; of texts nobody is told."""
    if pair.basis.kind in (Kind.TEXT, Kind.TIME):
        return (), ()
    found = new_and_gone(pair.before, pair.after, pair.basis)
    new, gone = found["new"], found["gone"]
    if pair.basis.is_binned:  # a code like -9999, not the largest of a few more rows
        new, gone = (
            tuple(one for one in some if max(one.before, one.after) >= CODE_SHARE * present)
            for some, present in ((new, pair.part.present), (gone, pair.before.present))
        )
    if pair.is_added:  # what was there before is still there
        scale = share(pair.part.present, pair.before.present)
        cells = zip(pair.basis.values, pair.before.counts, pair.part.counts, strict=False)
        gone = tuple(
            ValueChange(value, was, 0)
            for value, was, now in cells
            if was and not now and was * scale >= EXPECTED
        )
    return new, gone


@dataclass(frozen=True)
class Reading:
    """Values of a column that still read as what they did, of all that are there; and the rest."""

    word: str
    reads: int
    present: int
    unread: tuple[ValueChange, ...]

    @property
    def n_unread(self) -> int:
        return self.present - self.reads


_WORDS = {Kind.NUMERIC: "numeric", Kind.TIME: "times", Kind.BOOLEAN: "true or false"}
_SHAPE_WORDS = {
    "integer": "whole numbers",
    "float": "numeric",
    "decimal_comma": "numbers with a decimal comma",
    "boolean": "true or false",
    "date": "dates",
    "currency": "amounts of money",
}


def find_unread(pair: Pair) -> Reading | None:
    """What of a column no longer reads as its basis' kind. None for texts and categories."""
    if pair.basis.kind not in _WORDS:
        return None
    before, after = pair.before, pair.after
    return Reading(
        _WORDS[pair.basis.kind],
        after.present,
        after.rows - after.missing,
        _named(before, after) if after.mistyped else (),
    )


def _named(before: ColumnProfile, after: ColumnProfile) -> tuple[ValueChange, ...]:
    if after.unread is None:
        return ()
    was = {} if before.unread is None else dict(before.unread.top(1 << 20))
    top = after.unread.top(1 << 20)
    changes = [ValueChange(value, was.get(value, 0), n) for value, n in top]
    return tuple(one for one in changes if one.after > one.before)


def find_unlike(pair: Pair) -> Reading | None:
    """Of a column of strings that read as something else than text: what no longer does, when
    there is more of it than before."""
    before, after = dict(pair.before.shapes), dict(pair.after.shapes)
    meant = meant_shape(pair.before)
    if meant == "text":
        return None
    fits = fitting_shapes(meant)
    was, now = _n_unfit(before, fits), _n_unfit(after, fits)
    total = sum(after.values())
    # One delivery in two may bring as much again: told is a larger share, or the first of it.
    if now <= was or (was and share(now, total) <= share(was, sum(before.values()))):
        return None
    return Reading(_SHAPE_WORDS[meant], total - now, total, _unlike_values(pair, fits))


def meant_shape(column: ColumnProfile) -> str:
    """What (nearly) all texts of a column read as: then the others are not meant."""
    found = semantic_type(dict(column.shapes))
    return found.name if found is not None and found.share >= MOSTLY else "text"


def fitting_shapes(name: str) -> frozenset[str]:
    """Whole numbers read as any number, and numbers as whole ones do not.

    >>> sorted(fitting_shapes("float"))
    ['float', 'integer']
    """
    return frozenset({name, "integer"} if name in ("float", "decimal_comma") else {name})


def unfit(column: ColumnProfile, fits: frozenset[str]) -> int:
    return _n_unfit(dict(column.shapes), fits)


def _n_unfit(shapes: Mapping[str, int], fits: frozenset[str]) -> int:
    return sum(n for name, n in shapes.items() if name not in fits)


def _unlike_values(pair: Pair, fits: frozenset[str]) -> tuple[ValueChange, ...]:
    after, before = (_known_values(side, pair.basis) for side in (pair.after, pair.before))
    values = list(after)
    shapes = [SHAPE_NAMES[place] for place in find_shapes(pl.Series(values, dtype=pl.String))]
    found = [
        ValueChange(value, before.get(value, 0), after[value])
        for value, shape in zip(values, shapes, strict=True)
        if shape not in fits and after[value] > before.get(value, 0)
    ]
    return tuple(sorted(found, key=lambda one: (one.before - one.after, one.value)))


def _known_values(column: ColumnProfile, basis: ColumnBasis) -> dict[str, int]:
    kept = zip(basis.values, column.counts, strict=False)
    known = {value: n for value, n in kept if n}
    return known | (dict(column.others.top(1 << 20)) if column.others is not None else {})


def new_cells(pair: Pair, values: Sequence[ValueChange]) -> list[int]:
    """Where the basis keeps those of the values that it does keep."""
    places = {value: place for place, value in enumerate(pair.basis.values)}
    return [places[one.value] for one in values if one.value in places]
