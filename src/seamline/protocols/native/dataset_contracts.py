"""What datasets' deliveries are held to."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from seamline.app.data import dataset_contracts as contracts
from seamline.data.contracts.exports import ExportFormat
from seamline.protocols.native.access import PlatformOf, Reader

ROUTER = APIRouter()


@ROUTER.get("/datasets/{reference}/suggested-contract")
def suggest(platform: PlatformOf, who: Reader, reference: str) -> dict[str, Any]:
    """A contract to start from, as YAML, made from the version's profile."""
    return contracts.suggest(platform, reference)


@ROUTER.get("/datasets/{name}/contract")
def show(platform: PlatformOf, who: Reader, name: str) -> dict[str, Any]:
    """What the next delivery of the dataset is held to."""
    return contracts.show(platform, name)


@ROUTER.get("/datasets/{name}/contract/export")
def export(platform: PlatformOf, who: Reader, name: str, to: ExportFormat) -> dict[str, Any]:
    return contracts.export(platform, name, to)


@ROUTER.get("/datasets/{reference}/quarantine")
def quarantine(
    platform: PlatformOf,
    who: Reader,
    reference: str,
    limit: Annotated[int, Query(ge=1, le=10_000)] = contracts.SHOWN_ROWS,
) -> dict[str, Any]:
    """Rows that the version's delivery had to leave behind, and why."""
    return contracts.show_quarantine(platform, reference, limit)
