"""Model versions with where they are live and how they were proved."""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.app.register.model_outcomes import find_or_explain
from seamline.domain.errors import not_found
from seamline.evaluate.evaluations import list_evaluations
from seamline.evaluate.show import show_evaluation
from seamline.promote.environments import list_environments, live_release
from seamline.register.models.catalogue import (
    ModelVersion,
    list_model_versions,
    list_refusals,
)
from seamline.register.models.refusals import standing_refusals
from seamline.register.models.twins import say_twin
from seamline.store.facts import read_facts
from seamline.train.runs import show_request


def list_models(
    platform: Platform, *, of: str | None = None, run_id: str | None = None
) -> list[dict[str, Any]]:
    """All versions, newest first. `of`: of this model, or of a family that has one per scenario;
    `run_id`: that this run has made."""
    stores = platform.stores
    if run_id is not None:
        show_request(stores, run_id)
    found = list_model_versions(stores, family=of, run_id=run_id)
    if of is not None and not found:
        found = list_model_versions(stores, of, run_id=run_id)
        known = set(platform.declarations().models)
        for one in list_model_versions(stores):
            known |= {one.model, one.family}
        if of not in known:
            raise not_found("model", of, known)
    live = _live(platform)
    return [_summary(one, live) for one in found]


def list_refused_models(platform: Platform, run_id: str) -> list[dict[str, str]]:
    """What a run was to make by some seamline.toml, and why it is no model version."""
    stores = platform.stores
    request = show_request(stores, run_id)["request_fact"]
    with stores.db.read() as connection:
        [asked] = read_facts(connection, ids=[request])
    refused = list_refusals(stores, run_id, asked.seq)
    return [{"model": model, "reason": reason} for model, reason in refused.items()]


def list_standing_refusals(platform: Platform) -> list[dict[str, str]]:
    """Models whose last output was refused and that have had no version since, newest first."""
    stores = platform.stores
    return [one.to_json() for one in standing_refusals(stores, list_model_versions(stores))]


def show_model(platform: Platform, name: str, version: str | None) -> dict[str, Any]:
    """One version whole: document, digests, the wheel's place, evaluations; and its siblings."""
    stores = platform.stores
    found = find_or_explain(platform, name, version)
    live = _live(platform)
    versions = list_model_versions(stores, name)
    return {
        **_summary(found, live),
        "document": found.document,
        "twin": say_twin(found.document),
        "path": str(stores.blobs.path_of(found.wheel_digest).resolve()),
        "versions": [_summary(one, live) for one in versions],
        "refused_since": next(
            (one.to_json() for one in standing_refusals(stores, versions) if one.model == name),
            None,
        ),
        "evaluations": [
            show_evaluation(stores, one.id) for one in list_evaluations(stores, name, found.version)
        ],
    }


def _summary(version: ModelVersion, live: dict[tuple[str, str], list[str]]) -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.version,
        "wheel_digest": version.wheel_digest,
        "payload_digest": version.payload_digest,
        "filename": version.filename,
        "run_id": version.run_id,
        "family": version.family,
        "scenario": version.scenario,
        "registered_by": version.registered_by,
        "registered_at": version.registered_at,
        "metrics": version.document["metrics"],
        "live_in": live.get((version.model, version.version), []),
    }


def _live(platform: Platform) -> dict[tuple[str, str], list[str]]:
    """(model, version) → environments where it is live."""
    found: dict[tuple[str, str], list[str]] = {}
    with platform.stores.db.read() as connection:
        for environment in list_environments(connection):
            release = live_release(connection, environment.name)
            for pin in release.release.packages if release else ():
                found.setdefault((pin.name, pin.version), []).append(environment.name)
    return found
