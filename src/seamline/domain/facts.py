"""Every fact type: who appends it, and what it says.

A fact is a frozen dataclass; the log adds id, time, principal and `caused_by`.
`room` is the one room that appends the type (a house test holds it).
Governance facts are hash-chained in the same transaction as the change they tell of;
run events are append-only; measurements live in their room's tables.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

from seamline.domain import data_facts, promote_facts, trust_facts
from seamline.domain.errors import MachineryError
from seamline.domain.fact import Fact, FactClass, facts_in


# project ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ProjectApplied(Fact):
    kind: ClassVar[str] = "project.applied"
    room: ClassVar[str] = "project"
    project: str
    digest: str
    changes: tuple[str, ...]


# data -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class DatasetVersionCommitted(Fact):
    kind: ClassVar[str] = "dataset.version_committed"
    room: ClassVar[str] = "data"
    dataset: str
    version: int
    digest: str
    rows: int
    source: str
    run_id: str | None


@dataclass(frozen=True)
class DeliveryRefused(Fact):
    kind: ClassVar[str] = "dataset.delivery_refused"
    room: ClassVar[str] = "data"
    dataset: str
    source: str
    violations: tuple[str, ...]


@dataclass(frozen=True)
class ContractChanged(Fact):
    """What a dataset's deliveries are held to from now on; `digest` is empty where its project
    took the contract away, `before` where it had none."""

    kind: ClassVar[str] = "dataset.contract_changed"
    room: ClassVar[str] = "data"
    dataset: str
    file: str
    digest: str
    before: str


@dataclass(frozen=True)
class ContractBroken(Fact):
    """A delivery broke rules of its contract whose policy is not to refuse; it was committed."""

    kind: ClassVar[str] = "dataset.contract_broken"
    room: ClassVar[str] = "data"
    dataset: str
    version: int
    #: Every broken rule, in a sentence; `triggers`: those that ask for a retraining.
    violations: tuple[str, ...]
    triggers: tuple[str, ...]
    rows_quarantined: int
    #: The last day that the delivery has rows of.
    last_day: str


@dataclass(frozen=True)
class RowsExported(Fact):
    """Rows of a dataset version, or predictions, left to a place outside of the workspace."""

    kind: ClassVar[str] = "dataset.rows_exported"
    room: ClassVar[str] = "data"
    #: NAME@VERSION, or "predictions of ENDPOINT in ENVIRONMENT".
    what: str
    digest: str
    target: str
    #: file | folder | delta | table
    form: str
    rows: int


@dataclass(frozen=True)
class DatasetPinned(Fact):
    """A table of a warehouse was registered as it is at one moment or version; no row was read."""

    kind: ClassVar[str] = "dataset.pinned"
    room: ClassVar[str] = "data"
    dataset: str
    number: int
    digest: str
    uri: str
    #: "version 7", "time 2026-03-02T08:00:00.000000+00:00"
    pin: str
    rows: int


# train ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class RunRequested(Fact):
    kind: ClassVar[str] = "run.requested"
    room: ClassVar[str] = "train"
    run_id: str
    environment: str
    pipeline: str
    pipeline_digest: str
    arguments: dict[str, Any]
    #: That admitted it, where only a release's pipelines run; None in dataops.
    release: str | None = None


@dataclass(frozen=True)
class RunStarted(Fact):
    kind: ClassVar[str] = "run.started"
    room: ClassVar[str] = "train"
    fact_class: ClassVar[FactClass] = FactClass.RUN_EVENT
    run_id: str


@dataclass(frozen=True)
class RunRetried(Fact):
    kind: ClassVar[str] = "run.retried"
    room: ClassVar[str] = "train"
    fact_class: ClassVar[FactClass] = FactClass.RUN_EVENT
    run_id: str
    #: Paths of what is to be done again.
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class TaskEnded(Fact):
    kind: ClassVar[str] = "task.ended"
    room: ClassVar[str] = "train"
    fact_class: ClassVar[FactClass] = FactClass.RUN_EVENT
    run_id: str
    task: str
    state: str
    attempt: int
    reason: str


@dataclass(frozen=True)
class RunEnded(Fact):
    kind: ClassVar[str] = "run.ended"
    room: ClassVar[str] = "train"
    run_id: str
    environment: str
    pipeline: str
    state: str
    failed_tasks: tuple[str, ...]


@dataclass(frozen=True)
class RunFiled(Fact):
    """A run was archived, taken out of the archive, or hidden (deleted); its results stay."""

    kind: ClassVar[str] = "run.filed"
    room: ClassVar[str] = "train"
    fact_class: ClassVar[FactClass] = FactClass.RUN_EVENT
    run_id: str
    before: str
    after: str


@dataclass(frozen=True)
class ExperimentChanged(Fact):
    kind: ClassVar[str] = "experiment.changed"
    room: ClassVar[str] = "train"
    fact_class: ClassVar[FactClass] = FactClass.RUN_EVENT
    experiment_id: str
    environment: str
    name: str
    #: created | archived | unarchived | deleted
    change: str


@dataclass(frozen=True)
class ScheduleCreated(Fact):
    """Whoever created it is who its runs are requested by."""

    kind: ClassVar[str] = "schedule.created"
    room: ClassVar[str] = "train"
    schedule_id: str
    environment: str
    name: str
    #: NAME (its latest version), NAME@TAG, or a digest.
    pipeline: str
    rhythm: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class ScheduleChanged(Fact):
    kind: ClassVar[str] = "schedule.changed"
    room: ClassVar[str] = "train"
    schedule_id: str
    environment: str
    name: str
    #: paused | resumed | deleted
    change: str


@dataclass(frozen=True)
class ScheduleSkipped(Fact):
    """Due times from the first to the last of these got no run."""

    kind: ClassVar[str] = "schedule.skipped"
    room: ClassVar[str] = "train"
    fact_class: ClassVar[FactClass] = FactClass.RUN_EVENT
    schedule_id: str
    first: str
    last: str
    reason: str


# register ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class PipelinePublished(Fact):
    kind: ClassVar[str] = "pipeline.published"
    room: ClassVar[str] = "register"
    package: str
    digest: str
    repository: str
    #: Of the code that it was compiled from, as its publisher told it.
    commit: str | None


@dataclass(frozen=True)
class PipelineTagMoved(Fact):
    kind: ClassVar[str] = "pipeline.tag_moved"
    room: ClassVar[str] = "register"
    package: str
    tag: str
    before: str | None
    after: str | None
    repository: str


@dataclass(frozen=True)
class PipelineVersionDeleted(Fact):
    """The version left its repository; its bytes stay, since releases name them by digest."""

    kind: ClassVar[str] = "pipeline.version_deleted"
    room: ClassVar[str] = "register"
    package: str
    digest: str
    repository: str


@dataclass(frozen=True)
class PackagePublished(Fact):
    """A wheel entered a package index (built by us or uploaded)."""

    kind: ClassVar[str] = "package.published"
    room: ClassVar[str] = "register"
    name: str
    version: str
    filename: str
    digest: str


@dataclass(frozen=True)
class NameOwned(Fact):
    """A team got a name in a registry: it published first (`before` is None), or an admin handed
    the name over. Names of people without a team are told by what they published."""

    kind: ClassVar[str] = "name.owned"
    room: ClassVar[str] = "register"
    name: str
    #: "packages", or a pipeline repository: "default/main"
    registry: str
    team: str
    before: str | None


@dataclass(frozen=True)
class PackageYanked(Fact):
    """Installers are to pass this version over; who pins it still gets it."""

    kind: ClassVar[str] = "package.yanked"
    room: ClassVar[str] = "register"
    name: str
    version: str
    reason: str


@dataclass(frozen=True)
class PackageUnyanked(Fact):
    kind: ClassVar[str] = "package.unyanked"
    room: ClassVar[str] = "register"
    name: str
    version: str


@dataclass(frozen=True)
class ModelVersionRegistered(Fact):
    kind: ClassVar[str] = "model.version_registered"
    room: ClassVar[str] = "register"
    model: str
    version: str
    wheel_digest: str
    payload_digest: str
    run_id: str
    dataset_versions: tuple[str, ...]


@dataclass(frozen=True)
class ModelRefused(Fact):
    """A run's output was declared as a model and cannot be packaged."""

    kind: ClassVar[str] = "model.refused"
    room: ClassVar[str] = "register"
    model: str
    run_id: str
    reason: str


# evaluate ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class EvaluationRecorded(Fact):
    kind: ClassVar[str] = "evaluation.recorded"
    room: ClassVar[str] = "evaluate"
    evaluation_id: str
    model: str
    model_version: str
    data: str
    verdict: str
    digest: str
    against: str | None


@dataclass(frozen=True)
class BacktestRecorded(Fact):
    """A model was judged over one window of time after another."""

    kind: ClassVar[str] = "backtest.recorded"
    room: ClassVar[str] = "evaluate"
    backtest_id: str
    model: str
    model_version: str
    data: str
    verdict: str
    digest: str
    against: str | None


# serve ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class SnapshotWritten(Fact):
    kind: ClassVar[str] = "snapshot.written"
    room: ClassVar[str] = "serve"
    environment: str
    version: int
    release: str
    digest: str


# monitor ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class AlarmRaised(Fact):
    kind: ClassVar[str] = "alarm.raised"
    room: ClassVar[str] = "monitor"
    monitor: str
    window: str
    check: str
    measurement_id: str
    sentence: str


# retrain ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class RetrainingRequested(Fact):
    kind: ClassVar[str] = "retraining.requested"
    room: ClassVar[str] = "retrain"
    retraining_id: str
    trigger: str
    dedup_key: str
    reason: str


@dataclass(frozen=True)
class RetrainingDecided(Fact):
    """The candidate was compared with the incumbent: released, or kept and not promoted."""

    kind: ClassVar[str] = "retraining.decided"
    room: ClassVar[str] = "retrain"
    retraining_id: str
    outcome: str
    sentence: str
    release: str | None
    evaluation_id: str | None


FACT_TYPES: dict[str, type[Fact]] = {
    cls.kind: cls
    for module in (sys.modules[__name__], data_facts, promote_facts, trust_facts)
    for cls in facts_in(module)
}


def fact_from_json(kind: str, body: dict[str, Any]) -> Fact:
    """The typed fact; raises MachineryError for a kind that this version does not know."""
    cls = FACT_TYPES.get(kind)
    if cls is None:
        raise MachineryError(
            f"Unknown fact kind {kind!r}.",
            next_step="The workspace was written by a newer version of Seamline.",
        )
    values = {
        field.name: tuple(value) if isinstance(value := body[field.name], list) else value
        for field in dataclasses.fields(cls)
        if field.name in body or field.default is dataclasses.MISSING
    }
    return cls(**values)
