"""What a back-test judges in each window: runs that are there, or are started, one step at a time.

Whatever has been done is found again by its pipeline and arguments, so that asking again goes on
where it stopped: after a kill, too. A run that failed makes an errored window; the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from seamline.app.evaluate.declaration import BacktestDeclaration, EvaluationDeclaration
from seamline.app.evaluate.prediction_run import Days, known_run, predict_with, trained_on
from seamline.app.platform import Platform
from seamline.app.train.submit_run import (
    find_pipeline_by_reference,
    read_published,
    submit_pipeline,
    with_parameters,
)
from seamline.data.versions import DatasetVersion, find_version, version_files
from seamline.domain.clock import new_id
from seamline.domain.errors import SeamlineError
from seamline.domain.facts import RunEnded
from seamline.domain.states import RunState, is_terminal
from seamline.evaluate.backtests import record_training_run
from seamline.promote.environments import TRAINING
from seamline.register.models.catalogue import ModelVersion, find_version_of_run
from seamline.retrain.arguments import fill_arguments
from seamline.store.outbox import list_undone
from seamline.train.arguments import check_arguments
from seamline.train.ir.values import presentable
from seamline.train.plan.load import plan_of
from seamline.train.runs import show_request

#: A run that ended badly is not made again: whoever mends it retries it (`seamline run retry`).
_ANY = (RunState.SUCCEEDED, RunState.RUNNING, RunState.PENDING, RunState.FAILED, RunState.CANCELED)


class Step(StrEnum):
    """In order."""

    TRAINING = "training"
    PACKAGING = "packaging"
    PREDICTING = "predicting"
    READY = "ready"
    ERRORED = "errored"


@dataclass(frozen=True)
class Side:
    """Of the candidate, or the incumbent, in a window: the version that predicts, the run that
    trained it (where one did) and the one that predicts. `sentence`: what went wrong."""

    step: Step = Step.READY
    version: str = ""
    training_run: str | None = None
    run_id: str | None = None
    sentence: str = ""

    @property
    def is_settled(self) -> bool:
        return self.step in (Step.READY, Step.ERRORED)

    @property
    def waits_for(self) -> str | None:
        return self.run_id if self.step is Step.PREDICTING else self.training_run


@dataclass(frozen=True)
class WindowRuns:
    """How far a window is, and by which runs."""

    label: str
    days: Days
    step: Step
    ours: Side = Side()
    #: None where no incumbent takes part.
    theirs: Side | None = None
    sentence: str = ""

    @property
    def is_settled(self) -> bool:
        return self.step in (Step.READY, Step.ERRORED)

    def to_json(self) -> dict[str, Any]:
        theirs = self.theirs or Side()
        return {
            "window": self.label,
            "state": str(self.step),
            "version": self.ours.version,
            "training_run": self.ours.training_run,
            "run_id": self.ours.run_id,
            "incumbent_version": theirs.version,
            "incumbent_training_run": theirs.training_run,
            "incumbent_run": theirs.run_id,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Course:
    """What is the same in each window."""

    platform: Platform
    declared: EvaluationDeclaration
    tested: BacktestDeclaration
    candidate: ModelVersion
    incumbent: ModelVersion | None
    data: DatasetVersion
    by: str


def advance_window(course: Course, label: str, days: Days) -> WindowRuns:
    """The window's next step, if one can be taken; trouble with it stays its own."""
    try:
        return _advance(course, label, days)
    except SeamlineError as error:
        return WindowRuns(label, days, Step.ERRORED, sentence=str(error))


def _advance(course: Course, label: str, days: Days) -> WindowRuns:
    tested, rival = course.tested, course.incumbent
    sides = [_advance_side(course, course.candidate, days, is_trained=tested.retrain)]
    if rival is not None and (tested.retrain_incumbent or _is_later(course, rival, days)):
        sides.append(_advance_side(course, rival, days, is_trained=tested.retrain_incumbent))
    # An error settles a window; until then it is as far as the side that is furthest behind.
    worst = next((one for one in sides if one.step is Step.ERRORED), None) or min(
        sides, key=lambda one: list(Step).index(one.step)
    )
    return WindowRuns(
        label, days, worst.step, sides[0], sides[1] if len(sides) > 1 else None, worst.sentence
    )


def _advance_side(course: Course, version: ModelVersion, days: Days, *, is_trained: bool) -> Side:
    training_run = None
    if is_trained:
        training_run = _train(course, version, days)
        made = _made_by(course, training_run)
        if not isinstance(made, ModelVersion):
            step, sentence = made
            return Side(step, "", training_run, sentence=sentence)
        version = made
    run = _predict(course, version, days)
    state, run_id = RunState(run["state"]), str(run["run_id"])
    told = (version.version, training_run, run_id)
    if not is_terminal(state):
        return Side(Step.PREDICTING, *told)
    if state is not RunState.SUCCEEDED:
        return Side(Step.ERRORED, *told, f"run {run_id} did not succeed")
    return Side(Step.READY, *told)


def _predict(course: Course, version: ModelVersion, days: Days) -> dict[str, Any]:
    return predict_with(
        course.platform,
        course.declared,
        version,
        course.data.uri,
        course.data,
        days,
        course.by,
        _ANY,
    )


def _train(course: Course, version: ModelVersion, days: Days) -> str:
    """The training run of the window: the version's own pipeline and arguments, but for those
    that the declaration names."""
    platform, lineage = course.platform, version.document["lineage"]
    reference = f"{lineage['pipeline']}@{lineage['pipeline_digest']}"
    found = find_pipeline_by_reference(platform, reference)
    ir = read_published(platform, found.package, found.digest, found.digest)
    templates = {
        name: text.replace("{data}", course.data.uri)
        for name, text in course.tested.arguments.items()
    }
    given = {**lineage["arguments"], **fill_arguments(templates, days)}
    filled = with_parameters(platform, ir, TRAINING, given)
    wanted = presentable(check_arguments(plan_of(ir).parameters, filled))
    run_id = known_run(platform, found.digest, wanted, _ANY)
    if run_id is not None:
        return run_id
    run_id = new_id(platform.stores.clock)
    record_training_run(platform.stores, run_id, course.candidate.model)
    return submit_pipeline(platform, reference, arguments=given, by=course.by, run_id=run_id)


def _made_by(course: Course, run_id: str) -> ModelVersion | tuple[Step, str]:
    """The version that the run has made; else how far it is, and what went wrong."""
    stores = course.platform.stores
    state = RunState(show_request(stores, run_id)["state"])
    if not is_terminal(state):
        return Step.TRAINING, ""
    if state is not RunState.SUCCEEDED:
        said = state.replace("_", " ")
        return Step.ERRORED, f"the training run {run_id} ended as {said}"
    made = find_version_of_run(stores, course.candidate.model, run_id)
    if made is not None:
        return made
    if list_undone(stores.db, RunEnded.kind, [run_id]):
        return Step.PACKAGING, ""
    return Step.ERRORED, f"what the training run {run_id} made was not packaged"


def _is_later(course: Course, version: ModelVersion, days: Days) -> bool:
    """Whether the window comes after what the version was trained on: else it knows the answers."""
    used = trained_on(version, course.data.dataset)
    if used is None:
        return True
    stores = course.platform.stores
    held = version_files(stores, find_version(stores, used))
    return all(file.partition < str(days.start) for file in held)


def unfinished_runs(windows: Sequence[WindowRuns]) -> list[str]:
    """To wait for: of the windows that are not settled, the runs that are going on."""
    return [
        side.waits_for
        for one in windows
        if not one.is_settled
        for side in (one.ours, one.theirs)
        if side is not None and not side.is_settled and side.waits_for is not None
    ]
