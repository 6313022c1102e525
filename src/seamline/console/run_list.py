"""The list of runs: what its page shows, and which of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamline.app.platform import Platform
from seamline.console import grid
from seamline.domain.clock import iso
from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.states import RunState, is_terminal
from seamline.promote.environments import list_environments
from seamline.train.views.listing import (
    Comparison,
    Condition,
    Cursor,
    Order,
    RunRecord,
    Storage,
    page_runs,
)
from seamline.train.views.lists import count_tasks, list_pipelines_run

LISTED_RUNS = 50


@dataclass(frozen=True)
class Filter:
    """Which runs are listed."""

    environment: str | None = None
    pipeline: str | None = None
    state: str | None = None
    storage: str = Storage.AVAILABLE.value
    #: "CREATED_AT~ID" of the last run of the page before.
    after: str | None = None


def read_runs(platform: Platform, asked: Filter) -> dict[str, Any]:
    with platform.stores.db.read() as connection:
        environments = [one.name for one in list_environments(connection)]
    known = [*RunState]
    if asked.state is not None and asked.state not in known:
        raise InvalidInput(
            f"{asked.state!r} is no state of a run.", next_step=nearest(asked.state, known)
        )
    wanted = {"pipeline": asked.pipeline, "state": asked.state, "storage": asked.storage}
    found = page_runs(
        platform.stores,
        environment=asked.environment,
        conditions=[
            Condition(name, Comparison.EQUALS, value) for name, value in wanted.items() if value
        ],
        order=Order("created_at", is_descending=True),
        after=_cursor(asked.after),
        limit=LISTED_RUNS,
    )
    runs = with_counts(platform, found.runs)
    return {
        "runs": runs,
        "total": found.total,
        "next": f"{found.next.value}~{found.next.id}" if found.next else None,
        **{name: getattr(asked, name) for name in ("environment", "storage", "after", *wanted)},
        "environments": environments,
        "pipelines": list_pipelines_run(platform.stores),
        "states": known,
        "is_moving": any_going(runs) and asked.after is None,
        "now": iso(platform.stores.clock.now()),
    }


def _cursor(text: str | None) -> Cursor | None:
    if text is None:
        return None
    value, mark, run_id = text.partition("~")
    if not mark:
        raise InvalidInput(f"{text!r} is no place in the list.", next_step="Begin at /runs.")
    return Cursor(value, run_id)


def newest_runs(platform: Platform, limit: int) -> list[dict[str, Any]]:
    """Of all environments, without archived ones."""
    available = Condition("storage", Comparison.EQUALS, Storage.AVAILABLE.value)
    newest = Order("created_at", is_descending=True)
    found = page_runs(platform.stores, conditions=[available], order=newest, limit=limit)
    return with_counts(platform, found.runs)


def with_counts(platform: Platform, runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    counts = count_tasks(platform.stores, [run.id for run in runs])
    return [{**show_record(run), "tasks": in_order(counts[run.id])} for run in runs]


def show_record(run: RunRecord) -> dict[str, Any]:
    names = ("id", "display_name", "pipeline", "pipeline_digest", "environment", "team", "state")
    more = ("storage", "requested_by", "schedule_id", "scheduled_for", "reference")
    times = ("created_at", "started_at", "ended_at")
    return {name: getattr(run, name) for name in (*names, *more, *times)}


def any_going(runs: Sequence[Mapping[str, Any]]) -> bool:
    return any(not is_terminal(RunState(run["state"])) for run in runs)


def in_order(counts: Mapping[str, int]) -> dict[str, int]:
    return {state: counts[state] for state in grid.ORDER if counts.get(state)}
