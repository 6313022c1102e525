"""Packages of the indexes: their versions, and which of them installers are to pass over."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.protocols.native.access import PlatformOf, Publisher, Reader
from seamline.register.packages.yanks import (
    list_packages,
    show_package,
    unyank_version,
    yank_version,
)

ROUTER = APIRouter()


class NewYank(BaseModel):
    reason: str = ""


@ROUTER.get("/packages")
def list_(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    return list_packages(platform.stores)


@ROUTER.get("/packages/{name}")
def show(platform: PlatformOf, who: Reader, name: str) -> list[dict[str, Any]]:
    """Every version with its files, the indexes that list it, and why it is yanked if it is."""
    return [one.to_json() for one in show_package(platform.stores, name)]


@ROUTER.post("/packages/{name}/versions/{version}/yank")
def yank(
    platform: PlatformOf, who: Publisher, name: str, version: str, body: NewYank
) -> dict[str, Any]:
    """Installers pass the version over from now on, unless somebody pins it (PEP 592)."""
    return yank_version(platform.stores, name, version, body.reason, who=who).to_json()


@ROUTER.delete("/packages/{name}/versions/{version}/yank")
def unyank(platform: PlatformOf, who: Publisher, name: str, version: str) -> dict[str, Any]:
    return unyank_version(platform.stores, name, version, who=who).to_json()
