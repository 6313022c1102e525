"""Request a run of a published pipeline or of compiled IR, where law 4 lets it run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from seamline.app.platform import Platform
from seamline.app.references import split_reference
from seamline.app.register.environment_pipelines import find_pipeline
from seamline.app.register.resolve_images import look_up_images, runs_in_its_image
from seamline.app.register.verify_artifact import require_pipeline
from seamline.domain.errors import InvalidInput, not_found
from seamline.promote.admission import admit_for_good
from seamline.promote.environments import TRAINING
from seamline.register.images.references import every_image
from seamline.register.pipelines.catalogue import (
    DEFAULT_REPOSITORY,
    PipelineVersionRow,
)
from seamline.train.options import DEFAULT_OPTIONS, UNLABELED, Isolation, RunLabel, RunOptions
from seamline.train.plan.load import plan_of
from seamline.train.runs import request_run


def submit_pipeline(
    platform: Platform,
    reference: str,
    *,
    arguments: Mapping[str, Any],
    environment: str = TRAINING,
    by: str,
    caused_by: str | None = None,
    run_id: str | None = None,
    label: RunLabel = UNLABELED,
    options: RunOptions = DEFAULT_OPTIONS,
    release: str | None = None,
) -> str:
    """`reference`: NAME@TAG or NAME@sha256:…; `release`: see `submit_ir`."""
    found = find_pipeline_by_reference(platform, reference)
    version = split_reference(reference)[1] or found.digest
    ir = read_published(platform, found.package, version, found.digest, options)
    return submit_ir(
        platform,
        ir,
        arguments=arguments,
        environment=environment,
        by=by,
        caused_by=caused_by,
        run_id=run_id,
        label=dataclasses.replace(label, reference=label.reference or reference),
        options=options,
        release=release,
    )


def submit_ir(
    platform: Platform,
    ir: bytes,
    *,
    arguments: Mapping[str, Any],
    environment: str = TRAINING,
    by: str,
    caused_by: str | None = None,
    run_id: str | None = None,
    label: RunLabel = UNLABELED,
    options: RunOptions = DEFAULT_OPTIONS,
    reuses_run: str | None = None,
    release: str | None = None,
) -> str:
    """Everything is checked before anything is recorded.

    `release`: with which one it is to run outside dataops: the live one (None), or one that is
    being checked there. Law 4 is checked in the transaction that records the run, so no promotion
    comes in between.
    """
    _check_team(platform, label.team)

    def admit(tx: Connection, pipeline: str) -> str | None:
        return admit_for_good(tx, environment, "This pipeline", [pipeline], release)

    run = request_run(
        platform.stores,
        ir,
        arguments=with_parameters(platform, ir, environment, arguments),
        environment=environment,
        by=by,
        caused_by=caused_by,
        run_id=run_id,
        label=label,
        options=options,
        reuses_run=reuses_run,
        machine=platform.engine.machine,
        admit=admit,
    )
    platform.engine.wake()
    return run


def read_published(
    platform: Platform,
    package: str,
    version: str,
    digest: str,
    options: RunOptions = DEFAULT_OPTIONS,
) -> bytes:
    """The bytes of a published pipeline, to be run. `version`: the tag that led to `digest`, or
    the digest itself.

    They are what this workspace has stated of that very tag (law 2). What its images stand for is
    looked up where publishing it could not.
    """
    stores = platform.stores
    require_pipeline(stores, DEFAULT_REPOSITORY, package, version, digest)
    ir = stores.blobs.get(digest, f"pipeline {package}@{version}")
    is_contained = options.isolation is Isolation.CONTAINER
    look_up_images(stores, digest, every_image if is_contained else runs_in_its_image)
    return ir


def with_parameters(
    platform: Platform, ir: bytes, environment: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """What the environment declares fills in what its pipeline takes and nobody gave."""
    declared = platform.declarations().environments.get(environment)
    if declared is None or not declared.arguments:
        return dict(arguments)
    takes = plan_of(ir).parameters
    given = {name: value for name, value in arguments.items() if value is not None}
    named = {name: value for name, value in declared.arguments.items() if name in takes}
    return {**named, **given}


def _check_team(platform: Platform, team: str) -> None:
    """A mistyped team would share nobody's slots."""
    declared = platform.team_slots.all()
    if team and declared and team not in declared:
        raise not_found("team", team, declared)


def find_pipeline_by_reference(platform: Platform, reference: str) -> PipelineVersionRow:
    """NAME@TAG or NAME@sha256:…; InvalidInput without a tag."""
    name, tag = split_reference(reference)
    if tag is None:
        raise InvalidInput(
            f"{reference!r} names no tag.", next_step=f"Write {reference}@1.0.0, for one."
        )
    return find_pipeline(platform.stores, name, tag)
