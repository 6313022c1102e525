"""What lists of runs tell beside the runs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select

from seamline.store.stores import Stores
from seamline.train.record import RUNNABLE
from seamline.train.rows import RUNS, TASKS


def count_tasks(stores: Stores, run_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Run → state → how many of its tasks; iterations that have not begun have none yet."""
    counts: dict[str, dict[str, int]] = {run_id: {} for run_id in run_ids}
    query = (
        select(TASKS.c.run_id, TASKS.c.state, func.count().label("tasks"))
        .where(TASKS.c.run_id.in_(run_ids), TASKS.c.kind.in_(RUNNABLE))
        .group_by(TASKS.c.run_id, TASKS.c.state)
    )
    with stores.db.read() as connection:
        for row in connection.execute(query):
            counts[row.run_id][row.state] = row.tasks
    return counts


def list_pipelines_run(stores: Stores) -> list[str]:
    """The names of all pipelines that have ever run, in order."""
    with stores.db.read() as connection:
        query = select(RUNS.c.pipeline).distinct().order_by(RUNS.c.pipeline)
        return list(connection.execute(query).scalars())


def newest_by_schedule(
    stores: Stores, schedule_ids: Sequence[str], limit: int
) -> dict[str, list[dict[str, Any]]]:
    """Schedule → its last runs, the oldest of them first."""
    of_schedule = func.row_number().over(
        partition_by=RUNS.c.schedule_id, order_by=RUNS.c.created_at.desc()
    )
    columns = [RUNS.c[name] for name in ("id", "state", "scheduled_for", "schedule_id")]
    ranked = (
        select(*columns, of_schedule.label("place"))
        .where(RUNS.c.schedule_id.in_(schedule_ids))
        .subquery()
    )
    newest = select(ranked).where(ranked.c.place <= limit).order_by(ranked.c.place.desc())
    found: dict[str, list[dict[str, Any]]] = {schedule_id: [] for schedule_id in schedule_ids}
    with stores.db.read() as connection:
        for row in connection.execute(newest):
            shown = {"id": row.id, "state": row.state, "scheduled_for": row.scheduled_for}
            found[row.schedule_id].append(shown)
    return found
