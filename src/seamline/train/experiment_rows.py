"""The table of experiments."""

from __future__ import annotations

from sqlalchemy import Column, Index, String, Table, Text

from seamline.store.schema import METADATA

EXPERIMENTS = Table(
    "experiments",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("environment", String(120), nullable=False),
    Column("name", String(200), nullable=False),
    Column("description", Text, nullable=False),
    # available | archived; a deleted one has no row.
    Column("storage", String(20), nullable=False),
    Column("created_by", String(120), nullable=False),
    Column("created_at", String(27), nullable=False),
    Index(None, "environment", "name", unique=True),
)
