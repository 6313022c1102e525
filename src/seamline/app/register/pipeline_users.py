"""Releases that use a pipeline: what `register` asks before it refuses or deletes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from seamline.promote.release import releases_pinning


def releases_of(connection: Connection, digests: Sequence[str]) -> list[str]:
    """Aliases, oldest first; a release names a pipeline by its digest."""
    return releases_pinning(connection, digests)
