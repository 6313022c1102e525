"""Rows, tags, splits and mirrors of dataset versions, and retention."""

from __future__ import annotations

import shutil
import tempfile
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from pydantic import AwareDatetime, BaseModel
from starlette.background import BackgroundTask

from seamline.app.data.collect_garbage import GRACE, GarbageOrder, apply_garbage, plan_garbage
from seamline.app.data.mirror_dataset import check_mirror, mirror_dataset
from seamline.app.data.read_dataset import SHOWN_ROWS, ReadOrder, find_rows, show_rows, write_found
from seamline.app.data.version_names import (
    list_dataset_versions,
    list_version_splits,
    list_version_tags,
    tag_dataset,
    untag,
)
from seamline.domain.clock import new_id
from seamline.protocols.native.access import Admin, Ingester, PlatformOf, Reader
from seamline.trust.refusals import require_environments
from seamline.trust.roles import Verb

ROUTER = APIRouter()
#: Rows that one answer of JSON holds; files hold any number.
MOST_SHOWN = 10_000


class NewTag(BaseModel):
    tag: str


class Asked(BaseModel):
    """Which rows: of a split, some columns, days from the first and before the second."""

    split: str | None = None
    column: list[str] = []
    since: date | None = None
    until: date | None = None
    with_labels: bool = False
    #: With labels: the moment that they were known at; not said: now.
    as_of: AwareDatetime | None = None
    #: With labels: NAME@VERSION of their dataset; not said: its newest.
    labels: str | None = None

    def order(self, limit: int | None) -> ReadOrder:
        as_of: datetime | None = self.as_of
        return ReadOrder(
            tuple(self.column), self.since, self.until, limit, self.with_labels, as_of, self.labels
        )

    def of(self, reference: str) -> str:
        return reference if self.split is None else f"{reference}/{self.split}"


class AskedFile(Asked):
    limit: int | None = None
    #: Its ending says the format: .csv .tsv .parquet .jsonl .arrow
    name: str = "rows.parquet"


class AskedShown(Asked):
    limit: Annotated[int, Query(ge=0, le=MOST_SHOWN)] = SHOWN_ROWS


@ROUTER.get("/datasets/{reference}/rows")
def rows(
    platform: PlatformOf, who: Reader, reference: str, asked: Annotated[AskedShown, Query()]
) -> dict[str, Any]:
    return show_rows(platform, asked.of(reference), asked.order(asked.limit))


@ROUTER.get("/datasets/{reference}/rows/file")
def rows_file(
    platform: PlatformOf, who: Reader, reference: str, asked: Annotated[AskedFile, Query()]
) -> FileResponse:
    """All of them (or `limit`) as a file."""
    found = find_rows(platform, asked.of(reference), asked.order(asked.limit))
    incoming = platform.root / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=new_id(platform.stores.clock), dir=incoming))
    path = folder / f"rows{Path(asked.name).suffix}"
    try:
        write_found(found, path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    gone = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(path, media_type="application/octet-stream", background=gone)


@ROUTER.get("/datasets/{name}/versions")
def versions(platform: PlatformOf, who: Reader, name: str) -> list[dict[str, Any]]:
    return list_dataset_versions(platform, name)


@ROUTER.post("/datasets/{reference}/tags")
def tag(platform: PlatformOf, who: Ingester, reference: str, body: NewTag) -> dict[str, Any]:
    return tag_dataset(platform, reference, body.tag, by=who.name)


@ROUTER.get("/datasets/{name}/tags")
def tags(platform: PlatformOf, who: Reader, name: str) -> list[dict[str, Any]]:
    return list_version_tags(platform, name)


@ROUTER.delete("/datasets/{name}/tags/{tag}")
def delete_tag(platform: PlatformOf, who: Ingester, name: str, tag: str) -> dict[str, Any]:
    return untag(platform, name, tag, by=who.name)


@ROUTER.get("/datasets/{reference}/splits")
def splits(platform: PlatformOf, who: Reader, reference: str) -> list[dict[str, Any]]:
    return list_version_splits(platform, reference)


class NewMirror(BaseModel):
    """Environments: where the rows are to be, and where they are."""

    environment: str
    source: str


@ROUTER.post("/datasets/{name}/mirrors")
def mirror(platform: PlatformOf, who: Ingester, name: str, body: NewMirror) -> dict[str, Any]:
    require_environments(who, Verb.INGEST, {body.source, body.environment})
    return mirror_dataset(platform, name, body.source, body.environment, by=who.name)


@ROUTER.get("/datasets/{name}/mirrors/{environment}")
def likeness(platform: PlatformOf, who: Reader, name: str, environment: str) -> dict[str, Any]:
    """Whether the environment's newest version is like what it was mirrored from."""
    return check_mirror(platform, name, environment).to_json()


class Retention(BaseModel):
    #: Outputs of runs that ended longer ago, and made no model, go, too: "90d".
    runs_older_than: str | None = None
    #: What came within this time stays, whoever needs it.
    grace: str = GRACE

    def order(self) -> GarbageOrder:
        return GarbageOrder(self.runs_older_than, self.grace)


@ROUTER.post("/retention/plan")
def plan_retention(platform: PlatformOf, who: Reader, body: Retention) -> dict[str, Any]:
    return plan_garbage(platform, body.order()).to_json()


@ROUTER.post("/retention/apply")
def apply_retention(platform: PlatformOf, who: Admin, body: Retention) -> dict[str, Any]:
    return apply_garbage(platform, body.order(), by=who.name).to_json()
