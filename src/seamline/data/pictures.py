"""A column's profile as a small picture: inline SVG that needs no style sheet and no script. Pure.

Colours are `currentColor` and one red, so that it suits any page, light or dark; the classes are
there for pages that want their own. Of two profiles the first is filled, the second an outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from seamline.measure.basis import ColumnBasis
from seamline.measure.columns import ColumnProfile
from seamline.measure.exact import Floats
from seamline.measure.quantiles import cell_range, quantile

WIDTH, HEIGHT = 220, 48
#: Numbers are drawn value by value up to so many cells, and in so many bars above.
FEW_CELLS = 24
BARS = 40
TOP_VALUES = 5
LABEL = 17
_ROW, _STRIP, _LEFT = 13, 5, 104
RED = "#c8352b"


def picture_column(
    basis: ColumnBasis, profile: ColumnProfile, against: ColumnProfile | None = None
) -> str:
    """A histogram or the most frequent values, and below it, where there are any, what is missing
    and what does not read.

    >>> from seamline.measure.basis import Kind
    >>> basis = ColumnBasis(Kind.CATEGORICAL, values=("UA", "<b>"))
    >>> svg = picture_column(basis, ColumnProfile(9, 1, 0, (5, 3, 0)))
    >>> svg.startswith("<svg") and "&lt;b&gt;" in svg and "1 of 9 missing" in svg
    True
    """
    sides = [side for side in (profile, against) if side is not None]
    if not any(side.present for side in sides):
        drawn, height = "", 0
    elif basis.is_binned:
        drawn, height = _histogram(basis, sides), HEIGHT
    else:
        drawn, height = _values(basis, sides)
    strip = _strip(profile, height + 2)
    total = height + 2 + (_STRIP if strip else 0)
    said = escape(say_picture(profile), quote=True)
    return (
        f'<svg class="profile" role="img" aria-label="{said}" width="{WIDTH}" height="{total}" '
        f'viewBox="0 0 {WIDTH} {total}" fill="currentColor"><title>{said}</title>'
        f"{drawn}{strip}</svg>"
    )


def say_picture(profile: ColumnProfile) -> str:
    """
    >>> say_picture(ColumnProfile(1200, 20, 60, (1120,)))
    '1,200 rows; 20 of 1,200 missing; 60 of 1,200 do not read'
    """
    parts = [f"{profile.rows:,} rows"]
    named = ((profile.missing, "missing"), (profile.mistyped, "do not read"))
    return "; ".join(parts + [f"{n:,} of {profile.rows:,} {what}" for n, what in named if n])


def _histogram(basis: ColumnBasis, sides: Sequence[ColumnProfile]) -> str:
    bars = _bars(basis, sides)
    peak = max(float(side.max()) for side in bars) or 1.0
    filled = _steps(bars[0], peak)
    drawn = f'<path class="is" opacity=".45" d="{filled}"/>'
    if len(bars) > 1:
        outline = _steps(bars[1], peak)
        drawn += f'<path class="was" fill="none" stroke="currentColor" d="{outline}"/>'
    return drawn


def _bars(basis: ColumnBasis, sides: Sequence[ColumnProfile]) -> list[Floats]:
    """The share of each bar: of the cells that hold anything while they are few, else of equally
    wide intervals. Where the first or the last fiftieth lies far out, the outermost bar has it."""
    counts = np.array([side.counts for side in sides], np.float64)
    held = np.flatnonzero(counts.sum(axis=0))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    if len(held) <= FEW_CELLS:
        return list(shares[:, held])
    first, inner_first, inner_last, last = (_known(basis, sides, q) for q in (0, 0.02, 0.98, 1))
    scale = float(max(np.abs([*first, *last]), default=0)) or 1.0  # the largest doubles overflow
    low, high = min(inner_first, default=0) / scale, max(inner_last, default=1) / scale
    least, most = min(first, default=low) / scale, max(last, default=high) / scale
    cuts = np.linspace(
        least if low - least <= high - low else low,
        most if most - high <= high - low else high,
        BARS + 1,
    )
    pairs = zip(sides, shares, strict=True)
    return [_spread(basis, side, share, cuts, scale) for side, share in pairs]


def _known(basis: ColumnBasis, sides: Sequence[ColumnProfile], q: float) -> list[float]:
    ends = (quantile(side, basis, q) for side in sides)
    return [end for end in ends if end is not None and np.isfinite(end)]


def _spread(
    basis: ColumnBasis, side: ColumnProfile, shares: Floats, cuts: Floats, scale: float
) -> Floats:
    """A cell's values are taken to lie evenly between its ends."""
    found = np.zeros(len(cuts) - 1)
    for cell in np.flatnonzero(shares).tolist():
        ends = np.array(cell_range(side, basis, cell)) / scale
        start, stop = np.clip(ends, cuts[0], cuts[-1])
        first, last = np.clip(cuts.searchsorted([start, stop], "right") - 1, 0, len(found) - 1)
        if first == last or stop <= start:
            found[first] += shares[cell]
            continue
        inner = np.clip(cuts[first : last + 2], start, stop)
        found[first : last + 1] += shares[cell] * np.diff(inner) / (stop - start)
    return found


def _steps(shares: Floats, peak: float) -> str:
    """The outline of the bars, from the lower left to the lower right."""
    wide = WIDTH / len(shares)
    tops = [HEIGHT - share / peak * (HEIGHT - 1) for share in shares.tolist()]
    corners = [f"V{_short(top)}H{_short((i + 1) * wide)}" for i, top in enumerate(tops)]
    return f"M0 {HEIGHT}{''.join(corners)}V{HEIGHT}"


def _short(value: float) -> str:
    """
    >>> _short(12.0), _short(0.25)
    ('12', '0.2')
    """
    return f"{value:.1f}".removesuffix(".0")


def _values(basis: ColumnBasis, sides: Sequence[ColumnProfile]) -> tuple[str, int]:
    """A row for each of the most frequent values, and how high they are together."""
    rows = _most_frequent(basis, sides)
    peak = max((max(shares) for _, shares in rows), default=0.0) or 1.0
    drawn = []
    for i, (value, shares) in enumerate(rows):
        y, wide = i * _ROW, [_short(share / peak * (WIDTH - _LEFT)) for share in shares]
        label = value if len(value) <= LABEL else value[: LABEL - 1] + "…"
        drawn.append(
            f'<text x="{_LEFT - 4}" y="{y + 10}" text-anchor="end" font-size="10">{escape(label)}'
            f'</text><rect class="is" opacity=".45" x="{_LEFT}" y="{y + 2}" width="{wide[0]}" '
            f'height="{_ROW - 3}"/>'
        )
        if len(wide) > 1:
            drawn.append(
                f'<rect class="was" fill="none" stroke="currentColor" x="{_LEFT}" y="{y + 2}" '
                f'width="{wide[1]}" height="{_ROW - 3}"/>'
            )
    return "".join(drawn), len(rows) * _ROW


def _most_frequent(
    basis: ColumnBasis, sides: Sequence[ColumnProfile]
) -> list[tuple[str, list[float]]]:
    """The values that are most frequent on either side, with their shares; then all others."""
    shares: dict[str, list[float]] = {}
    for place, side in enumerate(sides):
        pairs = list(zip(basis.values, side.counts, strict=False))
        pairs += side.others.top(TOP_VALUES) if side.others is not None else []
        for value, count in pairs:
            shares.setdefault(value, [0.0] * len(sides))[place] = count / max(side.present, 1)
    ordered = sorted(shares.items(), key=lambda item: (-max(item[1]), item[0]))
    top = [(value, found) for value, found in ordered[:TOP_VALUES] if any(found)]
    rest = [
        1.0 - sum(found[place] for _, found in top) if side.present else 0.0
        for place, side in enumerate(sides)
    ]
    return [*top, ("(others)", rest)] if max(rest) > 1e-9 else top


def _strip(profile: ColumnProfile, y: int) -> str:
    """Shares of all rows: missing in grey, mistyped in red; nothing where all is well."""
    if not profile.missing and not profile.mistyped:
        return ""
    scale = WIDTH / profile.rows
    there = profile.present * scale
    missing, mistyped = (
        max(n * scale, 1.5) if n else 0.0 for n in (profile.missing, profile.mistyped)
    )
    at = min(there, WIDTH - missing - mistyped)
    return (
        f'<rect opacity=".12" y="{y}" width="{WIDTH}" height="3"/>'
        f'<rect class="missing" opacity=".6" x="{_short(at)}" y="{y}" width="{_short(missing)}" '
        f'height="3"/><rect class="mistyped" fill="{RED}" x="{_short(at + missing)}" y="{y}" '
        f'width="{_short(mistyped)}" height="3"/>'
    )
