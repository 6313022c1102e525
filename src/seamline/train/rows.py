"""The tables of this room: runs, their tasks, and what the tasks made."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, String, Table, Text

from seamline.store.schema import METADATA

RUNS = Table(
    "runs",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("environment", String(120), nullable=False),
    Column("pipeline", String(200), nullable=False),
    # The IR's blob.
    Column("pipeline_digest", String(71), nullable=False),
    Column("arguments", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("requested_by", String(120), nullable=False),
    Column("caused_by", String(36)),
    # The RunRequested fact: the cause of all that the run brings about.
    Column("request_fact", String(36), nullable=False),
    # How the tasks ran: "forked" processes of a warm interpreter.
    Column("fidelity", String(20), nullable=False),
    Column("created_at", String(27), nullable=False),
    Column("started_at", String(27)),
    Column("ended_at", String(27)),
    Column("cancel_requested_by", String(120)),
    Column("error", Text),
    Index(None, "state"),
    Index(None, "environment", "created_at"),
    Index(None, "pipeline", "created_at"),
)

TASKS = Table(
    "tasks",
    METADATA,
    Column("run_id", String(36), primary_key=True),
    Column("name", String(500), primary_key=True),
    # Its place in the plan's order.
    Column("position", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    # 1 at the first start; every start counts, also after its process was lost.
    Column("attempt", Integer, nullable=False),
    # Attempts that the user's code failed: what retryPolicy counts.
    Column("failures", Integer, nullable=False),
    Column("pid", Integer),
    Column("pid_start_time", BigInteger),
    Column("boot_id", String(64)),
    Column("started_at", String(27)),
    Column("ended_at", String(27)),
    Column("outputs", Text),
    Column("error", Text),
    # Relative to the workspace.
    Column("log_path", Text),
    # Blob: exact `name==version` of the environment that it ran in.
    Column("packages_digest", String(71)),
    Column("peak_rss_bytes", BigInteger),
    Column("user_s", Float),
    Column("sys_s", Float),
    Column("wall_s", Float),
    Index(None, "run_id", "state"),
)

ARTIFACTS = Table(
    "artifacts",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("run_id", String(36), nullable=False),
    Column("task", String(500), nullable=False),
    Column("output", String(128), nullable=False),
    Column("schema_type", String(120), nullable=False),
    # The blob: the file's bytes, or a directory's manifest (relative path → digest).
    # For what an importer resolved elsewhere (datasets://, models://): the digest of that.
    Column("digest", String(71), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("is_directory", Boolean, nullable=False),
    # False: resolved by its URI each time it is used.
    Column("is_blob", Boolean, nullable=False),
    Column("uri", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("created_at", String(27), nullable=False),
    Index(None, "run_id", "task", "output", unique=True),
    Index(None, "digest"),
)
