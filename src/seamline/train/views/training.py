"""How one task of a run came to its result: what a model made there has to say of its training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import yaml
from sqlalchemy import select

from seamline.domain.errors import not_found
from seamline.store.canonical import digest_of_json
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact
from seamline.train.record import artifact_of
from seamline.train.rows import ARTIFACTS, TASKS
from seamline.train.views.rounds import is_of_other_round
from seamline.train.views.task import read_packages

METRICS = ("system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics")


@dataclass(frozen=True)
class UsedArtifact:
    """What the task read: a split of a data set, another model."""

    name: str
    type: str
    digest: str
    uri: str


@dataclass(frozen=True)
class UsedComponent:
    """`digest`: of the component and its executor as they stand in the pipeline, as canonical
    JSON; `image_digest`: where the pipeline names the image by one, or a task of
    the run was started from it by one."""

    name: str
    digest: str
    image: str | None
    image_digest: str | None


@dataclass(frozen=True)
class Training:
    #: The value of a `Fidelity`: in which way the task ran.
    fidelity: str | None
    component: str
    started_at: str | None
    ended_at: str | None
    attempt: int
    inputs: tuple[UsedArtifact, ...]
    components: tuple[UsedComponent, ...]
    #: The environment that it ran in, as exact `name==version`.
    packages: tuple[str, ...]
    #: "train": of the task itself; "test": of tasks that read what it made. Of Metrics artifacts.
    metrics: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        return {
            key: list(one) if isinstance(one, tuple) else one for key, one in asdict(self).items()
        }


def find_training(stores: Stores, run_id: str, pipeline_digest: str, task: str) -> Training:
    """Of a task that has ended, by its path with indexes; its run may go on."""
    with stores.db.read() as connection:
        found = TASKS.c
        columns = (found.run_id == run_id) & (found.name == task)
        row = connection.execute(select(TASKS).where(columns)).one_or_none()
        if row is None:
            raise not_found(f"task of run {run_id}", task)
        made = ARTIFACTS.c
        told = (made.run_id == run_id) & made.schema_type.in_(METRICS)
        rows = connection.execute(select(ARTIFACTS).where(told)).all()
        metrics = [(one.task, artifact_of(one)) for one in rows]
        mine = select(made.id).where((made.run_id == run_id) & (made.task == task))
        ids = set(connection.execute(mine).scalars())
        names = {path for path, _ in metrics if not is_of_other_round(path, task)}
        near = (found.run_id == run_id) & found.name.in_(sorted(names))
        started = (found.run_id == run_id) & found.image.is_not(None)
        tasks = select(found.component, found.image).where(started)
        images = {one.component: one.image for one in connection.execute(tasks)}
        readers = {
            one.name
            for one in connection.execute(select(found.name, found.inputs).where(near))
            if any(used["id"] in ids for _, used in _used(one.inputs))
        }
    return Training(
        fidelity=row.fidelity,
        component=row.component,
        started_at=row.started_at,
        ended_at=row.ended_at,
        attempt=row.attempt,
        inputs=tuple(
            UsedArtifact(name, used["type"], used["digest"], used["uri"])
            for name, used in _used(row.inputs)
        ),
        components=tuple(
            _with_started(one, images.get(one.name))
            for one in list_components(stores.blobs.get(pipeline_digest, "pipeline"))
        ),
        packages=tuple(read_packages(stores, row.packages_digest)),
        metrics={
            "train": _numbers([one for path, one in metrics if path == task]),
            "test": _numbers([one for path, one in metrics if path in readers]),
        },
    )


@lru_cache(maxsize=8)
def list_components(ir: bytes) -> tuple[UsedComponent, ...]:
    """Those with an executor, by name."""
    document = next(one for one in yaml.safe_load_all(ir) if isinstance(one, dict))
    document = document.get("pipelineSpec", document)
    executors = document.get("deploymentSpec", {}).get("executors", {})
    found = []
    for name, component in sorted(document.get("components", {}).items()):
        label = component.get("executorLabel")
        if label is None:
            continue
        executor = executors.get(label, {})
        image = executor.get("container", {}).get("image")
        _, _, digest = str(image or "").partition("@")
        whole = digest_of_json({"component": component, "executor": executor})
        found.append(UsedComponent(name, whole, image, digest or None))
    return tuple(found)


def _with_started(component: UsedComponent, image: str | None) -> UsedComponent:
    """`image`: what a task of it was started from."""
    _, _, digest = (image or "").partition("@")
    return replace(component, image_digest=digest) if digest else component


def _used(inputs: str | None) -> list[tuple[str, dict[str, Any]]]:
    """(name, artifact) of each that the task was called with, lists included."""
    found = []
    for name, shown in (json.loads(inputs)["artifacts"] if inputs else {}).items():
        each = [shown["artifact"]] if shown.get("artifact") else shown.get("artifacts", [])
        found += [(name, one) for one in each]
    return found


def _numbers(artifacts: list[Artifact]) -> dict[str, float]:
    return {
        name: value
        for artifact in artifacts
        for name, value in sorted(artifact.metadata.items())
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
