"""Retrainings: asked for once per cause, moved phase by phase, ended with a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from seamline.domain.clock import from_iso, iso, new_id
from seamline.domain.errors import Conflict, InvalidInput, nearest, not_found
from seamline.domain.facts import RetrainingDecided, RetrainingRequested
from seamline.retrain.arguments import fill_arguments
from seamline.retrain.phases import RetrainingPhase, check_step
from seamline.retrain.rows import RETRAININGS
from seamline.retrain.triggers import (
    Cause,
    EventWindow,
    Fire,
    Previous,
    Skip,
    Trigger,
    decide_retraining,
)
from seamline.store.canonical import canonical_json
from seamline.store.stores import Stores

#: What a step may fill in.
FILLED = ("run_id", "candidate_version", "incumbent_version", "evaluation_id", "release")


@dataclass(frozen=True)
class Retraining:
    id: str
    trigger: str
    model: str
    dedup_key: str
    phase: RetrainingPhase
    reason: str
    arguments: Mapping[str, str]
    run_id: str | None
    candidate_version: str | None
    incumbent_version: str | None
    evaluation_id: str | None
    release: str | None
    sentence: str
    monitor: str
    check: str
    window: str
    window_start: date
    window_end: date
    caused_by: str
    requested_by: str
    requested_at: str
    updated_at: str

    def to_json(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "phase": str(self.phase),
            "window_start": self.window_start.isoformat(),
            "window_end": self.window_end.isoformat(),
            "is_ended": self.phase.is_ended,
        }


def request_retraining(
    stores: Stores,
    trigger: Trigger,
    cause: Cause,
    window: EventWindow,
    *,
    model: str,
    incumbent_version: str | None,
    by: str,
    arguments: Mapping[str, str] | None = None,
) -> Retraining | Skip:
    """Decide and record in one transaction; asked again for the same alarm, the first answer.

    `arguments` are templates (`fill_arguments`); raises InvalidInput for unknown placeholders.
    """
    filled = fill_arguments(arguments or {}, window)
    now = stores.clock.now()
    with stores.db.transaction() as tx:
        known = _of_trigger(tx, trigger.name)
        same = next((one for one in known if one.caused_by == cause.fact_id), None)
        if same is not None:
            return same
        previous = [_previous(one) for one in known]
        decision = decide_retraining(trigger, cause, window, previous, now)
        if isinstance(decision, Skip):
            return decision
        retraining = _new(decision, trigger, cause, window, model, filled, by, iso(now))
        retraining = replace(
            retraining, id=new_id(stores.clock), incumbent_version=incumbent_version
        )
        tx.execute(insert(RETRAININGS).values(**_values(retraining)))
        fact = RetrainingRequested(retraining.id, trigger.name, decision.dedup_key, decision.reason)
        stores.facts.append(tx, fact, by=by, caused_by=cause.fact_id)
    return retraining


def _new(
    fire: Fire,
    trigger: Trigger,
    cause: Cause,
    window: EventWindow,
    model: str,
    arguments: Mapping[str, str],
    by: str,
    at: str,
) -> Retraining:
    return Retraining(
        id="",
        trigger=trigger.name,
        model=model,
        dedup_key=fire.dedup_key,
        phase=RetrainingPhase.REQUESTED,
        reason=fire.reason,
        arguments=arguments,
        run_id=None,
        candidate_version=None,
        incumbent_version=None,
        evaluation_id=None,
        release=None,
        sentence="",
        monitor=cause.monitor,
        check=cause.check,
        window=window.label,
        window_start=window.start,
        window_end=window.end,
        caused_by=cause.fact_id,
        requested_by=by,
        requested_at=at,
        updated_at=at,
    )


def _values(retraining: Retraining) -> dict[str, Any]:
    values = retraining.to_json()
    del values["is_ended"]
    return values | {"arguments": canonical_json(dict(retraining.arguments)).decode()}


def _previous(one: Retraining) -> Previous:
    return Previous(one.id, one.dedup_key, one.phase, one.window_end, from_iso(one.requested_at))


def advance_retraining(
    stores: Stores,
    retraining_id: str,
    before: RetrainingPhase,
    after: RetrainingPhase,
    *,
    by: str,
    sentence: str = "",
    caused_by: str | None = None,
    **filled: str | None,
) -> Retraining:
    """One step, guarded by the phase it starts from; the end of it is a fact.

    Asked again for a step that was taken, it changes nothing. Raises Conflict when somebody else
    took another one, MachineryError for a step that there is not.
    """
    check_step(before, after)
    odd = sorted(set(filled) - set(FILLED))
    if odd:
        raise InvalidInput(
            f"A step of a retraining fills in no {odd[0]!r}.", next_step=nearest(odd[0], FILLED)
        )
    values = {name: value for name, value in filled.items() if value is not None}
    with stores.db.transaction() as tx:
        found = _find(tx, retraining_id)
        if found.phase is after:
            return found
        if found.phase is not before:
            raise Conflict(
                f"Retraining {retraining_id} is {found.phase}, not {before}.",
                next_step=f"See it: seamline retraining show {retraining_id}.",
            )
        where = (RETRAININGS.c.id == retraining_id, RETRAININGS.c.phase == str(before))
        stamp = iso(stores.clock.now())
        changed = tx.execute(
            update(RETRAININGS)
            .where(*where)
            .values(phase=str(after), updated_at=stamp, sentence=sentence, **values)
        )
        if changed.rowcount != 1:
            raise Conflict(f"Retraining {retraining_id} was moved by somebody else meanwhile.")
        moved = _find(tx, retraining_id)
        if after.is_ended:
            fact = RetrainingDecided(
                moved.id, str(after), sentence, moved.release, moved.evaluation_id
            )
            stores.facts.append(tx, fact, by=by, caused_by=caused_by)
    return moved


def find_retraining(stores: Stores, retraining_id: str) -> Retraining:
    """Raises NotFound."""
    with stores.db.read() as connection:
        return _find(connection, retraining_id)


def find_by_run(stores: Stores, run_id: str) -> Retraining | None:
    """The retraining that a run belongs to."""
    with stores.db.read() as connection:
        query = select(RETRAININGS).where(RETRAININGS.c.run_id == run_id)
        row = connection.execute(query).first()
    return None if row is None else _retraining(row)


def _find(connection: Connection, retraining_id: str) -> Retraining:
    query = select(RETRAININGS).where(RETRAININGS.c.id == retraining_id)
    row = connection.execute(query).first()
    if row is None:
        raise not_found("retraining", retraining_id)
    return _retraining(row)


def _of_trigger(connection: Connection, trigger: str) -> list[Retraining]:
    query = select(RETRAININGS).where(RETRAININGS.c.trigger == trigger)
    rows = connection.execute(query.order_by(RETRAININGS.c.requested_at)).all()
    return [_retraining(row) for row in rows]


def _retraining(row: Row[Any]) -> Retraining:
    values = dict(row._mapping)
    values["phase"] = RetrainingPhase(values["phase"])
    values["arguments"] = json.loads(values["arguments"])
    for name in ("window_start", "window_end"):
        values[name] = date.fromisoformat(values[name])
    return Retraining(**values)


def list_retrainings(stores: Stores) -> list[dict[str, Any]]:
    """Newest first."""
    order = (RETRAININGS.c.requested_at.desc(), RETRAININGS.c.id.desc())
    with stores.db.read() as connection:
        rows = connection.execute(select(RETRAININGS).order_by(*order)).all()
    return [_retraining(row).to_json() for row in rows]


def list_open(stores: Stores, phase: RetrainingPhase | None = None) -> list[Retraining]:
    """Those that have not ended, oldest first: what a restarted loop looks after."""
    query = select(RETRAININGS).order_by(RETRAININGS.c.requested_at, RETRAININGS.c.id)
    with stores.db.read() as connection:
        found = [_retraining(row) for row in connection.execute(query).all()]
    return [one for one in found if not one.phase.is_ended and phase in (None, one.phase)]


def show_retraining(stores: Stores, retraining_id: str) -> dict[str, Any]:
    """Raises NotFound."""
    return find_retraining(stores, retraining_id).to_json()
