"""Take in what is new at a dataset's declared source."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seamline.app.platform import Platform
from seamline.data.credentials import load_credentials
from seamline.data.ingest import Bringer, IngestResult, Progress, Stage, take_in
from seamline.data.locations import Location
from seamline.data.sources.opening import check_local, check_uri, open_source
from seamline.data.versions import version_row
from seamline.domain.clock import new_id
from seamline.domain.errors import Conflict, InvalidInput
from seamline.promote.environments import TRAINING
from seamline.store.full_disk import explaining_a_full_disk
from seamline.trust.roles import Principal, Verb

#: Another ingest of the same dataset may finish while this one reads.
_ATTEMPTS = 3


def ingest_source(
    platform: Platform,
    name: str,
    who: Principal,
    *,
    uri: str | None = None,
    start: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """`uri` is the declared source or lies below it; `start` is a first value of `since`."""
    declaration = platform.declarations().dataset(name)
    if uri is None and declaration.source is None:
        raise InvalidInput(
            f"Dataset {name} declares no source.",
            next_step=f'Write source = "URI" in [datasets.{name}], or give a file.',
        )
    wanted = uri or declaration.source or ""
    location = check_uri(declaration, wanted)
    check_local(location, platform.root, is_admin=who.may(Verb.ADMINISTER))
    for attempt in range(1, _ATTEMPTS + 1):
        read_from = _watermark(platform, name)
        try:
            taken = _take(platform, name, location, who, read_from, start, progress)
            break
        except Conflict:
            if attempt == _ATTEMPTS or _watermark(platform, name) == read_from:
                raise
    return {**taken.version.to_json(), "is_new": taken.is_new}


def _take(
    platform: Platform,
    name: str,
    location: Location,
    who: Principal,
    since: str | None,
    start: str | None,
    progress: Progress | None,
) -> IngestResult:
    stores = platform.stores
    declaration = platform.declarations().dataset(name)
    credentials = load_credentials(stores, TRAINING, declaration.credentials, location)

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(Stage.FETCHING, done, total or None)

    with fetching_folder(platform) as folder:
        delivery = open_source(
            location.uri,
            declaration,
            folder,
            since=since,
            credentials=credentials,
            start=start,
            tell=tell,
        )
        return take_in(stores, declaration, delivery, Bringer(who.name), progress)


def _watermark(platform: Platform, name: str) -> str | None:
    with platform.stores.db.read() as connection:
        newest = version_row(connection, name)
    return None if newest is None else newest.watermark


@contextmanager
def fetching_folder(platform: Platform) -> Iterator[Path]:
    """What a delivery or an export needs on disk while it lasts."""
    incoming = platform.root / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=new_id(platform.stores.clock), dir=incoming))
    try:
        with explaining_a_full_disk("what is fetched or sent"):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
