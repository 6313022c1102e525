"""The table of schedules."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, String, Table, Text

from seamline.store.schema import METADATA

SCHEDULES = Table(
    "schedules",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("environment", String(120), nullable=False),
    Column("experiment_id", String(36)),
    Column("name", String(200), nullable=False),
    Column("description", Text, nullable=False),
    # Exactly one of these two.
    Column("cron", String(200)),
    Column("interval_s", Integer),
    # IANA name; empty: UTC, or what the expression says.
    Column("time_zone", String(64), nullable=False),
    Column("start_at", String(27)),
    Column("end_at", String(27)),
    # The value of a `MissedPolicy`.
    Column("missed", String(20), nullable=False),
    Column("max_concurrency", Integer, nullable=False),
    Column("is_paused", Boolean, nullable=False),
    # A digest pins it; a package with a tag follows the tag; a package alone the latest version.
    Column("package", String(128)),
    Column("tag", String(128)),
    Column("pipeline_digest", String(71)),
    Column("arguments", Text, nullable=False),
    # RunOptions as JSON.
    Column("options", Text, nullable=False),
    Column("created_by", String(120), nullable=False),
    Column("created_at", String(27), nullable=False),
    Column("changed_at", String(27), nullable=False),
    # The fact that created or resumed it: the cause of its runs.
    Column("fact", String(36), nullable=False),
    # The first due time that nothing has been decided about; none: there is none any more.
    Column("next_at", String(27)),
    Column("last_run_id", String(36)),
    # Why the latest due time got no run.
    Column("last_error", Text),
    Index(None, "is_paused", "next_at"),
    Index(None, "environment", "created_at"),
    Index(None, "experiment_id"),
)
