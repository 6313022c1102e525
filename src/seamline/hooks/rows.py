"""Tables of the hooks room."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, String, Table, Text

from seamline.store.schema import METADATA

HOOKS = Table(
    "hooks",
    METADATA,
    Column("name", String(63), primary_key=True),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False),
    Column("secret", String(320), nullable=False),
    Column("timeout_s", Float, nullable=False),
    # The number in the chain up to which its deliveries are in the table below.
    Column("position", Integer, nullable=False),
)

HOOK_DELIVERIES = Table(
    "hook_deliveries",
    METADATA,
    Column("hook", String(63), primary_key=True),
    Column("chain_seq", Integer, primary_key=True, autoincrement=False),
    Column("fact_id", String(36), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    # When it is due, or until when whoever is at it holds it.
    Column("due_at", String(27), nullable=False),
    Column("is_leased", Boolean, nullable=False),
    # How the last attempt ended, and when.
    Column("status", Integer),
    Column("error", Text),
    Column("tried_at", String(27)),
    # Who asked for it to be sent again.
    Column("asked_by", String(120)),
    Index(None, "hook", "state", "chain_seq"),
)
