"""Tables of the monitor room."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, String, Table, Text

from seamline.store.schema import METADATA

MEASUREMENTS = Table(
    "measurements",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("monitor", String(63), nullable=False),
    # Label: 2013-09, 2013-W36, 2013-09-17.
    Column("window", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    # A metric, a check, a column.
    Column("subject", String(200), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("value", Float),
    Column("low", Float),
    Column("high", Float),
    Column("n_rows", Integer, nullable=False),
    Column("n_blocks", Integer, nullable=False),
    Column("first_day", String(40)),
    Column("detail", Text, nullable=False),
    Index("uq_measurements_key", "monitor", "window", "kind", "subject", unique=True),
)

# What a window was measured on, so that it is measured again only when that has changed.
MONITOR_WINDOWS = Table(
    "monitor_windows",
    METADATA,
    Column("monitor", String(63), primary_key=True),
    Column("window", String(16), primary_key=True),
    Column("start", String(10), nullable=False),
    Column("end", String(10), nullable=False),
    # Digest of what went in: rows, feedback, reference, checks.
    Column("input_digest", String(71), nullable=False),
    Column("measured_at", String(27), nullable=False),
    Column("measured_by", String(120), nullable=False),
)

ALARMS = Table(
    "alarms",
    METADATA,
    Column("monitor", String(63), primary_key=True),
    Column("window", String(16), primary_key=True),
    Column("check", String(220), primary_key=True),
    Column("measurement_id", String(36), nullable=False),
    Column("fact_id", String(36), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("raised_at", String(27), nullable=False),
)
