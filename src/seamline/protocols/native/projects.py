"""Status, and seamline.toml: plan and apply."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline import __version__
from seamline.project.plan import apply_project, plan_project
from seamline.protocols.native.access import PlatformOf, ProjectOwner, Reader

ROUTER = APIRouter()


class ProjectText(BaseModel):
    file: str
    text: str
    #: The contracts' files that its datasets name, by path as they name it.
    contracts: dict[str, str] = {}


@ROUTER.get("/status")
def status(platform: PlatformOf, who: Reader) -> dict[str, Any]:
    return {
        "version": __version__,
        "workspace": str(platform.root),
        "serve_url": platform.data_plane_url(),
        "database": platform.stores.db.url.split("@")[-1],
        "you": who.name,
        "roles": sorted(map(str, who.held)),
        "key_id": platform.key.public.key_id,
    }


@ROUTER.post("/project/plan")
def plan(platform: PlatformOf, who: Reader, body: ProjectText) -> dict[str, Any]:
    return plan_project(platform.stores, body.text, body.file, body.contracts).to_json()


@ROUTER.post("/project/apply")
def apply(platform: PlatformOf, who: ProjectOwner, body: ProjectText) -> dict[str, Any]:
    applied = apply_project(
        platform.stores, body.text, body.file, by=who.name, who=who, contracts=body.contracts
    )
    platform.team_slots.reload()
    platform.engine.wake()
    return applied.to_json()
