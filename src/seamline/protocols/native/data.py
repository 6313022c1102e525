"""Datasets: deliveries and versions."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from seamline.app.data.compare_datasets import diff_datasets, diff_page
from seamline.app.data.ingest_delivery import ingest_delivery
from seamline.app.data.show_dataset import show_dataset, verify_dataset
from seamline.data.versions import list_datasets
from seamline.domain.clock import new_id
from seamline.domain.errors import InvalidInput
from seamline.protocols.native.access import Ingester, PlatformOf, Reader
from seamline.store.full_disk import explaining_a_full_disk

ROUTER = APIRouter()
MAX_DELIVERY_BYTES = 8 << 30


async def received_file(request: Request, source: str = "delivery.csv") -> Any:
    """The request's body as a file of its own, named as its sender named it; streamed."""
    platform = request.app.state.platform
    incoming = platform.root / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=new_id(platform.stores.clock), dir=incoming))
    path = folder / _file_name(source)
    size = 0
    try:
        with explaining_a_full_disk(source), path.open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_DELIVERY_BYTES:
                    raise InvalidInput(f"{source} is larger than {MAX_DELIVERY_BYTES:,} bytes.")
                file.write(chunk)
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _file_name(source: str) -> str:
    """
    >>> _file_name("months/july.csv"), _file_name("..")
    ('july.csv', 'delivery')
    """
    name = PurePath(source).name
    if not name.isprintable() or len(name.encode(errors="replace")) > 255:
        raise InvalidInput(
            f"{name[:80]!r} cannot be a file's name.", next_step="Give a shorter, printable one."
        )
    return name if name.strip(".") else "delivery"


@ROUTER.post("/datasets/{name}/deliveries")
def deliver(
    platform: PlatformOf, who: Ingester, name: str, path: Annotated[Path, Depends(received_file)]
) -> dict[str, Any]:
    return ingest_delivery(platform, name, path, source=path.name, by=who.name)


@ROUTER.get("/datasets/{name}/ingesting")
def ingesting(platform: PlatformOf, who: Reader, name: str) -> dict[str, Any] | None:
    """How far the ingest is that runs at this moment, in rows; null where none does."""
    return platform.ingests.show(name)


@ROUTER.get("/datasets")
def list_(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    return list_datasets(platform.stores)


@ROUTER.get("/datasets/{reference}")
def show(platform: PlatformOf, who: Reader, reference: str) -> dict[str, Any]:
    return show_dataset(platform, reference)


@ROUTER.get("/datasets/{reference}/verify")
def verify(platform: PlatformOf, who: Reader, reference: str) -> dict[str, Any]:
    return verify_dataset(platform, reference)


@ROUTER.get("/dataset-diffs")
def diff(
    platform: PlatformOf,
    who: Reader,
    before: str,
    after: str,
    rows: bool = False,
    html: bool = False,
) -> dict[str, Any]:
    """`rows`: also row by row, by the dataset's keys. `html`: with the page of it as text."""
    found = diff_datasets(platform, before, after, with_rows=rows)
    return {**found.to_json(), **({"html": diff_page(found)} if html else {})}
