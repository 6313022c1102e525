"""A schedule with its next times and its newest runs."""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.domain.clock import iso
from seamline.train.schedule.schedules import Schedule
from seamline.train.views.listing import Comparison, Condition, Order, page_runs

RECENT_RUNS = 10
NEXT_TIMES = 3


def show_schedule(platform: Platform, schedule: Schedule) -> dict[str, Any]:
    of_it = Condition("schedule_id", Comparison.EQUALS, schedule.id)
    newest = Order("created_at", is_descending=True)
    found = page_runs(platform.stores, conditions=[of_it], order=newest, limit=RECENT_RUNS)
    return {
        **schedule.to_json(),
        "next_times": _next_times(schedule),
        "runs_total": found.total,
        "runs": [
            {
                "id": run.id,
                "display_name": run.display_name,
                "state": run.state,
                "scheduled_for": run.scheduled_for,
                "created_at": run.created_at,
                "ended_at": run.ended_at,
            }
            for run in found.runs
        ],
    }


def _next_times(schedule: Schedule) -> list[str]:
    """Empty while it is paused; what is due already comes first."""
    timing = schedule.timing
    at = timing.next_at
    times: list[str] = []
    while at is not None and len(times) < NEXT_TIMES and not schedule.is_paused:
        times.append(iso(at))
        at = timing.next_after(at)
    return times
