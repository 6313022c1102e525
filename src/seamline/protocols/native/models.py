"""Model versions and their evaluations."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from seamline.app.register.compare_models import diff_models
from seamline.app.register.model_outcomes import find_or_explain
from seamline.app.register.show_model import list_models, list_refused_models, show_model
from seamline.protocols.native.access import PlatformOf, Reader
from seamline.register.models.catalogue import verify_model_version

ROUTER = APIRouter()


@ROUTER.get("/models")
def list_(
    platform: PlatformOf, who: Reader, of: str | None = None, run_id: str | None = None
) -> list[dict[str, Any]]:
    """`of`: versions of one model, or of a family that has one model per scenario; `run_id`: what
    this run has made so far."""
    return list_models(platform, of=of, run_id=run_id)


@ROUTER.get("/model-refusals")
def refusals(platform: PlatformOf, who: Reader, run_id: str) -> list[dict[str, str]]:
    """Which declared models the run has not made, although its tasks ended well, and why."""
    return list_refused_models(platform, run_id)


@ROUTER.get("/model-diff")
def diff(platform: PlatformOf, who: Reader, before: str, after: str) -> dict[str, Any]:
    """What differs between two versions, written NAME==VERSION (NAME alone: the newest)."""
    return diff_models(platform, before, after)


@ROUTER.get("/models/{name}")
def show(
    platform: PlatformOf, who: Reader, name: str, version: str | None = None
) -> dict[str, Any]:
    return show_model(platform, name, version)


@ROUTER.get("/models/{name}/verify")
def verify(
    platform: PlatformOf, who: Reader, name: str, version: str | None = None
) -> dict[str, Any]:
    found = find_or_explain(platform, name, version)
    verify_model_version(platform.stores, name, found.version, platform.key.public)
    return {"model": name, "version": found.version, "wheel_digest": found.wheel_digest}
