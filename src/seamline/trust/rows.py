"""Principals and tokens. A token is stored as its sha256 only."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, String, Table

from seamline.store.schema import METADATA

PRINCIPALS = Table(
    "principals",
    METADATA,
    Column("name", String(120), primary_key=True),
    Column("roles", String(200), nullable=False),
    Column("created_at", String(27), nullable=False),
)

TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("token_digest", String(71), nullable=False, unique=True),
    Column("principal", String(120), ForeignKey("principals.name"), nullable=False),
    Column("created_at", String(27), nullable=False),
    Column("expires_at", String(27), nullable=False),
    Column("revoked_at", String(27)),
)
