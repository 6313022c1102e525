"""Loops, conditions, caching, earlier attempts; names, options and schedules of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _create_attempts()
    _extend_runs()
    _extend_tasks()


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("task", sa.String(length=500), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("pid_start_time", sa.BigInteger(), nullable=True),
        sa.Column("boot_id", sa.String(length=64), nullable=True),
        sa.Column("started_at", sa.String(length=27), nullable=True),
        sa.Column("ended_at", sa.String(length=27), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("log_path", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "task", "attempt", name="pk_attempts"),
    )


def _extend_runs() -> None:
    _add("runs", sa.Column("display_name", sa.String(200), nullable=False, server_default=""))
    _add("runs", sa.Column("team", sa.String(120), nullable=False, server_default=""))
    _add("runs", sa.Column("options", sa.Text(), nullable=False, server_default="{}"))
    _add("runs", sa.Column("notes", sa.Text(), nullable=False, server_default="[]"))
    _add("runs", sa.Column("storage", sa.String(20), nullable=False, server_default="available"))
    _add("runs", sa.Column("experiment_id", sa.String(36), nullable=True))
    _add("runs", sa.Column("schedule_id", sa.String(36), nullable=True))
    _add("runs", sa.Column("scheduled_for", sa.String(27), nullable=True))
    _add("runs", sa.Column("reference", sa.String(300), nullable=True))
    _add("runs", sa.Column("reuses_run", sa.String(36), nullable=True))
    _add("runs", sa.Column("outputs", sa.Text(), nullable=True))
    op.create_index(
        "ix_runs_experiment_id_created_at", "runs", ["experiment_id", "created_at"], unique=False
    )
    op.create_index(
        "ix_runs_schedule_id_created_at", "runs", ["schedule_id", "created_at"], unique=False
    )


def _extend_tasks() -> None:
    _add("tasks", sa.Column("parent", sa.String(500), nullable=True))
    _add("tasks", sa.Column("component", sa.String(200), nullable=False, server_default=""))
    _add("tasks", sa.Column("display_name", sa.String(200), nullable=False, server_default=""))
    _add("tasks", sa.Column("items", sa.Integer(), nullable=True))
    _add("tasks", sa.Column("item_index", sa.Integer(), nullable=True))
    _add("tasks", sa.Column("item", sa.Text(), nullable=True))
    _add("tasks", sa.Column("fidelity", sa.String(20), nullable=True))
    _add("tasks", sa.Column("inputs", sa.Text(), nullable=True))
    _add("tasks", sa.Column("cache_key", sa.String(71), nullable=True))
    _add("tasks", sa.Column("cache_parts", sa.Text(), nullable=True))
    _add("tasks", sa.Column("cached_run_id", sa.String(36), nullable=True))
    _add("tasks", sa.Column("cached_task", sa.String(500), nullable=True))
    op.create_index("ix_tasks_cache_key", "tasks", ["cache_key"], unique=False)
    op.create_index("ix_tasks_run_id_parent", "tasks", ["run_id", "parent"], unique=False)


def _add(table: str, column: sa.Column[object]) -> None:
    op.add_column(table, column)
