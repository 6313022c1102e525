"""Recurring runs: our schedules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter

from seamline.app.platform import Platform
from seamline.app.train.run_schedule import add_schedule
from seamline.domain.errors import InvalidInput, not_found
from seamline.protocols.kfp_api.catalogue import pipeline_id, read_spec, version_id
from seamline.protocols.kfp_api.experiments import environment_of
from seamline.protocols.kfp_api.lists import Listing, page_of
from seamline.protocols.kfp_api.shapes import (
    MAX_BODY_BYTES,
    CronSchedule,
    Mode,
    NewRecurringRun,
    PeriodicSchedule,
)
from seamline.protocols.kfp_api.status import FAILED_PRECONDITION, api_route, status_of
from seamline.protocols.kfp_api.submission import read_source
from seamline.protocols.native.access import PlatformOf, Reader, Runner
from seamline.train.experiments import default_id, find_experiment
from seamline.train.schedule.due import MissedPolicy
from seamline.train.schedule.schedules import (
    NewSchedule,
    Schedule,
    delete_schedule,
    find_schedule,
    list_schedules,
    set_paused,
)
from seamline.trust.roles import Verb

KEYS = {
    "recurring_run_id": "id",
    "id": "id",
    "display_name": "name",
    "name": "name",
    "created_at": "created_at",
    "updated_at": "changed_at",
    "status": "status",
    "experiment_id": "experiment_id",
    "namespace": "environment",
}


def make_router() -> APIRouter:
    router = APIRouter(route_class=api_route(MAX_BODY_BYTES, Verb.RUN))
    _add_lists(router)
    _add_one(router)
    return router


def _add_lists(router: APIRouter) -> None:
    @router.post("/recurringruns")
    def create(platform: PlatformOf, who: Runner, body: NewRecurringRun) -> dict[str, Any]:
        wanted = read_source(platform, body, None, by=who.name)
        trigger = body.trigger.chosen()
        made = add_schedule(
            platform,
            NewSchedule(
                name=body.display_name,
                description=body.description or "",
                environment=wanted.environment,
                experiment_id=wanted.experiment.id,
                pipeline=wanted.choice,
                cron=trigger.cron if isinstance(trigger, CronSchedule) else None,
                interval_s=_interval(trigger),
                start_at=_utc(trigger.start_time),
                end_at=_utc(trigger.end_time),
                missed=MissedPolicy.LATEST if body.no_catchup else MissedPolicy.ALL,
                max_concurrency=1 if body.max_concurrency is None else body.max_concurrency,
                is_paused=body.mode is Mode.DISABLE,
                arguments=body.parameters(),
            ),
            by=who.name,
        )
        return _show(platform, made)

    @router.get("/recurringruns")
    def list_(
        platform: PlatformOf,
        who: Reader,
        request: Listing,
        namespace: str = "",
        experiment_id: str | None = None,
    ) -> dict[str, Any]:
        if experiment_id:
            find_experiment(platform.stores, experiment_id)
        environment = None if experiment_id else environment_of(platform, namespace)
        found = [
            one
            for one in list_schedules(platform.stores, environment)
            if not experiment_id or _experiment_of(one) == experiment_id
        ]
        page, total, token = page_of(request, found, KEYS, _value, lambda one: one.id)
        shown = [_show(platform, one) for one in page]
        # The one list of this API whose name is in JSON's spelling.
        return {"recurringRuns": shown, "total_size": total, "next_page_token": token}


def _add_one(router: APIRouter) -> None:
    @router.get("/recurringruns/{recurring_run_id}")
    def get(platform: PlatformOf, who: Reader, recurring_run_id: str) -> dict[str, Any]:
        return _show(platform, _find(platform, recurring_run_id))

    @router.post("/recurringruns/{recurring_run_id}:enable")
    def enable(platform: PlatformOf, who: Runner, recurring_run_id: str) -> dict[str, Any]:
        found = _find(platform, recurring_run_id)
        set_paused(platform.stores, found.id, False, by=who.name)
        platform.scheduler.wake()
        return {}

    @router.post("/recurringruns/{recurring_run_id}:disable")
    def disable(platform: PlatformOf, who: Runner, recurring_run_id: str) -> dict[str, Any]:
        found = _find(platform, recurring_run_id)
        set_paused(platform.stores, found.id, True, by=who.name)
        platform.scheduler.settle()
        return {}

    @router.delete("/recurringruns/{recurring_run_id}")
    def delete(platform: PlatformOf, who: Runner, recurring_run_id: str) -> dict[str, Any]:
        """Its runs stay."""
        found = _find(platform, recurring_run_id)
        delete_schedule(platform.stores, found.id, by=who.name)
        platform.scheduler.settle()
        return {}


def _find(platform: Platform, recurring_run_id: str) -> Schedule:
    """By its id alone: a name is not what this API calls it by."""
    found = find_schedule(platform.stores, recurring_run_id)
    if found.id != recurring_run_id:
        raise not_found("recurring run", recurring_run_id)
    return found


def _interval(trigger: CronSchedule | PeriodicSchedule) -> int | None:
    return trigger.interval_second if isinstance(trigger, PeriodicSchedule) else None


def _utc(at: datetime | None) -> datetime | None:
    if at is not None and at.tzinfo is None:
        raise InvalidInput(
            f"The trigger's time {at.isoformat()} has no time zone.", next_step="End it with Z."
        )
    return at.astimezone(UTC) if at else None


def _experiment_of(schedule: Schedule) -> str:
    return schedule.experiment_id or default_id(schedule.environment)


def _value(schedule: Schedule, column: str) -> str:
    if column == "status":
        return _status(schedule)
    if column == "experiment_id":
        return _experiment_of(schedule)
    return str(getattr(schedule, column))


def _status(schedule: Schedule) -> str:
    return "DISABLED" if schedule.is_paused else "ENABLED"


def _show(platform: Platform, schedule: Schedule) -> dict[str, Any]:
    shown = {
        "recurring_run_id": schedule.id,
        "display_name": schedule.name,
        "description": schedule.description,
        "runtime_config": {"parameters": dict(schedule.arguments)},
        "max_concurrency": str(schedule.max_concurrency),
        "trigger": _trigger(schedule),
        "mode": "DISABLE" if schedule.is_paused else "ENABLE",
        "status": _status(schedule),
        "created_at": schedule.created_at,
        "updated_at": schedule.changed_at,
        "no_catchup": schedule.missed is not MissedPolicy.ALL,
        "namespace": schedule.environment,
        "experiment_id": _experiment_of(schedule),
        **_source(platform, schedule),
    }
    if schedule.last_error:
        shown["error"] = status_of(FAILED_PRECONDITION, schedule.last_error)
    return shown


def _source(platform: Platform, schedule: Schedule) -> dict[str, Any]:
    choice = schedule.pipeline
    if choice.package is None:
        return {"pipeline_spec": read_spec(platform.stores, choice.digest or "")}
    reference = {"pipeline_id": pipeline_id(choice.package)}
    if choice.digest is not None:
        reference["pipeline_version_id"] = version_id(choice.package, choice.digest)
    return {"pipeline_version_reference": reference}


def _trigger(schedule: Schedule) -> dict[str, Any]:
    times = {"start_time": schedule.start_at, "end_time": schedule.end_at}
    given = {name: at for name, at in times.items() if at is not None}
    if schedule.cron is None:
        return {"periodic_schedule": {**given, "interval_second": str(schedule.interval_s)}}
    zone = f"CRON_TZ={schedule.time_zone} " if schedule.time_zone else ""
    return {"cron_schedule": {**given, "cron": zone + schedule.cron}}
