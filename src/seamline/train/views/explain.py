"""Why a task was, or was not, taken from the cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, select

from seamline.domain.clock import from_iso
from seamline.domain.states import Fidelity, TaskState, weaker
from seamline.store.stores import Stores
from seamline.train.engine.cache import look_up
from seamline.train.engine.cache_key import differences, why_not_repeatable
from seamline.train.engine.rerun import is_at_or_after
from seamline.train.options import RunOptions, read_options
from seamline.train.plan.load import load_plan
from seamline.train.plan.progress import GOOD
from seamline.train.plan.types import Plan, PlannedTask, find_node
from seamline.train.rows import RUNS, TASKS
from seamline.train.runs import find_run_row, find_task_row


def explain_task(stores: Stores, run_id: str, task: str) -> dict[str, Any]:
    """`sentence`, and what it rests on: the key, its parts, and what differs from the result that
    it was nearest to."""
    with stores.db.read() as connection:
        run = find_run_row(connection, run_id)
        row = find_task_row(connection, run_id, task)
        repeated = _repeated(connection, run, row)
        nearest = repeated or _nearest(connection, run, row)
        same = _same_before(connection, row)
        options = read_options(json.loads(run.options))
        unfit = _why_unfit(connection, stores, row, same, options) if same is not None else ""
    changed = list(_changes(nearest, row))
    plan = load_plan(stores, run.pipeline_digest)
    if row.state == TaskState.SKIPPED:
        sentence = _explain_skipped(row)
    elif why := _why_never(plan, row, options):
        sentence = why
    elif repeated is not None and changed:
        sentence = f"{_tell(nearest, changed)} This run repeats that one."
    elif why := _why_not_looked_up(plan, row, options):
        sentence = why
    elif same is not None:
        sentence = f"Run {same.run_id} has a result of the same call, but {unfit}."
    else:
        sentence = _tell(nearest, changed)
    return {
        "run_id": run_id,
        "task": task,
        "state": row.state,
        "sentence": sentence,
        "cache_key": row.cache_key,
        "parts": json.loads(row.cache_parts) if row.cache_parts else None,
        "cached_from": {"run_id": row.cached_run_id, "task": row.cached_task}
        if row.cached_run_id
        else None,
        "compared_with": {"run_id": nearest.run_id, "task": nearest.name} if nearest else None,
        "differences": changed,
    }


# -- sentences ---------------------------------------------------------------------------------


def _explain_skipped(row: Row[Any]) -> str:
    return (
        f"It was not run: the result of {row.cached_task} in run {row.cached_run_id} stands in, "
        "which was called with the same."
    )


def _why_never(plan: Plan, row: Row[Any], options: RunOptions) -> str:
    """What keeps any result from standing in, also one of a run that is repeated."""
    _, node = find_node(plan, row.name)
    if not isinstance(node, PlannedTask):
        article = "an" if row.kind[0] in "aeiou" else "a"
        return f"It is {article} {row.kind}: only tasks are taken from the cache."
    if why := why_not_repeatable(node):
        return why
    if row.started_at is None:
        return "It has not started, so there is nothing to explain."
    if options.from_task is not None and is_at_or_after(plan, options.from_task, row.name):
        return f"The run was requested to do {options.from_task} and all that comes after it anew."
    return ""


def _why_not_looked_up(plan: Plan, row: Row[Any], options: RunOptions) -> str:
    _, node = find_node(plan, row.name)
    if options.enable_cache is False:
        return "The run was requested without cache (--no-cache)."
    if options.enable_cache is None and isinstance(node, PlannedTask) and not node.enable_cache:
        return (
            "Caching is off for this task in the pipeline (set_caching_options). Turn it on for "
            "the whole run with --cache."
        )
    return ""


def _why_unfit(
    connection: Connection, stores: Stores, row: Row[Any], same: Row[Any], options: RunOptions
) -> str:
    """Why a result of the same call did not stand in."""
    age_s = (from_iso(row.started_at) - from_iso(same.ended_at)).total_seconds()
    if options.cache_max_age_s is not None and age_s > options.cache_max_age_s:
        limit = f"{options.cache_max_age_s:g} s"
        return f"it is from {same.ended_at}, and the run takes none older than {limit}"
    demanded = options.demand_fidelity
    if demanded is not None:
        made = Fidelity(same.fidelity) if same.fidelity else None
        if made is None or weaker(made, demanded) is not demanded:
            return f"it ran as {made}, and the run demands {demanded}"
    if row.attempt > 1:
        return "this task had been tried already, and is tried again for a result of its own"
    if same.cache_key not in look_up(connection, stores, [same.cache_key], None):
        return "its bytes are gone"
    return "it was not there yet when this task became ready"


def _tell(nearest: Row[Any] | None, changed: list[str]) -> str:
    if nearest is None:
        return "No task of this component had succeeded before it."
    told = "; ".join(changed) or "nothing that is written down"
    return f"What it was called with differs from {nearest.name} in run {nearest.run_id}: {told}."


# -- what to compare with ----------------------------------------------------------------------


def _changes(nearest: Row[Any] | None, row: Row[Any]) -> Iterator[str]:
    if nearest is not None and nearest.cache_parts and row.cache_parts:
        yield from differences(json.loads(nearest.cache_parts), json.loads(row.cache_parts))


def _repeated(connection: Connection, run: Row[Any], row: Row[Any]) -> Row[Any] | None:
    """Its result in the run that this one repeats, if it has one there."""
    if run.reuses_run is None:
        return None
    query = select(TASKS).where(
        TASKS.c.run_id == run.reuses_run, TASKS.c.name == row.name, TASKS.c.state.in_(GOOD)
    )
    return connection.execute(query).one_or_none()


def _nearest(connection: Connection, run: Row[Any], row: Row[Any]) -> Row[Any] | None:
    """The newest result of the same task in another run of the pipeline; else of its component."""
    if row.cache_parts is None or row.started_at is None:
        return None
    query = (
        select(TASKS)
        .join(RUNS, RUNS.c.id == TASKS.c.run_id)
        .where(
            RUNS.c.pipeline == run.pipeline,
            RUNS.c.environment == run.environment,
            TASKS.c.component == row.component,
            TASKS.c.state == TaskState.SUCCEEDED,
            TASKS.c.ended_at <= row.started_at,
            (TASKS.c.run_id != row.run_id) | (TASKS.c.name != row.name),
        )
        .order_by((TASKS.c.name == row.name).desc(), TASKS.c.ended_at.desc())
        .limit(1)
    )
    return connection.execute(query).one_or_none()


def _same_before(connection: Connection, row: Row[Any]) -> Row[Any] | None:
    if row.cache_key is None or row.started_at is None:
        return None
    query = (
        select(TASKS)
        .where(
            TASKS.c.cache_key == row.cache_key,
            TASKS.c.state == TaskState.SUCCEEDED,
            TASKS.c.ended_at <= row.started_at,
            (TASKS.c.run_id != row.run_id) | (TASKS.c.name != row.name),
        )
        .order_by(TASKS.c.ended_at.desc())
        .limit(1)
    )
    return connection.execute(query).one_or_none()
