"""Facts, people, datasets and runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from seamline.domain.digests import digest_of

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_artifacts()
    _create_chain_head()
    _create_dataset_intents()
    _create_dataset_versions()
    _create_datasets()
    _create_facts()
    _create_outbox()
    _create_principals()
    _create_runs()
    _create_settings()
    _create_tasks()
    _create_tokens()
    # The chain's head stands from the start: the first two writers meet at its row lock.
    head = sa.table("chain_head", sa.column("id"), sa.column("chain_seq"), sa.column("hash"))
    op.bulk_insert(head, [{"id": 1, "chain_seq": 0, "hash": digest_of(b"")}])


def _create_artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("task", sa.String(length=500), nullable=False),
        sa.Column("output", sa.String(length=128), nullable=False),
        sa.Column("schema_type", sa.String(length=120), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("is_directory", sa.Boolean(), nullable=False),
        sa.Column("is_blob", sa.Boolean(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_artifacts"),
    )
    op.create_index("ix_artifacts_digest", "artifacts", ["digest"], unique=False)
    op.create_index(
        "ix_artifacts_run_id_task_output", "artifacts", ["run_id", "task", "output"], unique=True
    )


def _create_chain_head() -> None:
    op.create_table(
        "chain_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("chain_seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=71), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_chain_head"),
    )


def _create_dataset_intents() -> None:
    op.create_table(
        "dataset_intents",
        sa.Column("dataset", sa.String(length=63), nullable=False),
        sa.Column("delivery_digest", sa.String(length=71), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("dataset", name="pk_dataset_intents"),
    )


def _create_dataset_versions() -> None:
    op.create_table(
        "dataset_versions",
        sa.Column("dataset", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("delta_version", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("rows_added", sa.BigInteger(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("files_digest", sa.String(length=71), nullable=False),
        sa.Column("profile_digest", sa.String(length=71), nullable=False),
        sa.Column("days_digest", sa.String(length=71), nullable=False),
        sa.Column("basis_digest", sa.String(length=71), nullable=False),
        sa.Column("delivery_digest", sa.String(length=71), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("committed_by", sa.String(length=120), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "version", name="pk_dataset_versions"),
        sa.UniqueConstraint(
            "dataset", "delivery_digest", name="uq_dataset_versions_dataset_delivery_digest"
        ),
    )
    op.create_index("ix_dataset_versions_run_id", "dataset_versions", ["run_id"], unique=False)


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("declaration", sa.Text(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("basis_digest", sa.String(length=71), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_datasets"),
    )


def _create_facts() -> None:
    op.create_table(
        "facts",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.Column("by", sa.String(length=120), nullable=False),
        sa.Column("caused_by", sa.String(length=36), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("chain_seq", sa.Integer(), nullable=True),
        sa.Column("previous_hash", sa.String(length=71), nullable=True),
        sa.Column("hash", sa.String(length=71), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_facts"),
        sa.UniqueConstraint("chain_seq", name="uq_facts_chain_seq"),
        sa.UniqueConstraint("id", name="uq_facts_id"),
    )
    op.create_index("ix_facts_kind_seq", "facts", ["kind", "seq"], unique=False)
    op.create_index("ix_facts_subject_seq", "facts", ["subject", "seq"], unique=False)


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("fact_id", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.String(length=27), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("fact_id", name="pk_outbox"),
    )
    op.create_index("ix_outbox_done_due_at", "outbox", ["done", "due_at"], unique=False)


def _create_principals() -> None:
    op.create_table(
        "principals",
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("roles", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_principals"),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("environment", sa.String(length=120), nullable=False),
        sa.Column("pipeline", sa.String(length=200), nullable=False),
        sa.Column("pipeline_digest", sa.String(length=71), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("requested_by", sa.String(length=120), nullable=False),
        sa.Column("caused_by", sa.String(length=36), nullable=True),
        sa.Column("request_fact", sa.String(length=36), nullable=False),
        sa.Column("fidelity", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("started_at", sa.String(length=27), nullable=True),
        sa.Column("ended_at", sa.String(length=27), nullable=True),
        sa.Column("cancel_requested_by", sa.String(length=120), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index(
        "ix_runs_environment_created_at", "runs", ["environment", "created_at"], unique=False
    )
    op.create_index("ix_runs_pipeline_created_at", "runs", ["pipeline", "created_at"], unique=False)
    op.create_index("ix_runs_state", "runs", ["state"], unique=False)


def _create_settings() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("pid_start_time", sa.BigInteger(), nullable=True),
        sa.Column("boot_id", sa.String(length=64), nullable=True),
        sa.Column("started_at", sa.String(length=27), nullable=True),
        sa.Column("ended_at", sa.String(length=27), nullable=True),
        sa.Column("outputs", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("log_path", sa.Text(), nullable=True),
        sa.Column("packages_digest", sa.String(length=71), nullable=True),
        sa.Column("peak_rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("user_s", sa.Float(), nullable=True),
        sa.Column("sys_s", sa.Float(), nullable=True),
        sa.Column("wall_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "name", name="pk_tasks"),
    )
    op.create_index("ix_tasks_run_id_state", "tasks", ["run_id", "state"], unique=False)


def _create_tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("token_digest", sa.String(length=71), nullable=False),
        sa.Column("principal", sa.String(length=120), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("expires_at", sa.String(length=27), nullable=False),
        sa.Column("revoked_at", sa.String(length=27), nullable=True),
        sa.ForeignKeyConstraint(
            ["principal"],
            ["principals.name"],
        ),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("token_digest", name="uq_tokens_token_digest"),
    )
