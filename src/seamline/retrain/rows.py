"""Tables of the retrain room."""

from __future__ import annotations

from sqlalchemy import Column, Index, String, Table, Text

from seamline.store.schema import METADATA

RETRAININGS = Table(
    "retrainings",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("trigger", String(63), nullable=False),
    Column("model", String(128), nullable=False),
    # trigger/monitor/window: one retraining each, ever.
    Column("dedup_key", String(200), nullable=False, unique=True),
    Column("phase", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    # Arguments of the training run, filled in when it was asked for.
    Column("arguments", Text, nullable=False),
    Column("run_id", String(36)),
    Column("candidate_version", String(64)),
    Column("incumbent_version", String(64)),
    Column("evaluation_id", String(36)),
    Column("release", String(71)),
    # How it ended, with numbers.
    Column("sentence", Text, nullable=False),
    Column("monitor", String(63), nullable=False),
    Column("check", String(220), nullable=False),
    Column("window", String(16), nullable=False),
    Column("window_start", String(10), nullable=False),
    Column("window_end", String(10), nullable=False),
    # The alarm's fact.
    Column("caused_by", String(36), nullable=False),
    Column("requested_by", String(120), nullable=False),
    Column("requested_at", String(27), nullable=False),
    Column("updated_at", String(27), nullable=False),
    Index(None, "trigger", "phase"),
    Index(None, "run_id"),
)
