"""Tables of the evaluate room."""

from __future__ import annotations

from sqlalchemy import Column, Index, String, Table, Text

from seamline.store.schema import METADATA

EVALUATIONS = Table(
    "evaluations",
    METADATA,
    Column("id", String(36), primary_key=True),
    # Digest of `evidence`: what was compared with what, and what came out.
    Column("digest", String(71), nullable=False, index=True),
    Column("model", String(128), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("wheel_digest", String(71), nullable=False),
    Column("data", String(200), nullable=False),
    # The incumbent's version, if it was compared with one.
    Column("against", String(64)),
    Column("verdict", String(16), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("by", String(120), nullable=False),
    Column("at", String(27), nullable=False),
    Column("caused_by", String(36)),
    Index(None, "model", "model_version"),
)

BACKTESTS = Table(
    "backtests",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("digest", String(71), nullable=False, index=True),
    Column("model", String(128), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("wheel_digest", String(71), nullable=False),
    Column("data", String(200), nullable=False),
    Column("against", String(64)),
    Column("verdict", String(16), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("by", String(120), nullable=False),
    Column("at", String(27), nullable=False),
    Index(None, "model", "model_version"),
)

# Training runs that a back-test asked for: what they make is judged, and never released.
BACKTEST_RUNS = Table(
    "backtest_runs",
    METADATA,
    Column("run_id", String(36), primary_key=True),
    Column("model", String(128), nullable=False),
)
