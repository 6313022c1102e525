"""One model that a run has made becomes a wheel, described in a task process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamline.app.data.used_data import used_splits, used_versions
from seamline.app.platform import Platform
from seamline.app.register.column_units import with_units
from seamline.app.register.make_twin import Original, make_twin
from seamline.app.register.model_output import ModelOutput, read_output
from seamline.app.register.run_models import MadeModel, Source
from seamline.app.register.training_rows import profile_training, write_training_rows
from seamline.domain.clock import iso
from seamline.domain.errors import (
    DigestMismatch,
    InvalidInput,
    MachineryError,
    NotFound,
    Refused,
    not_found,
)
from seamline.evaluate.backtests import is_training_run
from seamline.promote.environments import find_environment
from seamline.register.formats.scan import check_admitted, check_findings
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
from seamline.register.models.twins import CONVERTERS, MAX_ROWS, check_plan
from seamline.register.models.wheel_files import packed_model
from seamline.register.packages.index import PUBLISHING
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.tasks import TaskEnd, TaskIsolation, TaskKind, TaskOutcome, TaskSpec
from seamline.train.artifacts import Artifact
from seamline.train.runs import show_request
from seamline.train.scenarios.loop import scenario_label
from seamline.train.views.rounds import Round
from seamline.train.views.training import find_training

#: Versions of models that a back-test trains: pre-releases, below every version of a model's own,
#: so that nothing which asks for the newest is given one (PEP 440).
BACKTEST_RULE = "0.dev{n}"
#: In the work folder: the rows to compare a twin by; and training rows to choose them from.
_CHECK, _ROWS = "check.json", "training_rows.jsonl"


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
    output: ModelOutput
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
    output = _admit(platform, made, what)
    work = stores.root / "runs" / source.run_id / f"package-{member.name}"
    work.mkdir(parents=True, exist_ok=True)
    script, payload = packaging_task(
        stores.blobs.verified_path(output.digest, f"model {what}").resolve(),
        stores.blobs.verified_path(made.samples.digest, f"samples of {what}").resolve(),
        requirements=bench.requirements,
        threshold=_threshold(made),
        scan=output.scan,
        payload_digest=output.digest,
        check=_check(platform, source, made, work) if output.scan.format in CONVERTERS else None,
    )
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
    return Packaging(bench, made, output, work, platform.runner.start(spec))


def _check(platform: Platform, source: Source, made: MadeModel, work: Path) -> dict[str, Any]:
    has_rows = write_training_rows(platform, source, made, work / _ROWS, MAX_ROWS)
    return check_plan((work / _CHECK).resolve(), (work / _ROWS).resolve() if has_rows else None)


def _twin(platform: Platform, packaging: Packaging, described: dict[str, Any]) -> dict[str, Any]:
    bench, name, work = packaging.bench, packaging.made.member.name, packaging.work.resolve()
    share = f"twin/{bench.source.run_id}"
    original = Original(
        task_id=f"{share}/{name}",
        what=packaging.what,
        described=described,
        model_digest=packaging.output.digest,
        check_path=work / _CHECK,
        work=work / "twin",
        isolation=bench.isolation,
        share=share,
    )
    return make_twin(platform, original)


def _admit(platform: Platform, made: MadeModel, what: str) -> ModelOutput:
    """What the model's bytes are, before anything opens them; Refused where dataops must not."""
    found = read_output(platform.stores.blobs, made.artifact, made.member.name, what)
    check_findings(found.scan, what)
    check_admitted(found.scan.format, admitted_formats(platform), PUBLISHING, what)
    return found


def admitted_formats(platform: Platform) -> tuple[str, ...]:
    """That run code, and that the policy of dataops lists."""
    with platform.stores.db.read() as connection:
        return find_environment(connection, PUBLISHING).policy.formats


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
    described["twin"] = _twin(platform, packaging, described)
    document = _document(platform, packaging.bench, made, described)
    _check_described(document, packaging.output, packaging.what)
    with packed_model(stores, document, described["samples"]) as wheel:
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


def _check_described(document: Mapping[str, Any], output: ModelOutput, what: str) -> None:
    """The task described the bytes that the run made: what it says goes into the wheel."""
    actual = str(document["payload_digest"])
    if actual != output.digest:
        raise DigestMismatch(f"described model {what}", expected=output.digest, actual=actual)
    code = output.scan.code
    if document.get("code") != (code.to_json() if code else None):
        raise InvalidInput(f"The description of {what} is of other source than the run made.")


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
    datasets, declared = used_versions(bench.read, member.round), platform.declarations()
    signature = with_units(stores, declared, declaration, datasets, described["signature"])
    training = _training(platform, source, member.round)
    lineage = Lineage(
        run_id=source.run_id,
        pipeline=run["pipeline"],
        pipeline_digest=source.published.digest,
        dataset_versions=datasets,
        dataset_splits=used_splits(bench.read, member.round),
        commit=bench.commit,
        trained_at=training["ended_at"] or run["ended_at"] or iso(stores.clock.now()),
        previous_version=previous.version if previous else None,
        arguments=run["arguments"],
        task=member.round.task,
        item=member.round.item,
        cached_from=member.round.cached_run,
        executed_digest=run["pipeline_digest"],
    )
    return make_model_document(
        member.name,
        next_version(
            stores,
            member.name,
            BACKTEST_RULE if is_training_run(stores, source.run_id) else declaration.version,
        ),
        {**described, "signature": signature},
        lineage,
        family=declaration.name,
        scenario=member.scenario,
        parameters=made.artifact.metadata.get("parameters", {}),
        metrics=made.artifact.metadata.get("metrics", {}),
        profile_digest=profile_training(platform, source, made, inputs),
        training=training,
    )


def _training(platform: Platform, source: Source, one: Round) -> dict[str, Any]:
    """As the records have it, whatever the task itself said; of the execution that trained, which
    is another run's when the result came from the cache."""
    stores, digest = platform.stores, source.run["pipeline_digest"]
    try:
        run = show_request(stores, one.cached_run) if one.cached_run else source.run
        found = find_training(stores, run["id"], digest, one.cached_task or one.task)
    except NotFound:  # there is no record of the run whose result stands in
        run, found = source.run, find_training(stores, source.run_id, digest, one.task)
    return {
        **found.to_json(),
        "environment": run["environment"],
        "requested_by": run["requested_by"],
        "run_started_at": run["started_at"],
    }
