"""Outputs that a model declares become wheels, described in a task process of their own."""

from __future__ import annotations

import io
import json
from typing import Any

import polars as pl

from seamline.app.declarations import ModelDeclaration
from seamline.app.platform import Platform
from seamline.domain.clock import iso
from seamline.domain.errors import (
    Conflict,
    DigestMismatch,
    InvalidInput,
    MachineryError,
    NotFound,
    Refused,
    SeamlineError,
)
from seamline.measure.basis import make_basis
from seamline.measure.profiles import profile_partitions, sum_profiles
from seamline.promote.environments import TRAINING
from seamline.register.documents import (
    DatasetVersionRef,
    Lineage,
    make_model_document,
    packaging_task,
)
from seamline.register.models import (
    find_version_of_run,
    newest_version,
    next_version,
    refuse_model,
    register_model_version,
)
from seamline.register.pipelines import commit_of_pipeline, find_pipeline
from seamline.register.wheels import ModelWheelSpec, build_model_wheel
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.tasks import TaskKind, TaskSpec
from seamline.store.canonical import canonical_json
from seamline.store.facts import RecordedFact
from seamline.train.artifacts import Artifact
from seamline.train.requirements import task_requirements
from seamline.train.runs import find_artifact, show_run

DAY = "ds"
#: What would say the same again: the model is refused, and other reactions to the run go on.
FINAL = (InvalidInput, Refused, NotFound, Conflict, DigestMismatch)


def on_run_ended(platform: Platform, fact: RecordedFact) -> None:
    """Safe to do again: a run whose model is registered is left alone."""
    if fact.body["environment"] != TRAINING:
        return
    for declaration in platform.declarations().models.values():
        if declaration.pipeline != fact.body["pipeline"]:
            continue
        try:
            package_model(platform, declaration, fact)
        except FINAL as error:
            refuse_model(
                platform.stores,
                declaration.name,
                fact.body["run_id"],
                str(error),
                caused_by=fact.id,
            )


def package_model(platform: Platform, declaration: ModelDeclaration, fact: RecordedFact) -> None:
    stores, run_id = platform.stores, fact.body["run_id"]
    if find_version_of_run(stores, declaration.name, run_id) is not None:
        return
    run = show_run(stores, run_id)
    _check_published(platform, run)
    task, _, output = declaration.output.partition(".")
    try:
        model = find_artifact(stores, run_id, task, output)
    except NotFound:
        if any(one["name"] == task for one in run["tasks"]) and run["state"] != "succeeded":
            return  # the run failed before it made a model
        raise
    described = _describe(platform, declaration, run, model)
    document = _document(platform, declaration, run, model, described)
    wheel = build_model_wheel(
        ModelWheelSpec(
            document, described["samples"], stores.blobs.get(model.digest, f"model of run {run_id}")
        )
    )
    register_model_version(
        stores, wheel, key=platform.key, by=run["requested_by"], caused_by=fact.id
    )


def _check_published(platform: Platform, run: dict[str, Any]) -> None:
    """A pipeline that merely bears the name makes no version of the model."""
    try:
        find_pipeline(platform.stores, run["pipeline"], run["pipeline_digest"])
    except NotFound as error:
        raise Refused(
            f"Run {run['id']} ran a pipeline that was not published as {run['pipeline']}.",
            next_step="Publish it with seamline pipeline push, and run it by its tag.",
        ) from error


def _describe(
    platform: Platform, declaration: ModelDeclaration, run: dict[str, Any], model: Artifact
) -> dict[str, Any]:
    """Runs the packaging script where the model's libraries are; the control plane does not."""
    stores, run_id = platform.stores, run["id"]
    task, _, _ = declaration.output.partition(".")
    samples = find_artifact(stores, run_id, *declaration.samples.split(".", 1))
    requirements = task_requirements(stores, run["pipeline_digest"], task)
    script, payload = packaging_task(
        stores.blobs.verified_path(model.digest, f"model of run {run_id}").resolve(),
        stores.blobs.verified_path(samples.digest, f"samples of run {run_id}").resolve(),
        requirements=requirements,
        threshold=float(model.metadata.get("threshold", 0.5)),
    )
    work = stores.root / "runs" / run_id / f"package-{declaration.name}"
    work.mkdir(parents=True, exist_ok=True)
    (work / "input.json").write_text(json.dumps(payload))
    spec = TaskSpec(
        task_id=f"package/{run_id}/{declaration.name}",
        kind=TaskKind.SCRIPT,
        source=script,
        input_path=work / "input.json",
        output_path=work / "output.json",
        work_dir=work,
        log_path=work / "log",
        environment=platform.environments.ensure(RequirementSet.of(requirements)),
    )
    outcome = platform.runner.start(spec).result()
    if outcome.is_machinery:
        raise MachineryError(f"Packaging {declaration.name} of run {run_id} was interrupted.")
    if not outcome.succeeded:
        reason = outcome.error.message if outcome.error else "it did not say why"
        raise InvalidInput(f"{declaration.name} of run {run_id} cannot be packaged: {reason}")
    described: dict[str, Any] = json.loads((work / "output.json").read_text())
    return described


def _document(
    platform: Platform,
    declaration: ModelDeclaration,
    run: dict[str, Any],
    model: Artifact,
    described: dict[str, Any],
) -> dict[str, Any]:
    stores = platform.stores
    previous = newest_version(stores, declaration.name)
    inputs = [column["name"] for column in described["signature"]["inputs"]]
    lineage = Lineage(
        run_id=run["id"],
        pipeline=run["pipeline"],
        pipeline_digest=run["pipeline_digest"],
        dataset_versions=_datasets(run),
        commit=commit_of_pipeline(stores, run["pipeline_digest"]),
        trained_at=run["ended_at"] or iso(stores.clock.now()),
        previous_version=previous.version if previous else None,
        arguments=run["arguments"],
    )
    return make_model_document(
        declaration.name,
        next_version(stores, declaration.name, declaration.version),
        described,
        lineage,
        parameters=model.metadata.get("parameters", {}),
        metrics=model.metadata.get("metrics", {}),
        profile_digest=_profile(platform, declaration, run["id"], inputs),
    )


def _datasets(run: dict[str, Any]) -> tuple[DatasetVersionRef, ...]:
    found = {}
    for task in run["tasks"]:
        for artifact in task["outputs"]["artifacts"].values():
            if artifact["uri"].startswith("datasets://"):
                metadata = artifact["metadata"]
                found[artifact["uri"]] = DatasetVersionRef(
                    metadata["dataset"], int(metadata["version"]), artifact["digest"]
                )
    return tuple(found[uri] for uri in sorted(found))


def _profile(
    platform: Platform, declaration: ModelDeclaration, run_id: str, inputs: list[str]
) -> str | None:
    """A blob {basis, total, days}: the training rows day by day, on a basis of their own."""
    if declaration.profile is None:
        return None
    stores = platform.stores
    artifact = find_artifact(stores, run_id, *declaration.profile.split(".", 1))
    data = stores.blobs.get(artifact.digest, f"training rows of run {run_id}")
    try:
        rows = pl.read_parquet(io.BytesIO(data), columns=[*inputs, DAY])
    except (pl.exceptions.PolarsError, SeamlineError) as error:
        raise InvalidInput(
            f"{declaration.profile} of run {run_id} lacks the model's inputs or {DAY!r}: {error}"
        ) from error
    features = rows.select(inputs)
    basis = make_basis(features)
    days = profile_partitions(features, basis, rows[DAY].cast(pl.String))
    document = {
        "basis": basis.to_json(),
        "total": sum_profiles(list(days.values())).to_json(),
        "days": {day: profile.to_json() for day, profile in sorted(days.items())},
    }
    return stores.blobs.put(canonical_json(document))
