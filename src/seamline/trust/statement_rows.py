"""The history of signing keys, and which statement says what of which bytes."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table, Text

from seamline.store.schema import METADATA

SIGNING_KEYS = Table(
    "signing_keys",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("key_id", String(16), nullable=False, unique=True),
    # The signed entry (see key_history.py); the other columns are copies for look-ups.
    Column("envelope", Text, nullable=False),
    Column("begins_at", String(27), nullable=False),
    Column("sealed", String(71)),
)

# One row for each name that a statement says something of; the envelopes are blobs.
STATEMENTS = Table(
    "statements",
    METADATA,
    Column("subject", String(300), primary_key=True),
    Column("digest", String(71), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("statement", String(71), nullable=False),
    # Empty: of before there was a history, so of the first key.
    Column("key_id", String(16), nullable=False),
    Column("signed_at", String(27), nullable=False),
    Index(None, "digest"),
    Index(None, "key_id"),
)
