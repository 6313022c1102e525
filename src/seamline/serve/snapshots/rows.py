"""Tables of the serve room: which snapshots were written."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table

from seamline.store.schema import METADATA

SNAPSHOTS = Table(
    "snapshots",
    METADATA,
    Column("environment", String(63), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("release", String(71), nullable=False),
    Column("digest", String(71), nullable=False),
    Column("written_at", String(27), nullable=False),
)
