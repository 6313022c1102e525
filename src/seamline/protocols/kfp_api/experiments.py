"""Experiments."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from seamline.app.platform import Platform
from seamline.promote.environments import TRAINING, find_environment
from seamline.protocols.kfp_api.lists import Listing, page_of
from seamline.protocols.kfp_api.shapes import MAX_JSON_BYTES, NewExperiment
from seamline.protocols.kfp_api.status import api_route
from seamline.protocols.native.access import PlatformOf, Reader, Runner
from seamline.train.experiments import (
    Experiment,
    archive_experiment,
    create_experiment,
    default_experiment,
    delete_experiment,
    find_experiment,
    list_experiments,
    unarchive_experiment,
)
from seamline.train.views.listing import newest_run_at
from seamline.trust.roles import Verb

KEYS = {
    "experiment_id": "id",
    "id": "id",
    "display_name": "name",
    "name": "name",
    "created_at": "created_at",
    "storage_state": "storage",
    "namespace": "environment",
}


def make_router() -> APIRouter:
    router = APIRouter(route_class=api_route(MAX_JSON_BYTES, Verb.RUN))

    @router.post("/experiments")
    def create(platform: PlatformOf, who: Runner, body: NewExperiment) -> dict[str, Any]:
        environment = environment_of(platform, body.namespace)
        made = create_experiment(
            platform.stores, environment, body.display_name, body.description or "", by=who.name
        )
        return _show(made, {})

    @router.get("/experiments")
    def list_(
        platform: PlatformOf, who: Reader, request: Listing, namespace: str = ""
    ) -> dict[str, Any]:
        environment = environment_of(platform, namespace)
        default_experiment(platform.stores, environment, by=platform.owner)
        found = list_experiments(platform.stores, environment)
        page, total, token = page_of(request, found, KEYS, _value, lambda one: one.id)
        newest = newest_run_at(platform.stores, [one.drawer for one in page])
        shown = [_show(one, newest) for one in page]
        return {"experiments": shown, "total_size": total, "next_page_token": token}

    @router.get("/experiments/{experiment_id}")
    def get(platform: PlatformOf, who: Reader, experiment_id: str) -> dict[str, Any]:
        found = find_experiment(platform.stores, experiment_id)
        return _show(found, newest_run_at(platform.stores, [found.drawer]))

    @router.post("/experiments/{experiment_id}:archive")
    def archive(platform: PlatformOf, who: Runner, experiment_id: str) -> dict[str, Any]:
        archive_experiment(platform.stores, experiment_id, by=who.name)
        platform.scheduler.settle()
        return {}

    @router.post("/experiments/{experiment_id}:unarchive")
    def unarchive(platform: PlatformOf, who: Runner, experiment_id: str) -> dict[str, Any]:
        unarchive_experiment(platform.stores, experiment_id, by=who.name)
        return {}

    @router.delete("/experiments/{experiment_id}")
    def delete(platform: PlatformOf, who: Runner, experiment_id: str) -> dict[str, Any]:
        delete_experiment(platform.stores, experiment_id, by=who.name)
        return {}

    return router


def environment_of(platform: Platform, namespace: str | None) -> str:
    """NotFound names the nearest environment."""
    with platform.stores.db.read() as connection:
        return find_environment(connection, namespace or TRAINING).name


def experiment_of(platform: Platform, experiment_id: str | None, *, by: str) -> Experiment:
    """The one that is named, or the Default one of dataops."""
    if not experiment_id:
        return default_experiment(platform.stores, TRAINING, by=by)
    return find_experiment(platform.stores, experiment_id)


def _value(experiment: Experiment, column: str) -> str:
    value = str(getattr(experiment, column))
    return value.upper() if column == "storage" else value


def _show(experiment: Experiment, newest: dict[str, str]) -> dict[str, Any]:
    return {
        "experiment_id": experiment.id,
        "display_name": experiment.name,
        "description": experiment.description,
        "namespace": experiment.environment,
        "created_at": experiment.created_at,
        "last_run_created_at": newest.get(experiment.id, "1970-01-01T00:00:00Z"),
        "storage_state": experiment.storage.upper(),
    }
