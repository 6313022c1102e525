"""Drift of the served columns of a window against the training profile. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.states import Verdict
from seamline.measure.basis import ColumnBasis, Kind
from seamline.measure.drift import (
    ColumnDrift,
    columns_to_compare,
    compare_profiles,
    is_constant,
)
from seamline.measure.drift_rules import MIN_REPLICATES, ColumnVerdict, decide_drift
from seamline.measure.evaluation.estimates import MIN_BLOCKS
from seamline.measure.profiles import (
    MISSING_PARTITION,
    ColumnProfile,
    Profile,
    profile_frame,
    profile_partitions,
    sum_profiles,
)
from seamline.monitor.days import (
    MIN_RUN,
    Run,
    chance_of_run,
    find_run,
    judge_days,
    tells_the_day,
)
from seamline.monitor.measurement import Measurement, MeasurementKind, say_number

THRESHOLD = 0.2
#: So many new values are named.
MAX_NAMED = 3
_READS_AS = {kind: f"{kind} values" for kind in Kind} | {Kind.NUMERIC: "numbers"}


@dataclass(frozen=True)
class DriftReference:
    """What the model was trained on: `whole` is the sum of `days`, on one basis."""

    whole: Profile
    days: Mapping[str, Profile]


def measure_drift(
    served: pl.DataFrame,
    reference: DriftReference,
    *,
    block: str = "ds",
    columns: Collection[str] | None = None,
    threshold: float = THRESHOLD,
    seed: int = 0,
    replicates: int = MIN_REPLICATES,
) -> list[Measurement]:
    """One measurement per column that both hold (times are left out; name `columns` to choose).

    A column has drifted when the whole window differs significantly from the reference
    (`measure.drift_rules`: PSI above the threshold and above what as many reference days show),
    or when its last days do, each of them: a change late in a window is too thin to show in
    the whole. Fewer than 10 reference days are inconclusive.
    """
    if block not in served.columns:
        raise InvalidInput(
            f"The served rows have no column {block!r}.", next_step=nearest(block, served.columns)
        )
    rows = served.filter(pl.col(block).is_not_null())
    days = profile_partitions(rows.drop(block), reference.whole.basis, rows[block])
    days.pop(MISSING_PARTITION, None)
    if not days:
        empty = profile_frame(served.drop(block).clear(), reference.whole.basis)
        names = columns_to_compare(reference.whole, empty, columns)
        return [not_measured(name, "no rows were served") for name in names]
    window = sum_profiles(days.values())
    shared = columns_to_compare(reference.whole, window, columns)
    calendar = [one for one in shared if tells_the_day(one, reference.days, reference.whole)]
    decided = decide_drift(
        reference.whole,
        window,
        day_profiles=list(reference.days.values()),
        days=len(days),
        threshold=threshold,
        columns=[name for name in shared if name not in calendar],
        seed=seed,
        replicates=replicates,
    )
    judged = [_judge(one, reference, days, window, threshold) for one in decided.columns]
    why = f"constant within each of {len(reference.days)} reference days, so not compared"
    return judged + [not_measured(name, why) for name in calendar]


def not_measured(column: str, why: str) -> Measurement:
    """Nobody can say whether it drifted."""
    return Measurement(MeasurementKind.DRIFT, column, Verdict.INCONCLUSIVE, f"{column}: {why}")


def _judge(
    found: ColumnVerdict,
    reference: DriftReference,
    days: Mapping[str, Profile],
    window: Profile,
    threshold: float,
) -> Measurement:
    column = found.drift.column
    if found.verdict is Verdict.INCONCLUSIVE:
        why = f"{len(reference.days)} reference days, {MIN_BLOCKS} are needed"
        return not_measured(column, why)
    judged = judge_days(column, reference.whole, reference.days, days, threshold)
    run = find_run(judged)
    part = window if run is None else _between(days, run)
    (drift,) = compare_profiles(reference.whole, part, [column])
    collapsed = drift.collapsed_to is not None
    chances = [found.p_value or 0.0] if found.verdict is Verdict.FAIL else []
    if run is not None and is_alarming(run, len(days), collapsed):
        chances.append(0.0 if collapsed else chance_of_run(run.n_days, len(reference.days)))
    drifted = bool(chances)
    if not drifted:
        run, part, drift = None, window, found.drift
    sentence = say_drift(column, reference.whole, part, run, drift.psi or 0.0)
    return Measurement(
        MeasurementKind.DRIFT,
        column,
        Verdict.FAIL if drifted else Verdict.PASS,
        sentence,
        value=found.drift.psi,
        n_rows=found.drift.n_after,
        n_blocks=len(days),
        first_day=None if run is None else run.first,
        detail={
            "drift": found.to_json(),
            "days_apart": [day for day, differs in judged if differs],
            "psi_since": drift.psi,
            "p_value": min(chances, default=1.0),
        },
    )


def _between(days: Mapping[str, Profile], run: Run) -> Profile:
    return sum_profiles(profile for day, profile in days.items() if run.first <= day <= run.last)


def is_alarming(run: Run | None, n_days: int, collapsed: bool = False) -> bool:
    """Whether the window's last days are enough for an alarm, whatever the whole window says.

    >>> is_alarming(Run("2013-12-29", "2013-12-31", 3, True), 31)
    True
    >>> is_alarming(Run("2013-12-31", "2013-12-31", 1, True), 31)
    False
    >>> is_alarming(Run("2013-12-10", "2013-12-20", 11, False), 31)
    False
    """
    if run is None or not run.is_open:
        return False
    return collapsed or (run.n_days >= MIN_RUN and n_days >= MIN_RUN)


def say_drift(column: str, before: Profile, after: Profile, run: Run | None, psi: float) -> str:
    """What changed, in the column's own terms."""
    basis, was, now = before.basis.columns[column], before.columns[column], after.columns[column]
    start = f"{run.say()} " if run is not None else ""
    (drift,) = compare_profiles(before, after, [column])
    if drift.collapsed_to is not None:
        change = f"every value is {drift.collapsed_to} (was {_describe(was, basis)})"
    elif _share(now.missing, now) - _share(was.missing, was) > 0.05:
        change = (
            f"{_share(now.missing, now):.1%} of the values are missing "
            f"(was {_share(was.missing, was):.1%})"
        )
    elif _share(now.mistyped, now) > 0.05:
        change = (
            f"{_share(now.mistyped, now):.1%} of the values do not read as {_READS_AS[basis.kind]}"
            f"{_name(now.unread.top(MAX_NAMED) if now.unread is not None else [])}"
        )
    elif basis.is_binned:
        change = f"mean {say_number(now.mean)} (was {_describe(was, basis)})"
    else:
        change = _say_categories(was, now, basis, drift)
    if basis.is_binned and drift.new_values >= 0.01 and drift.collapsed_to is None:
        change += f", {drift.new_values:.1%} outside of what the reference holds{_name_new(drift)}"
    return f"{column}: {start}{change}: psi {psi:.2g}"


def _describe(column: ColumnProfile, basis: ColumnBasis) -> str:
    constant = is_constant(column, basis)
    if constant is not None:
        return f"always {constant}"
    if basis.is_binned:
        low, high, mean = (say_number(x) for x in (column.low, column.high, column.mean))
        return f"{low} to {high}, mean {mean}"
    n_values = sum(1 for n in column.counts if n)
    if not basis.values:
        return "text"
    top = max(range(len(basis.values)), key=lambda i: column.counts[i])
    share = column.counts[top] / max(column.present, 1)
    return f"{n_values} values, most often {basis.values[top]} {share:.0%}"


def _name(counted: Sequence[tuple[str, int]]) -> str:
    """
    >>> _name([("n/a", 1200), ("?", 3)]), _name([])
    (" ('n/a' ×1,200, '?' ×3)", '')
    """
    said = ", ".join(f"{value!r} ×{count:,}" for value, count in counted)
    return f" ({said})" if said else ""


def _name_new(drift: ColumnDrift) -> str:
    return _name([(one.value, one.after) for one in drift.new[:MAX_NAMED]])


def _say_categories(
    was: ColumnProfile, now: ColumnProfile, basis: ColumnBasis, drift: ColumnDrift
) -> str:
    """The value whose share moved most."""
    if not basis.values:
        return "texts changed"
    moved = [n / max(now.present, 1) - w / max(was.present, 1) for w, n in _pairs(was, now)]
    names = (*basis.values, f"values not known before{_name_new(drift)}")
    most = max(range(len(moved)), key=lambda i: abs(moved[i]))
    before = was.counts[most] / max(was.present, 1)
    return f"{names[most]} {before + moved[most]:.0%} (was {before:.0%})"


def _pairs(was: ColumnProfile, now: ColumnProfile) -> list[tuple[int, int]]:
    return list(zip(was.counts, now.counts, strict=True))


def _share(n: int, column: ColumnProfile) -> float:
    return n / max(column.rows, 1)
