"""Whether a mirrored version is like what it was made from: column by column, from counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seamline.data.declaration import DatasetDeclaration
from seamline.data.mirror.mirrored import Mirrored
from seamline.data.versions.read import read_frames
from seamline.data.versions.show import version_basis, version_profile
from seamline.domain.states import Verdict
from seamline.measure.drift import ColumnDrift, compare_profiles
from seamline.measure.profiles import profile_frame, sum_profiles
from seamline.store.stores import Stores

#: With fewer rows the index is above 0.02 by chance alone, with the ten groups that it has.
LEAST_ROWS = 500


@dataclass(frozen=True)
class Likeness:
    """`source` and `mirror` are NAME@VERSION; `columns` what was compared: those not masked."""

    verdict: Verdict
    sentence: str
    source: str
    mirror: str
    max_psi: float
    columns: tuple[ColumnDrift, ...]
    #: Masked columns, which are not like their source on purpose.
    masked: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        columns = [one.to_json() for one in self.columns]
        return {**asdict(self), "verdict": str(self.verdict), "columns": columns}


def check_likeness(stores: Stores, made: Mirrored, declared: DatasetDeclaration) -> Likeness:
    """Reads the mirror's rows once, onto the source's basis; the source's profile is stored."""
    source = version_profile(stores, made.source)
    basis = version_basis(stores, made.source)
    # Keys and times are many values of once each: how often is no property of theirs.
    apart = {*made.recipe.mask, *declared.keys, *declared.day_columns}
    columns = [name for name, _ in made.version.schema if name not in apart]
    mirror = sum_profiles(
        profile_frame(frame, basis) for frame in read_frames(stores, made.version, columns)
    )
    drifts = tuple(compare_profiles(source, mirror, columns)) if columns else ()
    verdict, sentence = decide_likeness(drifts, mirror.rows, made.recipe.max_psi)
    return Likeness(
        verdict,
        f"{made.version.reference} and {made.source.reference}: {sentence}",
        made.source.reference,
        made.version.reference,
        made.recipe.max_psi,
        drifts,
        tuple(sorted(made.recipe.mask)),
    )


def decide_likeness(
    columns: Sequence[ColumnDrift], rows: int, max_psi: float
) -> tuple[Verdict, str]:
    """
    >>> decide_likeness([], 10_000, 0.1)
    (<Verdict.INCONCLUSIVE: 'inconclusive'>, 'no column is left to compare.')
    """
    if not columns:
        return Verdict.INCONCLUSIVE, "no column is left to compare."
    if rows < LEAST_ROWS:
        return Verdict.INCONCLUSIVE, f"{rows:,} rows are too few to tell ({LEAST_ROWS} are needed)."
    far = [one for one in columns if not (one.psi or 0.0) <= max_psi]
    if far:
        told = " ".join(one.sentence() for one in sorted(far, key=lambda one: -(one.psi or 0.0)))
        return Verdict.FAIL, f"{len(far)} of {len(columns)} columns are not alike. {told}"
    worst = max(columns, key=lambda one: one.psi or 0.0)
    told = f"the most different is {worst.column}, PSI {worst.psi or 0.0:.3f}"
    return Verdict.PASS, f"all {len(columns)} columns are alike (≤ {max_psi:g}); {told}."
