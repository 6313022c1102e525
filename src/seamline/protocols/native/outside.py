"""Places outside of the workspace: rows come from there, leave to there, or stay pinned there."""

from __future__ import annotations

from datetime import date
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.app.data.export_rows import ExportOrder, export_dataset, export_predictions
from seamline.app.data.ingest_source import ingest_source
from seamline.app.data.pin_table import pin_dataset, show_pins
from seamline.data.sinks.sending import Form
from seamline.promote.environments import TRAINING
from seamline.protocols.native.access import Ingester, PlatformOf, Reader

ROUTER = APIRouter()


class NewExport(BaseModel):
    #: URI: s3:// gs:// az:// file:// postgresql:// mysql:// sqlite:///
    to: str
    #: file | folder | delta | table; not said: by the URI.
    form: Form | None = None
    #: Of a database.
    table: str | None = None
    #: Secret of the environment that says how the place is entered.
    credentials: str | None = None
    environment: str = TRAINING
    #: Days of the rows: from the first, and before the second.
    since: date | None = None
    until: date | None = None

    def order(self) -> ExportOrder:
        return ExportOrder(**self.model_dump())


@ROUTER.post("/datasets/{reference}/exports")
def export_rows(
    platform: PlatformOf, who: Ingester, reference: str, body: NewExport
) -> dict[str, Any]:
    return export_dataset(platform, reference, body.order(), who)


@ROUTER.post("/endpoints/{name}/exports")
def export_predicted(
    platform: PlatformOf, who: Ingester, name: str, body: NewExport
) -> dict[str, Any]:
    return export_predictions(platform, name, body.order(), who)


class NewIngest(BaseModel):
    #: The declared source, or below it.
    uri: str | None = None
    #: A first value of the column that the dataset's `since` names.
    since: str | None = None


@ROUTER.post("/datasets/{name}/ingests")
def ingest(platform: PlatformOf, who: Ingester, name: str, body: NewIngest) -> dict[str, Any]:
    with platform.ingests.telling(name) as tell:
        return ingest_source(platform, name, who, uri=body.uri, start=body.since, progress=tell)


class NewPin(BaseModel):
    #: Whether the rows are taken in, too.
    copy_rows: bool = False


@ROUTER.post("/datasets/{name}/pins")
def pin(platform: PlatformOf, who: Ingester, name: str, body: NewPin) -> dict[str, Any]:
    return pin_dataset(platform, name, by=who.name, copy=body.copy_rows)


@ROUTER.get("/datasets/{name}/pins")
def pins(platform: PlatformOf, who: Reader, name: str) -> list[dict[str, Any]]:
    return show_pins(platform, name)
