"""Why a task was, or was not, taken from the cache."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, select

from seamline.domain.states import TaskState
from seamline.store.stores import Stores
from seamline.train.cache_key import differences, why_not_repeatable
from seamline.train.options import RunOptions, read_options
from seamline.train.plan import PlannedTask, find_node
from seamline.train.plans import load_plan
from seamline.train.rows import RUNS, TASKS
from seamline.train.runs import find_run_row, find_task_row


def explain_task(stores: Stores, run_id: str, task: str) -> dict[str, Any]:
    """`sentence`, and what it rests on: the key, its parts, and what differs from the result that
    it was nearest to."""
    with stores.db.read() as connection:
        run = find_run_row(connection, run_id)
        row = find_task_row(connection, run_id, task)
        nearest = _nearest(connection, run, row)
        same = _same_before(connection, row)
    _, node = find_node(load_plan(stores, run.pipeline_digest), task)
    parts = json.loads(row.cache_parts) if row.cache_parts else None
    changed = []
    if nearest is not None and parts is not None and nearest.cache_parts:
        changed = list(differences(json.loads(nearest.cache_parts), parts))
    options = read_options(json.loads(run.options))
    sentence = (
        _explain_skipped(row)
        if row.state == TaskState.SKIPPED
        else _why_not(row, node, options) or _explain_missed(row, nearest, changed, same, options)
    )
    return {
        "run_id": run_id,
        "task": task,
        "state": row.state,
        "sentence": sentence,
        "cache_key": row.cache_key,
        "parts": parts,
        "cached_from": {"run_id": row.cached_run_id, "task": row.cached_task}
        if row.cached_run_id
        else None,
        "compared_with": {"run_id": nearest.run_id, "task": nearest.name} if nearest else None,
        "differences": changed,
    }


def _explain_skipped(row: Row[Any]) -> str:
    return (
        f"It was not run: the result of {row.cached_task} in run {row.cached_run_id} stands in, "
        "which was called with the same."
    )


def _why_not(row: Row[Any], node: object, options: RunOptions) -> str | None:
    """What keeps a task from being looked up at all."""
    if not isinstance(node, PlannedTask):
        return f"It is a {row.kind}: only tasks are taken from the cache."
    if why := why_not_repeatable(node):
        return why
    if row.started_at is None:
        return "It has not started, so there is nothing to explain."
    if options.enable_cache is False:
        return "The run was requested without cache (--no-cache)."
    if options.enable_cache is None and not node.enable_cache:
        return (
            "Caching is off for this task in the pipeline (set_caching_options). Turn it on for "
            "the whole run with --cache."
        )
    return None


def _explain_missed(
    row: Row[Any],
    nearest: Row[Any] | None,
    changed: list[str],
    same: Row[Any] | None,
    options: RunOptions,
) -> str:
    if same is not None and options.cache_max_age_s is not None:
        return (
            f"There is a result of the same call, from {same.ended_at} (run {same.run_id}), but "
            f"the run takes none older than {options.cache_max_age_s:g} s."
        )
    if same is not None:
        return (
            f"Run {same.run_id} has a result of the same call, but it could not stand in: its "
            "bytes are gone, it ran in a weaker way than demanded, or it came too late."
        )
    if nearest is None:
        return "No task of this component had succeeded before it."
    told = "; ".join(changed) or "nothing that is written down"
    return f"What it was called with differs from {nearest.name} in run {nearest.run_id}: {told}."


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
