"""One model that a run has made becomes a wheel, described in a task process."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from seamline.app.platform import Platform
from seamline.app.run_models import MadeModel, Source
from seamline.app.used_data import used_splits, used_versions
from seamline.domain.clock import iso
from seamline.domain.errors import (
    InvalidInput,
    MachineryError,
    NotFound,
    Refused,
    SeamlineError,
    not_found,
)
from seamline.measure.basis import make_basis
from seamline.measure.profiles import profile_partitions, sum_profiles
from seamline.promote.environments import find_environment
from seamline.register.formats.scan import Scan, check_admitted, check_findings, scan_model
from seamline.register.models.catalogue import (
    ModelVersion,
    newest_version,
    next_version,
    register_model_version,
)
from seamline.register.models.documents import (
    Lineage,
    make_model_document,
    packaging_task,
)
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.packages.index import PUBLISHING
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.tasks import TaskEnd, TaskIsolation, TaskKind, TaskOutcome, TaskSpec
from seamline.store.canonical import canonical_json
from seamline.train.artifacts import Artifact, read_manifest
from seamline.train.scenarios.loop import scenario_label
from seamline.train.views.rounds import Round, list_made
from seamline.train.views.training import find_training

DAY = "ds"


@dataclass(frozen=True)
class Bench:
    """What packaging the models of one source needs, whichever model it is."""

    source: Source
    requirements: tuple[str, ...]
    environment: PythonEnvironment
    #: Task → the same task in each round → the dataset version that it read.
    read: Mapping[str, Mapping[str, Artifact]]
    commit: str | None
    isolation: TaskIsolation


@dataclass(frozen=True)
class Packaging:
    """A model that is being described."""

    bench: Bench
    made: MadeModel
    work: Path
    outcome: Future[TaskOutcome]

    @property
    def what(self) -> str:
        return f"{self.made.member.name} of run {self.bench.source.run_id}"


def start_packaging(platform: Platform, bench: Bench, made: MadeModel) -> Packaging:
    """Runs the packaging script where the model's libraries are; the control plane does not."""
    stores, source, member = platform.stores, bench.source, made.member
    check_owner(newest_version(stores, member.name), made, source.declaration.name)
    if made.samples is None:
        beside = member.round.beside(source.samples.path)
        raise not_found(f"artifact of task {beside!r} of run {source.run_id}", source.samples.name)
    what = f"{member.name} of run {source.run_id}"
    digest, scan = _model_file(platform, made), scan_made(platform, made, what)
    script, payload = packaging_task(
        stores.blobs.verified_path(digest, f"model {what}").resolve(),
        stores.blobs.verified_path(made.samples.digest, f"samples of {what}").resolve(),
        requirements=bench.requirements,
        threshold=_threshold(made),
        scan=scan,
        payload_digest=digest,
    )
    work = stores.root / "runs" / source.run_id / f"package-{member.name}"
    work.mkdir(parents=True, exist_ok=True)
    (work / "input.json").write_text(json.dumps(payload))
    spec = TaskSpec(
        task_id=f"package/{source.run_id}/{member.name}",
        kind=TaskKind.SCRIPT,
        source=script,
        input_path=work / "input.json",
        output_path=work / "output.json",
        work_dir=work,
        log_path=work / "log",
        environment=bench.environment,
        isolation=bench.isolation,
        share=f"package/{source.run_id}",
    )
    return Packaging(bench, made, work, platform.runner.start(spec))


def scan_made(platform: Platform, made: MadeModel, what: str) -> Scan:
    """What the model's bytes are, before anything opens them; Refused where dataops must not."""
    digest = _model_file(platform, made)
    scan = scan_model(platform.stores.blobs.get(digest, f"model {what}"))
    check_findings(scan, what)
    check_admitted(scan.format, admitted_formats(platform), PUBLISHING, what)
    return scan


def admitted_formats(platform: Platform) -> tuple[str, ...]:
    """That run code, and that the policy of dataops lists."""
    with platform.stores.db.read() as connection:
        return find_environment(connection, PUBLISHING).policy.formats


def _model_file(platform: Platform, made: MadeModel) -> str:
    """The digest of the file itself: a task may have made a folder that holds it alone."""
    if not made.artifact.is_directory:
        return made.artifact.digest
    files = read_manifest(platform.stores.blobs, made.artifact)
    if len(files) != 1:
        raise InvalidInput(
            f"The output of {made.member.name} is a folder with {len(files)} files: "
            f"{', '.join(sorted(files)[:5])}.",
            next_step="Write the model as one file.",
        )
    return next(iter(files.values()))


def check_owner(held: ModelVersion | None, made: MadeModel, family: str) -> None:
    """A name goes on meaning what it meant: no other declaration's model, no other scenario's."""
    wanted = made.member.scenario
    if held is None:
        return
    if held.family != family or not _is_same(held.scenario, wanted):
        before, after = _say(held.family, held.scenario), _say(family, wanted)
        raise Refused(
            f"{held.model} {held.version} is a model of {before}, not of {after}.",
            next_step="Rename one of the two, or tell its scenarios apart by more fields in per.",
        )


def _say(family: str, scenario: Mapping[str, Any]) -> str:
    return f"{family} ({scenario_label(scenario)})" if scenario else family


def _is_same(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Fields may have been renamed since."""
    if held.keys() == wanted.keys():
        return held == wanted
    return sorted(map(str, held.values())) == sorted(map(str, wanted.values()))


def finish_packaging(platform: Platform, packaging: Packaging, caused_by: str) -> ModelVersion:
    """Waits for the description, and registers the model with it."""
    stores, source, made = platform.stores, packaging.bench.source, packaging.made
    outcome = packaging.outcome.result()
    if outcome.is_machinery or outcome.end is TaskEnd.CANCELED:
        raise MachineryError(f"Packaging {packaging.what} was interrupted.")
    if not outcome.succeeded:
        reason = outcome.error.message if outcome.error else "it did not say why"
        raise InvalidInput(f"{packaging.what} cannot be packaged: {reason}")
    described: dict[str, Any] = json.loads((packaging.work / "output.json").read_text())
    payload = stores.blobs.get(_model_file(platform, made), f"model {packaging.what}")
    document = _document(platform, packaging.bench, made, described)
    wheel = build_model_wheel(ModelWheelSpec(document, described["samples"], payload))
    registered = register_model_version(
        stores,
        wheel,
        key=platform.key,
        by=source.run["requested_by"],
        caused_by=caused_by,
        admitted=admitted_formats(platform),
    )
    shutil.rmtree(packaging.work, ignore_errors=True)
    return registered


def _threshold(made: MadeModel) -> float:
    value = made.artifact.metadata.get("threshold", 0.5)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"The threshold of {made.member.name} is {value!r}, no number."
        ) from error


def _document(
    platform: Platform, bench: Bench, made: MadeModel, described: Mapping[str, Any]
) -> dict[str, Any]:
    stores, source, member = platform.stores, bench.source, made.member
    previous = newest_version(stores, member.name)
    inputs = [column["name"] for column in described["signature"]["inputs"]]
    run, declaration = source.run, source.declaration
    lineage = Lineage(
        run_id=source.run_id,
        pipeline=run["pipeline"],
        pipeline_digest=source.published.digest,
        dataset_versions=used_versions(bench.read, member.round),
        dataset_splits=used_splits(bench.read, member.round),
        commit=bench.commit,
        trained_at=member.round.ended_at or run["ended_at"] or iso(stores.clock.now()),
        previous_version=previous.version if previous else None,
        arguments=run["arguments"],
        task=member.round.task,
        item=member.round.item,
        cached_from=member.round.cached_run,
        executed_digest=run["pipeline_digest"],
    )
    return make_model_document(
        member.name,
        next_version(stores, member.name, declaration.version),
        described,
        lineage,
        family=declaration.name,
        scenario=member.scenario,
        parameters=made.artifact.metadata.get("parameters", {}),
        metrics=made.artifact.metadata.get("metrics", {}),
        profile_digest=_profile(platform, source, made, inputs),
        training=_training(platform, source, member.round),
    )


def _training(platform: Platform, source: Source, one: Round) -> dict[str, Any]:
    """As the records have it, whatever the task itself said."""
    run = source.run
    run_id = one.cached_run or source.run_id
    try:
        found = find_training(platform.stores, run_id, run["pipeline_digest"], one.task)
    except NotFound:  # the run whose result stands in called the task by another path
        found = find_training(platform.stores, source.run_id, run["pipeline_digest"], one.task)
    return {
        **found.to_json(),
        "environment": run["environment"],
        "requested_by": run["requested_by"],
        "run_started_at": run["started_at"],
    }


def _profile(platform: Platform, source: Source, made: MadeModel, inputs: list[str]) -> str | None:
    """A blob {basis, total, days}: the training rows day by day, on a basis of their own."""
    if source.profile is None:
        return None
    stores, run_id = platform.stores, source.run_id
    path = made.member.round.beside(source.profile.path)
    artifact = list_made(stores, run_id, source.profile.path, source.profile.name).get(path)
    if artifact is None:
        raise not_found(f"artifact of task {path!r} of run {run_id}", source.profile.name)
    data = stores.blobs.get(artifact.digest, f"training rows of run {run_id}")
    try:
        rows = pl.read_parquet(io.BytesIO(data), columns=[*inputs, DAY])
    except (pl.exceptions.PolarsError, SeamlineError) as error:
        raise InvalidInput(
            f"{path}.{source.profile.name} of run {run_id} lacks the model's inputs or {DAY!r}: "
            f"{error}"
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
