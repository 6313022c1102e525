"""Model versions with where they are live and how they were proved."""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.evaluate.evaluations import list_evaluations, show_evaluation
from seamline.promote.environments import list_environments, live_release
from seamline.register.models import ModelVersion, find_model_version, list_model_versions


def list_models(platform: Platform) -> list[dict[str, Any]]:
    """All versions, newest first."""
    live = _live(platform)
    return [_summary(one, live) for one in list_model_versions(platform.stores)]


def show_model(platform: Platform, name: str, version: str | None) -> dict[str, Any]:
    """One version whole: document, digests, the wheel's place, evaluations; and its siblings."""
    stores = platform.stores
    found = find_model_version(stores, name, version)
    live = _live(platform)
    return {
        **_summary(found, live),
        "document": found.document,
        "path": str(stores.blobs.path_of(found.wheel_digest).resolve()),
        "versions": [_summary(one, live) for one in list_model_versions(stores, name)],
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
