"""Statements, and the keys that sign them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from seamline.app.register.environment_pipelines import find_pipeline
from seamline.app.register.resolve_images import list_images, look_up_images
from seamline.app.register.verify_artifact import find_artifacts, list_keys, show_history
from seamline.app.trust.rotate_key import rotate_key
from seamline.protocols.native.access import Admin, PlatformOf, Publisher, Reader
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY

ROUTER = APIRouter()


@ROUTER.get("/artifacts")
def artifacts(
    platform: PlatformOf, who: Reader, reference: str, repository: str = DEFAULT_REPOSITORY
) -> list[dict[str, Any]]:
    """What NAME@TAG, NAME==VERSION or sha256:… names, with everything that proves it: statements
    (DSSE), the key history, and what was recorded. A package may have several files."""
    found = find_artifacts(platform.stores, reference, repository=repository)
    return [one.to_json() for one in found]


@ROUTER.get("/pipeline-images/{name}/{version}")
def images(
    platform: PlatformOf,
    who: Reader,
    name: str,
    version: str,
    repository: str = DEFAULT_REPOSITORY,
) -> list[dict[str, Any]]:
    """The images of its container components, and what they stood for when they were looked up.
    `version`: tag or digest."""
    found = find_pipeline(platform.stores, name, version, repository=repository)
    return [{**one.__dict__} for one in list_images(platform.stores, found.digest)]


@ROUTER.post("/pipeline-images/{name}/{version}")
def look_up(
    platform: PlatformOf,
    who: Publisher,
    name: str,
    version: str,
    repository: str = DEFAULT_REPOSITORY,
) -> list[dict[str, Any]]:
    """Ask the registries again for those that have no digest yet."""
    found = find_pipeline(platform.stores, name, version, repository=repository)
    return [{**one.__dict__} for one in look_up_images(platform.stores, found.digest)]


@ROUTER.get("/keys")
def keys(platform: PlatformOf, who: Reader) -> dict[str, Any]:
    """Signing keys, the current one last; `history` holds the signed entries."""
    return {"keys": list_keys(platform.stores), "history": show_history(platform.stores)}


@ROUTER.post("/keys/rotate")
def rotate(platform: PlatformOf, who: Admin) -> dict[str, Any]:
    """End the current key and begin another."""
    entry = rotate_key(platform.stores, by=who.name)
    return {"key_id": entry.public.key_id, "public_key": entry.public.text}
