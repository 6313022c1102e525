"""Runs of a model's prediction pipeline, made so that a version can be judged by what comes out.

The same question is the same run: where one of that pipeline with those arguments has succeeded,
or is under way, it is taken, and none is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from seamline.app.evaluate.declaration import EvaluationDeclaration
from seamline.app.evaluate.evaluate_model import find_declared
from seamline.app.platform import Platform
from seamline.app.register.model_aliases import find_model, pin_of
from seamline.app.train.submit_run import (
    find_pipeline_by_reference,
    read_published,
    submit_pipeline,
    with_parameters,
)
from seamline.data.versions import DatasetVersion, find_version, parse_reference, version_files
from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.states import RunState
from seamline.promote.environments import TRAINING, list_environments, live_release
from seamline.register.models.catalogue import ModelVersion
from seamline.retrain.arguments import fill_arguments
from seamline.train.arguments import check_arguments
from seamline.train.ir.values import presentable
from seamline.train.plan.load import plan_of
from seamline.train.runs import runs_of_pipelines, show_request

#: A run in one of these needs no second one.
_USABLE = (RunState.SUCCEEDED, RunState.RUNNING, RunState.PENDING)


@dataclass(frozen=True)
class PredictionRequest:
    """`data`: NAME@VERSION, or a split of it. `against`: the incumbent's version, or the
    environment that it is live in. Days: from `since` on, before `until`."""

    model: str
    version: str | None
    data: str
    against: str | None = None
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True)
class Days:
    """A window as arguments name it."""

    start: date
    end: date

    @property
    def label(self) -> str:
        return f"{self.start}..{self.end}"


def request_predictions(
    platform: Platform, request: PredictionRequest, *, by: str
) -> dict[str, Any]:
    """The runs to judge by, started where they are not there yet: `candidate`, and `incumbent`
    or, in `note`, why there is none to compare with."""
    declared = find_declared(platform, request.model)
    named = parse_reference(request.data)
    if named.dataset != declared.data:
        raise InvalidInput(
            f"{request.model} is judged on {declared.data}, not on {named.dataset}.",
            next_step=nearest(named.dataset, [declared.data]),
        )
    data = find_version(platform.stores, request.data.partition("/")[0])
    candidate = find_model(platform.stores, request.model, request.version)
    incumbent, note = find_incumbent(platform, candidate, request.against)
    days = None if named.split else held_out(platform, request, candidate, data)
    uri = f"{data.uri}/{named.split}" if named.split else data.uri
    sides = {"candidate": candidate, "incumbent": incumbent}
    runs = {
        side: None if one is None else predict_with(platform, declared, one, uri, data, days, by)
        for side, one in sides.items()
    }
    since, until = (None, None) if days is None else (str(days.start), str(days.end))
    return {"data": data.reference, "since": since, "until": until, "note": note, **runs}


def find_incumbent(
    platform: Platform, candidate: ModelVersion, against: str | None
) -> tuple[ModelVersion | None, str]:
    """`against`: a version, or an environment where it is looked up; and why there is none."""
    if against is None:
        return None, ""
    with platform.stores.db.read() as connection:
        is_place = against in {one.name for one in list_environments(connection)} - {TRAINING}
        live = live_release(connection, against) if is_place else None
    model = candidate.model
    if is_place and pin_of(live, model) is None:
        return None, f"no {model} is live in {against}: only the baseline stands against it"
    found = find_model(platform.stores, model, against)
    if found.wheel_digest == candidate.wheel_digest:
        where = f"live in {against}" if is_place else "the incumbent"
        return None, f"{model} {found.version} is {where} itself: only the baseline stands against"
    return found, ""


def held_out(
    platform: Platform, request: PredictionRequest, version: ModelVersion, data: DatasetVersion
) -> Days:
    """The asked days; by default those of the data after the last day of the training data."""
    days = sorted({file.partition for file in version_files(platform.stores, data)})
    if not days:
        raise InvalidInput(f"{data.reference} has no rows.")
    until = request.until or date.fromisoformat(days[-1]) + timedelta(days=1)
    since = request.since
    if since is None:
        used = trained_on(version, data.dataset)
        trained = (
            ()
            if used is None
            else version_files(platform.stores, find_version(platform.stores, used))
        )
        last = max((file.partition for file in trained), default=None)
        since = date.fromisoformat(last) + timedelta(days=1) if last else date.min
        if last is not None and not any(last < day < str(until) for day in days):
            raise InvalidInput(
                f"{version.model} {version.version} was trained on {used}, which reaches to "
                f"{last}; {data.reference} has no day after it.",
                next_step="Name days that it was not trained on: --since 2013-08-01.",
            )
        since = max(since, date.fromisoformat(days[0]))
    if since >= until or not any(str(since) <= day < str(until) for day in days):
        raise InvalidInput(
            f"{data.reference} has no day from {since} to before {until}: it holds {days[0]} to "
            f"{days[-1]}."
        )
    return Days(since, until)


def trained_on(version: ModelVersion, dataset: str) -> str | None:
    for one in version.document["lineage"]["dataset_versions"]:
        if one["name"] == dataset:
            return f"{one['name']}@{one['version']}"
    return None


def predict_with(
    platform: Platform,
    declared: EvaluationDeclaration,
    version: ModelVersion,
    uri: str,
    data: DatasetVersion,
    days: Days | None,
    by: str,
    states: Sequence[RunState] = _USABLE,
) -> dict[str, Any]:
    """The run of the prediction pipeline with this version, which is made unless one is in one of
    `states`."""
    reference = f"{declared.pipeline}@{declared.tag}"
    found = find_pipeline_by_reference(platform, reference)
    ir = read_published(platform, found.package, declared.tag, found.digest)
    plan = plan_of(ir)
    given = _arguments(
        declared,
        version,
        uri,
        days,
        {name: spec.default for name, spec in plan.parameters.items() if spec.has_default},
        data.dataset,
    )
    filled = with_parameters(platform, ir, TRAINING, given)
    wanted = presentable(check_arguments(plan.parameters, filled))
    run_id = known_run(platform, found.digest, wanted, states)
    is_new = run_id is None
    if run_id is None:
        run_id = submit_pipeline(platform, reference, arguments=given, by=by)
    state = show_request(platform.stores, run_id)["state"]
    return {"version": version.version, "run_id": run_id, "state": state, "is_new": is_new}


def _arguments(
    declared: EvaluationDeclaration,
    version: ModelVersion,
    uri: str,
    days: Days | None,
    defaults: Mapping[str, Any],
    dataset: str,
) -> dict[str, Any]:
    """Those that are declared; what reads the data, or the model, by its default alone reads the
    version that is asked for."""
    templates = {
        name: value.replace("{version}", version.version).replace("{data}", uri)
        for name, value in declared.arguments.items()
    }
    if days is None:
        templates = {name: text for name, text in templates.items() if "{window" not in text}
        given: dict[str, Any] = dict(templates)
    else:
        given = dict(fill_arguments(templates, days))
    wanted = {
        f"datasets://{dataset}": uri,
        f"models://{version.model}": f"models://{version.model}@{version.version}",
    }
    for name, default in defaults.items():
        if name not in given and default in wanted:
            given[name] = wanted[default]
    for prefix, asked in wanted.items():
        if asked not in given.values():
            raise InvalidInput(
                f"{declared.pipeline} has no parameter that reads {prefix} by default, and no "
                "argument of the evaluation names it.",
                next_step=f'Add arguments = {{ NAME = "{prefix}@{{version}}" }}, or for the data '
                'NAME = "{data}".',
            )
    return given


def known_run(
    platform: Platform,
    pipeline: str,
    arguments: Any,
    states: Sequence[RunState] = _USABLE,
) -> str | None:
    """The newest run of this pipeline (digest) with these arguments in the first of `states` that
    has one."""
    for state in states:
        for run in runs_of_pipelines(platform.stores, TRAINING, {pipeline}, state):
            if run["arguments"] == arguments:
                return str(run["id"])
    return None
