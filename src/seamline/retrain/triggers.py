"""Whether an alarm asks for a retraining. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from seamline.retrain.phases import RetrainingPhase


class EventWindow(Protocol):
    """A window of event time, from `start` up to, without, `end`."""

    @property
    def label(self) -> str: ...
    @property
    def start(self) -> date: ...
    @property
    def end(self) -> date: ...


@dataclass(frozen=True)
class Trigger:
    """`checks`: the alarms to act on, as alarms name them (`auc >= 0.7`, `drift(hour)`), or a kind
    of them (`drift`, `output`). None named: every check on performance, and no drift, since
    retraining on broken inputs would teach the model the fault."""

    name: str
    monitor: str
    checks: tuple[str, ...] = ()
    cool_down_s: float = 0.0


@dataclass(frozen=True)
class Cause:
    """An alarm, by the id of its fact."""

    fact_id: str
    monitor: str
    check: str
    sentence: str = ""


@dataclass(frozen=True)
class Previous:
    """An earlier retraining of the same trigger."""

    id: str
    dedup_key: str
    phase: RetrainingPhase
    window_end: date
    requested_at: datetime


@dataclass(frozen=True)
class Fire:
    dedup_key: str
    reason: str


@dataclass(frozen=True)
class Skip:
    """`is_final`: no later look at the same alarm can come out differently."""

    reason: str
    is_final: bool = True


def decide_retraining(
    trigger: Trigger,
    cause: Cause,
    window: EventWindow,
    previous: Sequence[Previous],
    now: datetime,
) -> Fire | Skip:
    """One retraining per trigger and window, one open at a time, none for a window that is not
    later than one acted on, and none while cooling down.

    It is cool again when the cool-down has passed either by the clock, since the last request, or
    in event time, since the end of its window: months that are measured within one minute, after a
    time without monitoring, are months apart all the same. What broke does not hold others up.
    """
    if cause.monitor != trigger.monitor or not acts_on(trigger.checks, cause.check):
        return Skip(f"trigger {trigger.name} does not act on {cause.check} of {cause.monitor}")
    key = f"{trigger.name}/{cause.monitor}/{window.label}"
    if known := next((one for one in previous if one.dedup_key == key), None):
        return Skip(f"{window.label} has its retraining: {known.id}, {known.phase}")
    if known := next((one for one in previous if not one.phase.is_ended), None):
        return Skip(f"retraining {known.id} is {known.phase}; one at a time", is_final=False)
    counted = [one for one in previous if one.phase is not RetrainingPhase.ERRORED]
    if known := next((one for one in counted if one.window_end >= window.end), None):
        return Skip(f"retraining {known.id} acted on a later window, up to {known.window_end}")
    for one in counted:
        in_events_s = (window.end - one.window_end).total_seconds()
        by_clock_s = (now - one.requested_at).total_seconds()
        if max(in_events_s, by_clock_s) < trigger.cool_down_s:
            return Skip(
                f"cooling down after retraining {one.id}: {max(in_events_s, by_clock_s):,.0f} of "
                f"{trigger.cool_down_s:,.0f} seconds have passed",
                is_final=False,
            )
    return Fire(key, f"{cause.monitor}, {window.label}: {cause.sentence or cause.check}")


def acts_on(checks: Sequence[str], check: str) -> bool:
    """
    >>> acts_on((), "auc >= 0.7"), acts_on((), "drift(hour)")
    (True, False)
    >>> acts_on(("drift",), "drift(hour)"), acts_on(("mae<=10",), "mae <= 10")
    (True, True)
    """
    kind = check.partition("(")[0]
    if not checks:
        return kind not in ("drift", "output")
    return any("".join(one.split()) in (kind, "".join(check.split())) for one in checks)
