"""What has become of the models that a run was to make: packaged, refused, or not yet either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from seamline.app.platform import Changes, Platform
from seamline.app.register.model_aliases import find_model
from seamline.app.waiters import Waiters
from seamline.domain.errors import NotFound
from seamline.domain.facts import RunEnded
from seamline.promote.environments import TRAINING
from seamline.register.models.catalogue import (
    ModelVersion,
    list_model_versions,
    list_refusals,
)
from seamline.register.models.refusals import standing_refusals
from seamline.store.facts import read_facts
from seamline.store.outbox import list_undone
from seamline.store.stores import Stores
from seamline.train.runs import show_request


class ModelState(StrEnum):
    PACKAGED = "packaged"
    REFUSED = "refused"
    #: The run has ended, and what it made is being looked at.
    PACKAGING = "packaging"


@dataclass(frozen=True)
class ModelOutcome:
    #: While a family is being packaged, the family's name stands for those to come.
    model: str
    state: ModelState
    version: str | None = None
    #: Why it was refused, with what to do; or what went wrong when it was packaged last.
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Packagings(Waiters[str]):
    """Coroutines that wait, by the run's id, until nothing is left to be packaged.

    What went wrong is tried again, and that is not waited for: it may go on for ever.
    """

    def __init__(self, stores: Stores, changes: Changes) -> None:
        def settled(run_ids: list[str]) -> list[str]:
            undone = list_undone(stores.db, RunEnded.kind, run_ids)
            return [one for one in run_ids if undone.get(one) != ""]

        super().__init__(changes, settled)


def list_outcomes(platform: Platform, run_id: str) -> list[ModelOutcome]:
    """By model; of those that are packaged, the newest version that the run has made.

    A scenario whose model came from the cache is not among them: another run has made it.
    """
    stores = platform.stores
    run = show_request(stores, run_id)
    if run["environment"] != TRAINING:
        return []
    versions: dict[str, str] = {}
    for one in list_model_versions(stores, run_id=run_id):
        versions.setdefault(one.model, one.version)
    refused = list_refusals(stores, run_id, _since(stores, run_id, run["request_fact"]))
    found = [ModelOutcome(name, ModelState.PACKAGED, one) for name, one in versions.items()]
    found += [ModelOutcome(name, ModelState.REFUSED, None, why) for name, why in refused.items()]
    undone = list_undone(stores.db, RunEnded.kind, [run_id])
    if run_id in undone:
        known = {*versions, *refused}
        found += [
            ModelOutcome(one.name, ModelState.PACKAGING, None, undone[run_id])
            for one in platform.declarations().models.values()
            if one.pipeline == run["pipeline"] and (one.per or one.name not in known)
        ]
    return sorted(found, key=lambda one: one.model)


def _since(stores: Stores, run_id: str, request_fact: str) -> int:
    """What was refused before the run's last end may have been mended by a retry."""
    with stores.db.read() as connection:
        ended = read_facts(connection, kinds=[RunEnded.kind], subject=run_id)
        told = ended or read_facts(connection, ids=[request_fact])
    return told[-1].seq if told else 0


def find_or_explain(platform: Platform, name: str, version: str | None) -> ModelVersion:
    """As `find_model_version`; of a model without a version it says what became of it."""
    stores = platform.stores
    try:
        return find_model(stores, name, version)
    except NotFound:
        if list_model_versions(stores, name) or list_model_versions(stores, family=name):
            raise
        run_id = _being_packaged(platform, name)
        if run_id is not None:
            raise NotFound(
                f"{name} has no version yet: what run {run_id} made is being packaged.",
                next_step=f"Wait for it: seamline run wait {run_id}.",
            ) from None
        for one in standing_refusals(stores, ()):
            if one.model == name:
                raise NotFound(
                    f"{name} has no version: run {one.run_id} made it, and it was refused: "
                    f"{one.reason}",
                    next_step="When that is mended, run the pipeline again; what became of the "
                    f"run's models: seamline model list --run {one.run_id}.",
                ) from None
        raise


def _being_packaged(platform: Platform, name: str) -> str | None:
    """The last run whose models are not all packaged, and that makes this one, if there is one.

    A family's members are known by name only once they are there: theirs begin with the family's.
    """
    models = platform.declarations().models.values()
    pipelines = {
        one.pipeline
        for one in models
        if one.name == name or (one.per and name.startswith(f"{one.name}-"))
    }
    waiting: Sequence[str] = sorted(list_undone(platform.stores.db, RunEnded.kind), reverse=True)
    for run_id in waiting if pipelines else ():
        run = show_request(platform.stores, run_id)
        if run["environment"] == TRAINING and run["pipeline"] in pipelines:
            return run_id
    return None
