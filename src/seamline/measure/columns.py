"""The profile of one column: integer counts, exact sums and sketches, all of which add."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from seamline.measure.exact import add_fractions, fraction_from_text, fraction_to_text
from seamline.measure.sketches import Sketch, add_sketches
from seamline.measure.texts import SHAPE_NAMES

N = TypeVar("N", int, float)
_SKETCHES = ("others", "unread", "numbers")


@dataclass(frozen=True)
class ColumnProfile:
    """Counts of one column. `mistyped` values are present but do not read as the basis' kind.

    `counts`: under, bins, over; or one per kept value, then other. `total` and `squares` are the
    exact sums of the finite values' distances from the basis' centre, and of their squares
    (distances are clipped at 1e140). `shapes` counts what texts read as, `lengths` how many
    characters they have, on `texts.LENGTH_EDGES` (nothing where there is no text).

    `others`: values that the basis does not keep (categories not kept, texts, numbers outside the
    edges; None for times, which always move on). `unread`: the mistyped values. `numbers`: hashes
    of all finite numbers and times. Of the last four None says that nobody counted them, as in
    profiles that were stored before there were any; a sum with such a part knows as little.
    """

    rows: int
    missing: int
    mistyped: int
    counts: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    n_finite: int = 0
    centre: float = 0.0
    total: Fraction = Fraction(0)
    squares: Fraction = Fraction(0)
    shapes: tuple[tuple[str, int], ...] = ()
    shortest: int | None = None
    longest: int | None = None
    others: Sketch | None = None
    unread: Sketch | None = None
    numbers: Sketch | None = None
    lengths: tuple[int, ...] | None = None

    @property
    def present(self) -> int:
        """Values that are neither missing nor mistyped."""
        return self.rows - self.missing - self.mistyped

    @property
    def mean(self) -> float | None:
        if not self.n_finite:
            return None
        return float(Fraction(self.centre) + self.total / self.n_finite)

    @property
    def std(self) -> float | None:
        """The standard deviation of the values as a population."""
        if not self.n_finite:
            return None
        mean = self.total / self.n_finite
        return math.sqrt(max(self.squares / self.n_finite - mean * mean, Fraction(0)))

    @property
    def distinct(self) -> int | None:
        """How many different values there are, never more than are present; None if unknown.

        >>> ColumnProfile(9, 0, 0, (5, 4, 0), others=Sketch()).distinct
        2
        """
        if self.numbers is not None:
            return min(self.numbers.distinct, self.n_finite)
        if self.others is None:
            return None
        kept = sum(1 for count in self.counts[:-1] if count)
        return kept + min(self.others.distinct, self.counts[-1])

    @property
    def distinct_is_exact(self) -> bool:
        """Else `distinct` is an estimate (see `sketches.DISTINCT_ERROR`)."""
        sketch = self.others if self.numbers is None else self.numbers
        return sketch is not None and sketch.is_exact

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "rows": self.rows,
            "missing": self.missing,
            "mistyped": self.mistyped,
            "counts": list(self.counts),
            "low": self.low,
            "high": self.high,
            "n_finite": self.n_finite,
            "centre": self.centre,
            "total": fraction_to_text(self.total),
            "squares": fraction_to_text(self.squares),
            "shapes": dict(self.shapes),
            "shortest": self.shortest,
            "longest": self.longest,
        }
        for name in _SKETCHES:
            sketch: Sketch | None = getattr(self, name)
            if sketch is not None:
                data[name] = sketch.to_json()
        if self.lengths is not None:
            data["lengths"] = list(self.lengths)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColumnProfile:
        fields = dict(data)
        fields["counts"] = tuple(data["counts"])
        for name in ("low", "high", "centre"):  # canonical JSON writes 3.0 as 3
            fields[name] = None if data[name] is None else float(data[name])
        fields["total"] = fraction_from_text(data["total"])
        fields["squares"] = fraction_from_text(data["squares"])
        fields["shapes"] = _in_order(data["shapes"])
        for name in _SKETCHES:
            if name in data:
                fields[name] = Sketch.from_json(data[name])
        if "lengths" in data:
            fields["lengths"] = tuple(data["lengths"])
        return cls(**fields)


def add_columns(parts: Sequence[ColumnProfile]) -> ColumnProfile:
    """The profile of all parts' rows, exactly; of at least one part, all on one basis.

    >>> a = ColumnProfile(2, 0, 0, (1, 1), low=1.0, high=2.0, n_finite=2)
    >>> add_columns([a, a]).counts
    (2, 2)
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    flat = chain.from_iterable(part.counts for part in parts)
    counts = np.fromiter(flat, np.int64).reshape(len(parts), len(first.counts)).sum(axis=0)
    return ColumnProfile(
        rows=sum(part.rows for part in parts),
        missing=sum(part.missing for part in parts),
        mistyped=sum(part.mistyped for part in parts),
        counts=tuple(counts.tolist()),
        low=_outermost(min, (part.low for part in parts)),
        high=_outermost(max, (part.high for part in parts)),
        n_finite=sum(part.n_finite for part in parts),
        centre=first.centre,
        total=add_fractions([part.total for part in parts]),
        squares=add_fractions([part.squares for part in parts]),
        shapes=_add_shapes(parts),
        shortest=_outermost(min, (part.shortest for part in parts)),
        longest=_outermost(max, (part.longest for part in parts)),
        others=_add_known([part.others for part in parts]),
        unread=_add_known([part.unread for part in parts]),
        numbers=_add_known([part.numbers for part in parts]),
        lengths=_add_lengths([part.lengths for part in parts]),
    )


def _outermost(pick: Callable[[Iterable[N]], N], ends: Iterable[N | None]) -> N | None:
    known = [end for end in ends if end is not None]
    return pick(known) if known else None


def _add_shapes(parts: Sequence[ColumnProfile]) -> tuple[tuple[str, int], ...]:
    """Profiles stored before amounts of money were told apart counted them as text."""
    shapes: dict[str, int] = {}
    for part in parts:
        for name, n in part.shapes:
            shapes[name] = shapes.get(name, 0) + n
    if "currency" in shapes and any(part.unread is None for part in parts):
        shapes["text"] = shapes.get("text", 0) + shapes.pop("currency")
    return _in_order(shapes)


def _in_order(shapes: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((name, shapes[name]) for name in SHAPE_NAMES if name in shapes)


def _add_known(sketches: Sequence[Sketch | None]) -> Sketch | None:
    known = [sketch for sketch in sketches if sketch is not None]
    return add_sketches(known) if len(known) == len(sketches) else None


def _add_lengths(parts: Sequence[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    counted = [part for part in known if part]
    return tuple(np.array(counted, np.int64).sum(axis=0).tolist()) if counted else ()
