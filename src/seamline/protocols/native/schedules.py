"""Schedules: runs that come back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from seamline.app.train.run_schedule import add_schedule, choose_pipeline, parse_texts, pin_ir
from seamline.app.train.show_schedule import show_schedule
from seamline.domain.errors import InvalidInput
from seamline.promote.environments import TRAINING, find_environment
from seamline.protocols.native.access import PlatformOf, Reader, Runner
from seamline.train.options import read_options
from seamline.train.schedule.due import MissedPolicy
from seamline.train.schedule.schedules import (
    NewSchedule,
    delete_schedule,
    find_schedule,
    list_schedules,
    set_paused,
)

ROUTER = APIRouter()


class NewScheduleBody(BaseModel):
    """`pipeline`: NAME (its latest version), NAME@TAG (whatever the tag is at) or NAME@sha256:….
    `ir`: compiled YAML instead. `texts`: arguments as written by hand, read by their types."""

    model_config = ConfigDict(extra="forbid")

    name: str
    pipeline: str | None = None
    ir: str | None = None
    arguments: dict[str, Any] = {}
    texts: dict[str, str] = {}
    environment: str = TRAINING
    cron: str | None = None
    interval_s: int | None = None
    time_zone: str = ""
    start_at: datetime | None = None
    end_at: datetime | None = None
    missed: MissedPolicy = MissedPolicy.LATEST
    max_concurrency: int = 1
    is_paused: bool = False
    description: str = ""
    options: dict[str, Any] = {}


@ROUTER.post("/schedules")
def create(platform: PlatformOf, who: Runner, body: NewScheduleBody) -> dict[str, Any]:
    if (body.pipeline is None) == (body.ir is None):
        raise InvalidInput("Give either `pipeline` (NAME, NAME@TAG) or `ir` (compiled YAML).")
    ir = (body.ir or "").encode()
    choice = choose_pipeline(body.pipeline) if body.pipeline else pin_ir(platform, ir)
    with platform.stores.db.read() as connection:
        find_environment(connection, body.environment)
    texts = parse_texts(platform, choice, body.environment, body.texts)
    made = add_schedule(
        platform,
        NewSchedule(
            name=body.name,
            environment=body.environment,
            pipeline=choice,
            cron=body.cron,
            interval_s=body.interval_s,
            time_zone=body.time_zone,
            start_at=_utc(body.start_at),
            end_at=_utc(body.end_at),
            missed=body.missed,
            max_concurrency=body.max_concurrency,
            is_paused=body.is_paused,
            arguments={**body.arguments, **texts},
            options=read_options(body.options),
            description=body.description,
        ),
        by=who.name,
    )
    return made.to_json()


@ROUTER.get("/schedules")
def list_(
    platform: PlatformOf, who: Reader, environment: str | None = None
) -> list[dict[str, Any]]:
    if environment is not None:
        with platform.stores.db.read() as connection:
            find_environment(connection, environment)
    return [one.to_json() for one in list_schedules(platform.stores, environment)]


@ROUTER.get("/schedules/{schedule}")
def show(platform: PlatformOf, who: Reader, schedule: str) -> dict[str, Any]:
    """By id or name, with its newest runs."""
    return show_schedule(platform, find_schedule(platform.stores, schedule))


@ROUTER.post("/schedules/{schedule}/pause")
def pause(platform: PlatformOf, who: Runner, schedule: str) -> dict[str, Any]:
    found = set_paused(platform.stores, schedule, True, by=who.name)
    platform.scheduler.settle()
    return found.to_json()


@ROUTER.post("/schedules/{schedule}/resume")
def resume(platform: PlatformOf, who: Runner, schedule: str) -> dict[str, Any]:
    found = set_paused(platform.stores, schedule, False, by=who.name)
    platform.scheduler.wake()
    return found.to_json()


@ROUTER.delete("/schedules/{schedule}")
def delete(platform: PlatformOf, who: Runner, schedule: str) -> dict[str, Any]:
    """Its runs stay."""
    found = delete_schedule(platform.stores, schedule, by=who.name)
    platform.scheduler.settle()
    return found.to_json()


def _utc(at: datetime | None) -> datetime | None:
    if at is not None and at.tzinfo is None:
        raise InvalidInput(f"{at.isoformat()} has no time zone.", next_step="End it with Z.")
    return at.astimezone(UTC) if at else None
