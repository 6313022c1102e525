"""Schedules meet pipelines: which version runs at a due time, and whether it may be scheduled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from seamline.app.platform import Platform
from seamline.app.references import split_reference
from seamline.app.register.environment_pipelines import find_pipeline
from seamline.app.train.submit_run import read_published, submit_ir
from seamline.domain.clock import iso
from seamline.domain.digests import digest_of, parse_digest
from seamline.domain.errors import Refused
from seamline.promote.admission import admit
from seamline.promote.environments import TRAINING, live_release
from seamline.register.pipelines.catalogue import list_versions
from seamline.train.admission import check_pipeline
from seamline.train.arguments import check_arguments, parse_arguments
from seamline.train.options import DEFAULT_OPTIONS, RunLabel, RunOptions
from seamline.train.schedule.expression import split_zone
from seamline.train.schedule.schedules import (
    NewSchedule,
    PipelineChoice,
    Schedule,
    create_schedule,
)


def choose_pipeline(reference: str) -> PipelineChoice:
    """
    >>> str(choose_pipeline("training")), choose_pipeline("training@1.0.0").tag
    ('training', '1.0.0')
    """
    name, version = split_reference(reference)
    if version is not None and version.startswith("sha256:"):
        return PipelineChoice(name, None, parse_digest(version))
    return PipelineChoice(name, version)


def pin_ir(platform: Platform, ir: bytes) -> PipelineChoice:
    """For compiled IR that nobody has published."""
    return PipelineChoice(digest=platform.stores.blobs.put(ir))


def add_schedule(platform: Platform, new: NewSchedule, *, by: str) -> Schedule:
    """Refused, or invalid, where its run would be if it were due now."""
    _, ir = read_pipeline(platform, new.pipeline, new.environment, new.options)
    plan, _ = check_pipeline(ir, new.options)
    arguments = check_arguments(plan.parameters, new.arguments)
    given = {name: arguments[name] for name in new.arguments if name in arguments}
    with platform.stores.db.read() as connection:
        admit(connection, new.environment, "This pipeline", [digest_of(ir)])
    made = create_schedule(platform.stores, replace(new, arguments=given), by=by)
    platform.scheduler.wake()
    return made


def parse_texts(
    platform: Platform, choice: PipelineChoice, environment: str, texts: Mapping[str, str]
) -> dict[str, Any]:
    """Arguments written by hand, read by the types that the pipeline declares."""
    if not texts:
        return {}
    digest = resolve_pipeline(platform, choice, environment)
    plan, _ = check_pipeline(platform.stores.blobs.get(digest), DEFAULT_OPTIONS)
    return parse_arguments(plan.parameters, texts)


def request_scheduled(
    platform: Platform, schedule: Schedule, due_at: datetime, run_id: str
) -> None:
    """In the name of whoever created the schedule; a run that exists already is that run."""
    choice = schedule.pipeline
    digest, ir = read_pipeline(platform, choice, schedule.environment, schedule.options)
    submit_ir(
        platform,
        ir,
        arguments=schedule.arguments,
        environment=schedule.environment,
        by=schedule.created_by,
        caused_by=schedule.fact,
        run_id=run_id,
        label=RunLabel(
            display_name=_run_name(schedule, due_at),
            experiment_id=schedule.experiment_id,
            schedule_id=schedule.id,
            scheduled_for=iso(due_at),
            reference=f"{choice.package}@{choice.tag or digest}" if choice.package else None,
        ),
        options=schedule.options,
    )


def read_pipeline(
    platform: Platform,
    choice: PipelineChoice,
    environment: str,
    options: RunOptions = DEFAULT_OPTIONS,
) -> tuple[str, bytes]:
    """The digest that it stands for now, and the bytes to run."""
    digest = resolve_pipeline(platform, choice, environment)
    if choice.package is None:
        return digest, platform.stores.blobs.get(digest, f"pipeline {choice}")
    version = digest if choice.digest is not None else choice.tag or digest
    return digest, read_published(platform, choice.package, version, digest, options)


def resolve_pipeline(platform: Platform, choice: PipelineChoice, environment: str) -> str:
    """The digest that it stands for now.

    The latest version of a package is the newest that was published; outside of dataops it is
    the one that the environment's live release holds, since nothing else may run there.
    """
    stores = platform.stores
    if choice.digest is not None:
        return choice.digest
    package = choice.package or ""
    if choice.tag is not None:
        return find_pipeline(stores, package, choice.tag).digest
    if environment == TRAINING:
        return list_versions(stores, package)[0].digest
    with stores.db.read() as connection:
        live = live_release(connection, environment)
    pins = {pin.name: pin.digest for pin in live.release.pipelines} if live else {}
    if package not in pins:
        why = f"the live release {live.alias} holds none" if live else "no release is live there"
        raise Refused(
            f"No version of {package} can run in {environment}: {why}.",
            next_step="Make a release that holds it, and promote that.",
        )
    return pins[package]


def _run_name(schedule: Schedule, due_at: datetime) -> str:
    _, zone = split_zone(schedule.cron or "", schedule.time_zone)
    return f"{schedule.name[:170]} {due_at.astimezone(zone):%Y-%m-%d %H:%M:%S}"
