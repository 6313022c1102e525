"""Drift between two profiles of one basis: how large is the change?

Statistics are taken over *groups* of a column's cells, chosen by the reference: numbers in tenths
of the reference (values outside its range apart), categories that hold at least 1 % of it (the
rest pooled, values that the basis does not keep apart); missing and mistyped values are groups of
their own, so that a column that goes missing drifts. Ten groups is what the rule of thumb for PSI
(0.1 moderate, 0.2 large) was made for; finer bins only add noise.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seamline.domain.errors import InvalidInput
from seamline.measure.basis import ColumnBasis, Kind
from seamline.measure.exact import Floats
from seamline.measure.profiles import ColumnProfile, Profile
from seamline.measure.sketches import Sketch

Ints = npt.NDArray[np.int64]

N_GROUPS = 10
RARE_SHARE = 0.01
#: A constant column is called collapsed only with this many values.
COLLAPSED_ROWS = 20
#: So many new and gone values are told, and so many of them in a sentence.
MAX_VALUES = 10
SAID_VALUES = 3


@dataclass(frozen=True)
class ValueChange:
    """A value that one side has and the other surely has not, and how often each has it."""

    value: str
    before: int
    after: int

    def say(self) -> str:
        """
        >>> ValueChange("n/a", 0, 1200).say()
        "'n/a' ×1,200"
        """
        return f"{self.value!r} ×{max(self.before, self.after):,}"


@dataclass(frozen=True)
class ColumnDrift:
    """`psi` and `js` (Jensen-Shannon distance, base 2, in 0..1) are None without rows on a side.

    `new_values`: how much more often than before values fall outside what the basis keeps
    (new categories; numbers beyond the reference's range), as a share of present values.
    `collapsed_to`: the one value that a column that used to vary now has.
    `new` and `gone`: values that only one side has, the most frequent first.
    """

    column: str
    psi: float | None
    js: float | None
    n_before: int
    n_after: int
    missing_before: float
    missing_after: float
    mistyped_after: float
    mean_before: float | None
    mean_after: float | None
    new_values: float
    collapsed_to: str | None
    new: tuple[ValueChange, ...] = ()
    gone: tuple[ValueChange, ...] = ()

    def sentence(self) -> str:
        """The changes in words, without a judgement."""
        if self.psi is None or self.js is None:
            return f"{self.column}: no rows to compare ({self.n_before:,} → {self.n_after:,})."
        parts = [f"PSI {self.psi:.3f}, JS distance {self.js:.3f}"]
        if self.collapsed_to is not None:
            parts.append(f"all values are now {self.collapsed_to}")
        if self.mean_before is not None and self.mean_after is not None:
            parts.append(f"mean {self.mean_before:.4g} → {self.mean_after:.4g}")
        if self.missing_before != self.missing_after:
            parts.append(f"missing {self.missing_before:.1%} → {self.missing_after:.1%}")
        if self.mistyped_after:
            parts.append(f"mistyped {self.mistyped_after:.1%}")
        if self.new_values >= 0.0005:
            parts.append(f"values not seen before +{self.new_values:.1%}")
            parts += [f"new: {_say_values(self.new)}"] if self.new else []
        return f"{self.column}: {'; '.join(parts)} (n {self.n_before:,} → {self.n_after:,})."

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColumnDrift:
        """Also of what was recorded before values were named."""
        new, gone = (
            tuple(ValueChange(**one) for one in data.get(name, ())) for name in ("new", "gone")
        )
        return cls(**{**data, "new": new, "gone": gone})


def _say_values(changes: Sequence[ValueChange]) -> str:
    more = ["…"] if len(changes) > SAID_VALUES else []
    return ", ".join([change.say() for change in changes[:SAID_VALUES]] + more)


def population_stability(before: Floats, after: Floats) -> Floats:
    """PSI = Σ (q - p) ln(q / p) over the last axis of two arrays of counts.

    Shares are smoothed by half a count per group (Jeffreys), so that an empty group stays finite;
    groups empty on both sides are left out. NaN where a side has no rows.

    >>> population_stability(np.array([50.0, 50.0]), np.array([500.0, 500.0])).round(6) + 0.0
    np.float64(0.0)
    >>> population_stability(np.array([80.0, 20.0]), np.array([50.0, 50.0])).round(3)
    np.float64(0.406)
    """
    used = (before > 0) | (after > 0)
    p, q = (np.where(used, side + 0.5, 0.0) for side in (before, after))
    p = p / np.maximum(p.sum(-1, keepdims=True), 0.5)
    q = q / np.maximum(q.sum(-1, keepdims=True), 0.5)
    ratio = np.divide(q, p, out=np.ones_like(q * p), where=used)
    value = ((q - p) * np.log(ratio)).sum(-1)
    empty = (before.sum(-1) == 0) | (after.sum(-1) == 0)
    return np.asarray(np.where(empty, np.nan, value))[()]


def jensen_shannon(before: Floats, after: Floats) -> float:
    """The Jensen-Shannon distance (square root of the divergence, base 2) of two counts.

    >>> jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 5.0]))
    1.0
    """
    p, q = before / before.sum(), after / after.sum()
    middle = (p + q) / 2
    divergence = 0.0
    for side in (p, q):
        used = side > 0
        divergence += float((side[used] * np.log2(side[used] / middle[used])).sum()) / 2
    return math.sqrt(min(max(divergence, 0.0), 1.0))


def group_cells(reference: ColumnProfile, basis: ColumnBasis) -> Ints:
    """For each cell of a column's counts the number of its group, from 0 without gaps.

    >>> basis = ColumnBasis(Kind.CATEGORICAL, values=("UA", "DL", "OO"))
    >>> group_cells(ColumnProfile(1000, 0, 0, (600, 391, 9, 0)), basis).tolist()
    [0, 1, 2, 3]
    """
    counts = np.asarray(reference.counts, np.float64)
    inner = counts[1:-1] if basis.is_binned else counts[:-1]
    total = max(inner.sum(), 1.0)
    if basis.is_binned:
        before = np.cumsum(inner) - inner
        tenths = 1 + np.floor(N_GROUPS * before / total)
        labels = np.concatenate([[0.0], tenths, [N_GROUPS + 1.0]])[: len(counts)]
    else:
        kept = inner >= RARE_SHARE * total
        labels = np.where(kept, np.arange(len(inner)), len(inner))
        labels = np.append(labels, len(inner) + 1.0)
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def group_counts(column: ColumnProfile, groups: Ints) -> Floats:
    """Counts per group, then missing, then mistyped."""
    grouped = np.bincount(groups, weights=column.counts)
    return np.concatenate([grouped, [column.missing, column.mistyped]])


def is_constant(column: ColumnProfile, basis: ColumnBasis) -> str | None:
    """The one value that all present values have, or None.

    >>> basis = ColumnBasis(Kind.CATEGORICAL, values=("a", "b"))
    >>> is_constant(ColumnProfile(3, 1, 0, (0, 2, 0)), basis)
    'b'
    """
    if not column.present or column.mistyped:
        return None
    if basis.is_binned:
        same = column.low is not None and column.low == column.high
        return f"{column.low:g}" if same and column.n_finite == column.present else None
    held = [i for i, n in enumerate(column.counts) if n]
    return basis.values[held[0]] if len(held) == 1 and held[0] < len(basis.values) else None


def compare_profiles(
    reference: Profile, current: Profile, columns: Collection[str] | None = None
) -> list[ColumnDrift]:
    """The drift of each shared column, in the basis' order.

    Times are left out unless they are asked for: they always move on. So do identifiers, which
    only the caller can know: name the `columns` to compare.
    """
    return [
        _compare_column(name, reference, current)
        for name in columns_to_compare(reference, current, columns)
    ]


def columns_to_compare(
    reference: Profile, current: Profile, columns: Collection[str] | None
) -> list[str]:
    """Raises InvalidInput when the two profiles are on different bases."""
    if reference.basis.digest != current.basis.digest:
        raise InvalidInput(
            f"Profiles on different bases do not compare: {reference.basis.digest} "
            f"and {current.basis.digest}.",
            next_step="Profile both on one basis.",
        )
    shared = [name for name in reference.columns if name in current.columns]
    if columns is not None:
        return [name for name in shared if name in columns]
    kinds = reference.basis.columns
    return [name for name in shared if kinds[name].kind is not Kind.TIME]


def _compare_column(name: str, reference: Profile, current: Profile) -> ColumnDrift:
    before, after = reference.columns[name], current.columns[name]
    basis = reference.basis.columns[name]
    groups = group_cells(before, basis)
    was, now = group_counts(before, groups), group_counts(after, groups)
    compared = bool(before.rows and after.rows)
    constant = is_constant(after, basis) if after.present >= COLLAPSED_ROWS else None
    collapsed = constant is not None and is_constant(before, basis) is None and before.present > 0
    return ColumnDrift(
        column=name,
        psi=float(population_stability(was, now)) if compared else None,
        js=jensen_shannon(was, now) if compared else None,
        n_before=before.rows,
        n_after=after.rows,
        missing_before=_share(before.missing, before.rows),
        missing_after=_share(after.missing, after.rows),
        mistyped_after=_share(after.mistyped, after.rows),
        mean_before=before.mean,
        mean_after=after.mean,
        new_values=max(_outside(after, basis) - _outside(before, basis), 0.0),
        collapsed_to=constant if collapsed else None,
        **new_and_gone(before, after, basis),
    )


def new_and_gone(
    before: ColumnProfile, after: ColumnProfile, basis: ColumnBasis
) -> dict[str, tuple[ValueChange, ...]]:
    """The values that are `new` after, and those that are `gone`: as far as kept values and
    sketches tell for sure, at most `MAX_VALUES` of each, the most frequent first. Of texts and of
    numbers (outside the basis' edges) only those that repeat, as a code for "unknown" does.

    >>> basis = ColumnBasis(Kind.CATEGORICAL, values=("UA", "DL"))
    >>> was = ColumnProfile(9, 0, 0, (8, 1, 0), others=Sketch())
    >>> new_and_gone(was, ColumnProfile(9, 0, 0, (9, 0, 0), others=Sketch()), basis)
    {'new': (), 'gone': (ValueChange(value='DL', before=1, after=0),)}
    """
    counts = zip(basis.values, before.counts, after.counts, strict=False)
    found = [ValueChange(value, was, now) for value, was, now in counts]
    was, now = _outside_values(before, basis), _outside_values(after, basis)
    least = 2 if basis.is_binned or basis.kind is Kind.TEXT else 1
    if was is not None and now is not None:
        for hashed, (value, n) in now.named().items():
            found += [ValueChange(value, 0, n)] if was.count_at(hashed) == 0 and n >= least else []
        for hashed, (value, n) in was.named().items():
            found += [ValueChange(value, n, 0)] if now.count_at(hashed) == 0 and n >= least else []
    ordered = sorted(found, key=lambda one: (-one.before - one.after, one.value))
    return {
        "new": tuple(one for one in ordered if one.before == 0 < one.after)[:MAX_VALUES],
        "gone": tuple(one for one in ordered if one.before > 0 == one.after)[:MAX_VALUES],
    }


def _outside_values(column: ColumnProfile, basis: ColumnBasis) -> Sketch | None:
    """None where nobody knows them; where none is counted, there is none."""
    outside = column.counts[-1] + (column.counts[0] if basis.edges else 0)
    return column.others if outside else Sketch()


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _outside(column: ColumnProfile, basis: ColumnBasis) -> float:
    """Text keeps no values, so nothing is outside."""
    if basis.kind is Kind.TEXT:
        return 0.0
    outside = column.counts[-1] + (column.counts[0] if basis.edges else 0)
    return _share(outside, column.present)
