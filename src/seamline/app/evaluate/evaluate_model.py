"""Prove a model version: results of its prediction pipeline, joined with the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import polars as pl

from seamline.app.evaluate.declaration import EvaluationDeclaration
from seamline.app.evaluate.seen_days import say_seen
from seamline.app.platform import Platform
from seamline.app.register.model_aliases import find_model
from seamline.data.versions import (
    DatasetVersion,
    find_version,
    parse_reference,
    read_version,
)
from seamline.domain.digests import short
from seamline.domain.errors import InvalidInput, Refused, nearest, not_found
from seamline.evaluate.baselines import Baseline, Rule, make_baseline
from seamline.evaluate.evaluate import evaluate_predictions
from seamline.evaluate.evaluations import Contender, DataReference, record_evaluation
from seamline.evaluate.spec import EvaluationSpec
from seamline.measure.evaluation.vocabulary import Task
from seamline.register.models.catalogue import ModelVersion
from seamline.train.runs import find_artifact, show_run

DAY = "ds"


@dataclass(frozen=True)
class EvaluationRequest:
    """`run_id`: a run of the prediction pipeline, alone or inside an aggregated one."""

    model: str
    version: str | None
    run_id: str
    #: Path of the task that made the predictions, when there are several.
    task: str = ""
    #: The incumbent's version, and the run that holds its predictions of the same rows.
    against: str | None = None
    against_run: str | None = None
    #: The version that holds the truth (NAME@VERSION); by default the newest.
    data: str | None = None
    #: Only rows of days from `since` on, before `until`.
    since: date | None = None
    until: date | None = None
    #: Checks of somebody's own, in place of those that are declared: they open no gate.
    declared: EvaluationDeclaration | None = None


@dataclass(frozen=True)
class Judged:
    """A version with its predictions: `uses` names the dataset versions that the run read."""

    contender: Contender
    predictions: pl.DataFrame
    version: ModelVersion
    uses: dict[str, str]


def evaluate_model(
    platform: Platform, request: EvaluationRequest, *, by: str, caused_by: str | None = None
) -> str:
    """The recorded evaluation's id."""
    declared = request.declared or find_declared(platform, request.model)
    judged = load_judged(
        platform, declared, request.model, request.version, request.run_id, request.task
    )
    incumbent = None
    if request.against is not None:
        run_id = request.against_run or request.run_id
        incumbent = load_judged(platform, declared, request.model, request.against, run_id, "")
    ours = _of_days(judged.predictions, request)
    theirs = None if incumbent is None else _of_days(incumbent.predictions, request)
    truth_version = _truth(platform, declared, request)
    since, until = _days_of(ours)
    truth = read_version(platform.stores, truth_version, since=since, until=until)
    spec = specification(declared, judged.version)
    training, training_reference = baseline_of(platform, declared, judged.version, since)
    result = evaluate_predictions(
        ours, truth, spec, incumbent_predictions=theirs, baseline=training
    )
    seen = say_seen(platform, judged.version, declared.data, ours)
    if seen:
        result = replace(result, sentences=(*result.sentences, seen))
    recorded = record_evaluation(
        platform.stores,
        candidate=judged.contender,
        incumbent=None if incumbent is None else incumbent.contender,
        data=reference_of(truth_version),
        training=training_reference,
        spec=spec,
        result=result,
        by=by,
        caused_by=caused_by,
        is_declared=request.declared is None,
    )
    return recorded.id


def find_declared(platform: Platform, model: str) -> EvaluationDeclaration:
    declared = platform.declarations().model(model).evaluation
    if declared is None:
        raise InvalidInput(
            f"{model} declares no evaluation.",
            next_step=f"Add [models.{model}.evaluation] to its seamline.toml.",
        )
    return declared


def _truth(
    platform: Platform, declared: EvaluationDeclaration, request: EvaluationRequest
) -> DatasetVersion:
    if request.data is None:
        return find_version(platform.stores, declared.data)
    named = parse_reference(request.data)
    if named.dataset != declared.data:
        raise InvalidInput(
            f"{request.model} is judged on {declared.data}, not on {named.dataset}.",
            next_step=nearest(named.dataset, [declared.data]),
        )
    # Of a split, too, the truth is the version's: predictions are joined to it by key.
    return find_version(platform.stores, request.data.partition("/")[0])


def _of_days(predictions: pl.DataFrame, request: EvaluationRequest) -> pl.DataFrame:
    kept = predictions
    days = pl.col(DAY).cast(pl.Date)
    if request.since is not None:
        kept = kept.filter(days >= request.since)
    if request.until is not None:
        kept = kept.filter(days < request.until)
    if predictions.height and not kept.height:
        raise InvalidInput(
            f"None of {predictions.height:,} predictions is of a day from "
            f"{request.since or 'the first'} to before {request.until or 'the end'}.",
            next_step="Name other days, or another run.",
        )
    return kept


def specification(declared: EvaluationDeclaration, version: ModelVersion) -> EvaluationSpec:
    """As declared, at the model's own threshold where the declaration names none."""
    is_binary = declared.task in (None, Task.BINARY)
    return declared.specification(version.document["threshold"] if is_binary else None)


def load_judged(
    platform: Platform,
    declared: EvaluationDeclaration,
    model: str,
    version: str | None,
    run_id: str,
    task: str,
) -> Judged:
    """Refused when the run used another version of the model than the one to be judged."""
    found = find_model(platform.stores, model, version)
    run = show_run(platform.stores, run_id)
    where = task or _task_with_predictions(run, declared)
    artifact = find_artifact(platform.stores, run_id, where, declared.output)
    _check_used(run, found)
    what = f"predictions of run {run_id}"
    path = platform.stores.blobs.verified_path(artifact.digest, what)
    try:
        predictions = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f"The {what} are not a Parquet file: {error}.") from error
    if DAY not in predictions.columns:
        raise InvalidInput(f"The {what} have no column {DAY!r}: the day of each row.")
    contender = Contender(
        model,
        found.version,
        found.wheel_digest,
        artifact.digest,
        run_id=run_id,
        pipeline_digest=run["pipeline_digest"],
    )
    return Judged(contender, predictions, found, _datasets_of(run))


def _task_with_predictions(run: dict[str, Any], declared: EvaluationDeclaration) -> str:
    """The one task that made the declared output: of the pipeline itself, or of its part here."""
    made = [
        one["name"]
        for one in run["tasks"]
        if declared.output in one["outputs"]["artifacts"]
        and (
            run["pipeline"] == declared.pipeline or one["name"].startswith(f"{declared.pipeline}/")
        )
    ]
    if len(made) == 1:
        return str(made[0])
    if not made:
        raise not_found(
            f"output {declared.output!r} of {declared.pipeline} in run",
            run["id"],
            [one["name"] for one in run["tasks"]],
        )
    raise InvalidInput(
        f"Run {run['id']} has {len(made)} tasks with an output {declared.output!r}.",
        next_step=f"Say which with --task: {', '.join(made)}.",
    )


def _check_used(run: dict[str, Any], version: ModelVersion) -> None:
    used = [
        found["digest"]
        for one in run["tasks"]
        for found in one["outputs"]["artifacts"].values()
        if found["uri"].startswith(f"models://{version.model}@")
    ]
    if version.wheel_digest not in used:
        names = ", ".join(short(digest) for digest in used) or "no version"
        raise Refused(
            f"Run {run['id']} used {names} of {version.model}, not {version.version} "
            f"({short(version.wheel_digest)}).",
            next_step="Judge a version by a run that used it.",
        )


def _datasets_of(run: dict[str, Any]) -> dict[str, str]:
    """dataset → "name@version", of what the run imported."""
    uris = [
        found["uri"]
        for one in run["tasks"]
        for found in one["outputs"]["artifacts"].values()
        if found["uri"].startswith("datasets://")
    ]
    # Of a split, too, the truth is the version's: predictions are joined to it by key.
    references = [uri.removeprefix("datasets://").partition("/")[0] for uri in uris]
    return {reference.partition("@")[0]: reference for reference in references}


def _days_of(predictions: pl.DataFrame) -> tuple[date, date]:
    """The first day and the day after the last."""
    days = predictions[DAY].cast(pl.Date)
    first, last = days.min(), days.max()
    if not isinstance(first, date) or not isinstance(last, date):
        raise InvalidInput("There are no predictions to judge.")
    return first, date.fromordinal(last.toordinal() + 1)


def baseline_of(
    platform: Platform, declared: EvaluationDeclaration, judged: ModelVersion, before: date
) -> tuple[Baseline | Rule, DataReference | None]:
    """A rule as it is declared; else what is learnt from the rows that the model was trained on,
    and none after."""
    if declared.rule is not None:
        return Rule(declared.rule), None
    used = {
        one["name"]: f"{one['name']}@{one['version']}"
        for one in judged.document["lineage"]["dataset_versions"]
    }
    if declared.data not in used:
        raise InvalidInput(
            f"{judged.model} {judged.version} was not trained on {declared.data}.",
            next_step=f"Name one of: {', '.join(used) or 'none'}; or a rule as the baseline.",
        )
    version = find_version(platform.stores, used[declared.data])
    rows = read_version(platform.stores, version, until=before)
    baseline = make_baseline(
        rows,
        declared.label,
        declared.baseline,
        task=declared.task,
        series=declared.series,
        season=declared.season,
    )
    return baseline, reference_of(version)


def reference_of(version: DatasetVersion) -> DataReference:
    return DataReference(f"{version.dataset}@{version.version}", version.digest)
