"""Schedules, experiments, and what people call pipelines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    _create_experiments()
    _create_pipeline_titles()
    _create_schedules()


def _create_experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("environment", sa.String(length=120), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("storage", sa.String(length=20), nullable=False),
        sa.Column("created_by", sa.String(length=120), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_experiments"),
    )
    op.create_index(
        "ix_experiments_environment_name", "experiments", ["environment", "name"], unique=True
    )


def _create_pipeline_titles() -> None:
    op.create_table(
        "pipeline_titles",
        sa.Column("repository", sa.String(length=127), nullable=False),
        sa.Column("package", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.String(length=120), nullable=False),
        sa.Column("changed_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("repository", "package", "digest", name="pk_pipeline_titles"),
    )


def _create_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("environment", sa.String(length=120), nullable=False),
        sa.Column("experiment_id", sa.String(length=36), nullable=True),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("cron", sa.String(length=200), nullable=True),
        sa.Column("interval_s", sa.Integer(), nullable=True),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("start_at", sa.String(length=27), nullable=True),
        sa.Column("end_at", sa.String(length=27), nullable=True),
        sa.Column("missed", sa.String(length=20), nullable=False),
        sa.Column("max_concurrency", sa.Integer(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("package", sa.String(length=128), nullable=True),
        sa.Column("tag", sa.String(length=128), nullable=True),
        sa.Column("pipeline_digest", sa.String(length=71), nullable=True),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(length=120), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("changed_at", sa.String(length=27), nullable=False),
        sa.Column("fact", sa.String(length=36), nullable=False),
        sa.Column("next_at", sa.String(length=27), nullable=True),
        sa.Column("last_run_id", sa.String(length=36), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_schedules"),
    )
    for columns in (["is_paused", "next_at"], ["environment", "created_at"], ["experiment_id"]):
        op.create_index(f"ix_schedules_{'_'.join(columns)}", "schedules", columns, unique=False)
