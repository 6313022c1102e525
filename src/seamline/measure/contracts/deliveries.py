"""Rules about a delivery as a whole: how many rows, how fresh, how much its values have shifted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from seamline.domain.durations import say_duration
from seamline.domain.states import Verdict
from seamline.measure.contracts.terms import Contract
from seamline.measure.contracts.violations import Violation, ViolationKind
from seamline.measure.drift_rules import decide_drift
from seamline.measure.profiles import Profile


def check_row_count(contract: Contract, rows: int, before: int | None) -> list[Violation]:
    """`before`: how many rows the delivery before brought, if there was one.

    >>> from seamline.measure.contracts.terms import RowBounds
    >>> contract = Contract((), rows=RowBounds(at_least=100, least_share=0.5))
    >>> [one.sentence() for one in check_row_count(contract, 40, 200)]
    ['rows: 40 came; at least 100 are expected (100 at least, 0.5 of the 200 before).']
    """
    bounds = contract.rows
    if bounds is None:
        return []
    lows = {"at least": bounds.at_least} if bounds.at_least is not None else {}
    highs = {"at most": bounds.at_most} if bounds.at_most is not None else {}
    shares: dict[str, Any] = {}
    low, high = bounds.at_least, bounds.at_most
    if before is not None and bounds.least_share is not None:
        shares["least"] = bounds.least_share
        low = max(low or 0, -int(-(bounds.least_share * before) // 1))
    if before is not None and bounds.most_share is not None:
        shares["most"] = bounds.most_share
        most = int(bounds.most_share * before)
        high = most if high is None else min(high, most)
    is_few, is_many = low is not None and rows < low, high is not None and rows > high
    if not is_few and not is_many:
        return []
    why = [f"{value:,} {word}" for word, value in ({**lows} if is_few else {**highs}).items()]
    share = shares.get("least" if is_few else "most")
    why += [f"{share:g} of the {before:,} before"] if share is not None else []
    side = f"at least {low:,}" if is_few else f"at most {high:,}"
    told = f"{rows:,} came; {side} are expected ({', '.join(why)})"
    policy = contract.policy(bounds.on_breach)
    return [Violation(ViolationKind.ROW_COUNT, "rows", told, rows, rows, policy=policy)]


def check_freshness(
    contract: Contract, column: str, newest: datetime | None, now: datetime
) -> list[Violation]:
    """`newest` is the newest event of the delivery."""
    fresh = contract.freshness
    if fresh is None or newest is None:
        return []
    age_s = (now - newest).total_seconds()
    if age_s <= fresh.max_age_s:
        return []
    told = (
        f"the newest event is of {newest:%Y-%m-%d %H:%M} UTC, {say_duration(age_s)} old; "
        f"at most {say_duration(fresh.max_age_s)} is allowed"
    )
    policy = contract.policy(fresh.on_breach)
    return [Violation(ViolationKind.STALE, column, told, 0, 0, policy=policy)]


def check_drift(
    contract: Contract,
    newest: Profile,
    newest_days: Sequence[Profile],
    delivery: Profile,
    days: int,
) -> Iterator[Violation]:
    """Columns that shifted by more than they may, and by more than the days of the newest version
    differ among themselves; with fewer than ten days nobody can tell. `days`: how many the
    delivery has."""
    for column in contract.columns:
        if column.drift is None or column.name not in newest.columns:
            continue
        found = decide_drift(
            newest,
            delivery,
            day_profiles=newest_days,
            days=days,
            threshold=column.drift,
            columns=[column.name],
        )
        for one in found.columns:
            if one.verdict is Verdict.FAIL:
                told = one.drift.sentence().removeprefix(f"{column.name}: ").rstrip(".")
                yield Violation(
                    ViolationKind.DRIFT,
                    column.name,
                    f"the values have shifted more than PSI {column.drift:g}: {told}",
                    delivery.rows,
                    delivery.rows,
                    policy=contract.policy(column.on_drift or column.on_breach),
                )
