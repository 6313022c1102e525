"""The metadata that every room's `rows.py` adds its tables to, and the store's own tables."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, MetaData, String, Table, Text

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

FACTS = Table(
    "facts",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("kind", String(64), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("at", String(27), nullable=False),
    Column("by", String(120), nullable=False),
    Column("caused_by", String(36)),
    Column("body", Text, nullable=False),
    # Governance facts only: their place in the chain and the hash over it.
    Column("chain_seq", Integer, unique=True),
    Column("previous_hash", String(71)),
    Column("hash", String(71)),
    Index(None, "kind", "seq"),
    Index(None, "subject", "seq"),
)

# One row: the chain's head. Its row lock orders governance facts on PostgreSQL.
CHAIN_HEAD = Table(
    "chain_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("chain_seq", Integer, nullable=False),
    Column("hash", String(71), nullable=False),
)

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("fact_id", String(36), primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due_at", String(27), nullable=False),
    Column("done", Boolean, nullable=False, default=False),
    Column("last_error", Text),
    Index(None, "done", "due_at"),
)

# Small documents that a room keeps by name (applied project files, for one).
SETTINGS = Table(
    "settings",
    METADATA,
    Column("name", String(200), primary_key=True),
    Column("value", Text, nullable=False),
)
