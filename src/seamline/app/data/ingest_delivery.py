"""A delivery of a declared dataset, from a request or from a run's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seamline.app.platform import Platform
from seamline.data.ingest import ingest


def ingest_delivery(
    platform: Platform,
    name: str,
    path: Path,
    *,
    source: str,
    by: str,
    run_id: str | None = None,
    caused_by: str | None = None,
) -> dict[str, Any]:
    declaration = platform.declarations().dataset(name)
    with platform.ingests.telling(name) as tell:
        result = ingest(
            platform.stores,
            declaration,
            path,
            source=source,
            by=by,
            run_id=run_id,
            caused_by=caused_by,
            progress=tell,
        )
    return {**result.version.to_json(), "is_new": result.is_new}
