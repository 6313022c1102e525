"""Several models in one window: each is held against its own reference, and what is found is told
in one line per column. Pure.

A family may have hundreds of models with a few rows each, so a finding has to stand among as many
looks: Benjamini-Hochberg over the models, for each column.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from seamline.domain.states import Verdict
from seamline.measure.drift import COLLAPSED_ROWS, columns_to_compare, compare_profiles
from seamline.measure.drift_rules import ALPHA, MIN_REPLICATES, benjamini_hochberg
from seamline.measure.evaluation.estimates import MIN_BLOCKS
from seamline.measure.profiles import profile_frame
from seamline.monitor.drift import DriftReference, measure_drift, not_measured
from seamline.monitor.measurement import Measurement, MeasurementKind

#: So many models are told in a sentence, and so many kept beside it.
TOLD, KEPT = 3, 10
#: As many as one among 500 models needs.
MAX_REPLICATES = 50_000
NO_REFERENCE = "no profile of training rows"


@dataclass(frozen=True)
class Member:
    """What one model version answered in a window.

    `served`: the inputs that the log holds, and the day (`ds`). `hidden`: why nobody can say of
    others. `reference` is read when it is asked for, and day by day of the columns that are named
    (None: all): hundreds at once would fill the memory, and reading is what takes time.
    """

    model: str
    served: pl.DataFrame
    reference: Callable[[Collection[str] | None], DriftReference | None]
    hidden: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """A measurement of one model; `n_rows`: all that it answered, measured or not."""

    model: str
    n_rows: int
    measurement: Measurement

    @property
    def p_value(self) -> float:
        """How likely chance alone is to say as much; 1 of what nothing was found in."""
        is_found = self.measurement.verdict is Verdict.FAIL
        return float(self.measurement.detail.get("p_value", 0.0)) if is_found else 1.0

    @property
    def text(self) -> str:
        return self.measurement.sentence.removeprefix(f"{self.measurement.subject}: ")


def measure_family_drift(
    members: Sequence[Member], *, threshold: float, block: str = "ds"
) -> list[Measurement]:
    """One measurement per column that any of the models has a reference of; nothing where none
    has one."""
    by_model = {one.model: one for one in members}
    parts: dict[str, list[Part]] = {}
    for member in members:
        for found in _measure_member(member, threshold, block):
            column = found.subject
            parts.setdefault(column, []).append(Part(member.model, member.served.height, found))
    if all(one.text == NO_REFERENCE for column in parts.values() for one in column):
        return []
    return [
        sum_up([_look_closer(one, by_model, column, threshold, block) for one in column])
        for column in parts.values()
    ]


def sum_up(parts: Sequence[Part]) -> Measurement:
    """Of one column, or output, of each model: fail where one of them has changed."""
    judged = [one for one in parts if one.measurement.verdict in (Verdict.PASS, Verdict.FAIL)]
    is_found = benjamini_hochberg([one.p_value for one in judged], ALPHA)
    changed = [one for one, found in zip(judged, is_found, strict=True) if found]
    changed.sort(key=lambda one: (one.p_value, -(one.measurement.value or 0.0), one.model))
    verdict = Verdict.FAIL if changed else Verdict.PASS if judged else Verdict.INCONCLUSIVE
    first = parts[0].measurement
    shown = changed or judged
    values = [one.measurement.value for one in shown if one.measurement.value is not None]
    days = [one.measurement.first_day for one in changed if one.measurement.first_day is not None]
    return Measurement(
        first.kind,
        first.subject,
        verdict,
        f"{first.subject}: {_say(parts, judged, changed)}",
        value=max(values, default=None) if first.kind is MeasurementKind.DRIFT else None,
        n_rows=sum(one.n_rows for one in judged),
        n_blocks=max((one.measurement.n_blocks for one in judged), default=0),
        first_day=min(days, default=None),
        detail={
            "n_models": len(parts),
            "n_judged": len(judged),
            "n_changed": len(changed),
            "models": {one.model: _keep(one) for one in changed[:KEPT]},
        },
    )


def _keep(part: Part) -> dict[str, object]:
    return {
        "value": part.measurement.value,
        "p_value": part.p_value,
        "n_rows": part.n_rows,
        "first_day": part.measurement.first_day,
        "sentence": part.text,
    }


def _say(parts: Sequence[Part], judged: Sequence[Part], changed: Sequence[Part]) -> str:
    if not judged:
        return f"none of {len(parts):,} models is judged: {_say_reasons(parts)}"
    unjudged = [one for one in parts if one.measurement.verdict is Verdict.INCONCLUSIVE]
    verb = "is" if len(unjudged) == 1 else "are"
    rest = f"; {len(unjudged):,} {verb} not judged: {_say_reasons(unjudged)}" if unjudged else ""
    if not changed:
        return f"none of {len(judged):,} models has changed{rest}"
    rows, of = (sum(one.n_rows for one in found) for found in (changed, parts))
    told = "; ".join(f"{one.model}: {one.text}" for one in changed[:TOLD])
    more = f"; and {len(changed) - TOLD:,} more" if len(changed) > TOLD else ""
    return (
        f"{len(changed):,} of {len(judged):,} models changed, which answered {rows:,} of {of:,} "
        f"rows: {told}{more}{rest}"
    )


def _say_reasons(parts: Sequence[Part]) -> str:
    """The two that most models have."""
    counted = Counter(one.text for one in parts).most_common()
    said = [f"{why} ({count:,})" for why, count in counted[:2]]
    return ", ".join([*said, "…"] if len(counted) > 2 else said)


def _measure_member(member: Member, threshold: float, block: str) -> list[Measurement]:
    """Columns that hardly moved as a whole, of a model with too few rows a day to judge days by,
    have not drifted: they are not resampled, which is what takes time."""
    hidden = [not_measured(column, why) for column, why in sorted(member.hidden.items())]
    reference = member.reference(())
    if reference is None:
        names = [name for name in (*member.served.columns, *sorted(member.hidden)) if name != block]
        return [not_measured(name, NO_REFERENCE) for name in names]
    window = profile_frame(member.served.drop(block), reference.whole.basis)
    names = columns_to_compare(reference.whole, window, None)
    if len(reference.days) < MIN_BLOCKS:
        why = f"{len(reference.days)} reference days, {MIN_BLOCKS} are needed"
        return [*(not_measured(name, why) for name in names), *hidden]
    compared = {one.column: one for one in compare_profiles(reference.whole, window, names)}
    a_day = member.served.group_by(block).len()["len"].max()
    is_thin = not isinstance(a_day, int) or a_day < COLLAPSED_ROWS
    still = {name for name in names if is_thin and (compared[name].psi or 0.0) <= threshold}
    moved = [name for name in names if name not in still]
    found = _resample(member, moved, threshold, block) if moved else []
    return [*found, *(_still(name, compared[name].psi, window.rows) for name in still), *hidden]


def _resample(
    member: Member,
    columns: Sequence[str],
    threshold: float,
    block: str,
    replicates: int = MIN_REPLICATES,
) -> list[Measurement]:
    reference = member.reference(columns)
    assert reference is not None, "it has been read before"
    return measure_drift(
        member.served.select(block, *columns),
        reference,
        block=block,
        columns=columns,
        threshold=threshold,
        replicates=replicates,
    )


def _still(column: str, psi: float | None, n_rows: int) -> Measurement:
    text = f"{column}: psi {psi or 0.0:.2g}"
    return Measurement(MeasurementKind.DRIFT, column, Verdict.PASS, text, psi, n_rows=n_rows)


def _look_closer(
    part: Part,
    by_model: Mapping[str, Member],
    others: Sequence[Part],
    threshold: float,
    block: str,
) -> Part:
    """Resampled again, and more often, where so few models have changed that a thousand times
    cannot tell them from chance among all that were looked at."""
    floor = 2 / (MIN_REPLICATES + 1)
    n_sure = sum(one.p_value <= floor for one in others)
    wanted = math.ceil(2 * len(others) / ALPHA / max(n_sure, 1))
    if wanted <= MIN_REPLICATES or not 0.0 < part.p_value <= floor:
        return part
    times = min(wanted, MAX_REPLICATES)
    (again,) = _resample(by_model[part.model], [part.measurement.subject], threshold, block, times)
    return Part(part.model, part.n_rows, again)
