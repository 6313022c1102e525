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
    # The release that admitted it, where only a release's pipelines run; NULL in dataops.
    Column("release", String(71)),
    # The RunRequested fact: the cause of all that the run brings about.
    Column("request_fact", String(36), nullable=False),
    # What people call it; several runs may share it.
    Column("display_name", String(200), nullable=False),
    # Whose share of the slots its tasks take.
    Column("team", String(120), nullable=False),
    # RunOptions as JSON: failure policy, cache, isolation, demands.
    Column("options", Text, nullable=False),
    # What the pipeline asks for and this machine does not do, as a JSON list of sentences.
    Column("notes", Text, nullable=False),
    # The weakest way in which its tasks ran: the value of a `Fidelity`.
    Column("fidelity", String(20), nullable=False),
    # available | archived | deleted (hidden; its facts and results stay).
    Column("storage", String(20), nullable=False),
    Column("experiment_id", String(36)),
    # The schedule that requested it, and the time that it was due.
    Column("schedule_id", String(36)),
    Column("scheduled_for", String(27)),
    # Registry reference that it was requested by ("name@tag"), if any.
    Column("reference", String(300)),
    # A run whose results stand in wherever nothing has changed (re-run).
    Column("reuses_run", String(36)),
    Column("created_at", String(27), nullable=False),
    Column("started_at", String(27)),
    Column("ended_at", String(27)),
    Column("cancel_requested_by", String(120)),
    Column("error", Text),
    # Of the pipeline as a whole, once it has ended: JSON of {parameters, artifacts}.
    Column("outputs", Text),
    Index(None, "state"),
    Index(None, "environment", "created_at"),
    Index(None, "pipeline", "created_at"),
    Index(None, "experiment_id", "created_at"),
    Index(None, "schedule_id", "created_at"),
)

TASKS = Table(
    "tasks",
    METADATA,
    Column("run_id", String(36), primary_key=True),
    Column("name", String(500), primary_key=True),
    # The group, loop or iteration that holds it: its name up to the last slash.
    Column("parent", String(500)),
    # Its place in the plan's order.
    Column("position", Integer, nullable=False),
    # The value of a `NodeKind`.
    Column("kind", String(20), nullable=False),
    Column("component", String(200), nullable=False),
    Column("display_name", String(200), nullable=False),
    # Of a loop that has been expanded: how many iterations it has. Durable before any starts.
    Column("items", Integer),
    # Of an iteration: its index in the loop, and its item as JSON.
    Column("item_index", Integer),
    Column("item", Text),
    Column("state", String(20), nullable=False),
    # The value of a `Fidelity`: how its last attempt ran.
    Column("fidelity", String(20)),
    # JSON: what it was called with, and where that came from.
    Column("inputs", Text),
    # What its result depends on, hashed; and the parts of that as JSON.
    Column("cache_key", String(71)),
    Column("cache_parts", Text),
    # Of a SKIPPED task: whose result stands in.
    Column("cached_run_id", String(36)),
    Column("cached_task", String(500)),
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
    # Of a container: the reference that it was started from, by digest where it was pinned; and
    # how the engine names the very bytes (the digest of the image's configuration).
    Column("image", Text),
    Column("image_digest", String(71)),
    Column("peak_rss_bytes", BigInteger),
    Column("user_s", Float),
    Column("sys_s", Float),
    Column("wall_s", Float),
    Index(None, "run_id", "state"),
    Index(None, "run_id", "parent"),
    Index(None, "cache_key"),
)

#: Attempts that were followed by another one; a task's row tells of the last.
ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("run_id", String(36), primary_key=True),
    Column("task", String(500), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("pid", Integer),
    Column("pid_start_time", BigInteger),
    Column("boot_id", String(64)),
    Column("started_at", String(27)),
    Column("ended_at", String(27), nullable=False),
    Column("error", Text),
    Column("log_path", Text),
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
