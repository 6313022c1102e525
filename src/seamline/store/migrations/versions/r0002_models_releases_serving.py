"""Registers, evaluations, releases, snapshots, measurements, retrainings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _create_alarms()
    _create_approvals()
    _create_environments()
    _create_evaluations()
    _create_gate_results()
    _create_measurements()
    _create_model_versions()
    _create_monitor_windows()
    _create_package_files()
    _create_package_names()
    _create_pipeline_tags()
    _create_pipeline_versions()
    _create_promotions()
    _create_releases()
    _create_retrainings()
    _create_snapshots()


def _create_alarms() -> None:
    op.create_table(
        "alarms",
        sa.Column("monitor", sa.String(length=63), nullable=False),
        sa.Column("window", sa.String(length=16), nullable=False),
        sa.Column("check", sa.String(length=220), nullable=False),
        sa.Column("measurement_id", sa.String(length=36), nullable=False),
        sa.Column("fact_id", sa.String(length=36), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("raised_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("monitor", "window", "check", name="pk_alarms"),
    )


def _create_approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("promotion_id", sa.String(length=36), nullable=False),
        sa.Column("principal", sa.String(length=120), nullable=False),
        sa.Column("policy_digest", sa.String(length=71), nullable=False),
        sa.Column("evidence_digest", sa.String(length=71), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.Column("dismissed_at", sa.String(length=27), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_approvals"),
    )
    op.create_index("ix_approvals_promotion_id", "approvals", ["promotion_id"], unique=False)


def _create_environments() -> None:
    op.create_table(
        "environments",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("policy_digest", sa.String(length=71), nullable=False),
        sa.Column("release", sa.String(length=71), nullable=True),
        sa.Column("promotion_id", sa.String(length=36), nullable=True),
        sa.Column("changed_at", sa.String(length=27), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_environments"),
    )


def _create_evaluations() -> None:
    op.create_table(
        "evaluations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("wheel_digest", sa.String(length=71), nullable=False),
        sa.Column("data", sa.String(length=200), nullable=False),
        sa.Column("against", sa.String(length=64), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=120), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.Column("caused_by", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
    )
    op.create_index("ix_evaluations_digest", "evaluations", ["digest"], unique=False)
    op.create_index(
        "ix_evaluations_model_model_version",
        "evaluations",
        ["model", "model_version"],
        unique=False,
    )


def _create_gate_results() -> None:
    op.create_table(
        "gate_results",
        sa.Column("promotion_id", sa.String(length=36), nullable=False),
        sa.Column("gate", sa.String(length=63), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("evidence_digest", sa.String(length=71), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("promotion_id", "gate", name="pk_gate_results"),
    )


def _create_measurements() -> None:
    op.create_table(
        "measurements",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("monitor", sa.String(length=63), nullable=False),
        sa.Column("window", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("n_rows", sa.Integer(), nullable=False),
        sa.Column("n_blocks", sa.Integer(), nullable=False),
        sa.Column("first_day", sa.String(length=40), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_measurements"),
    )
    op.create_index(
        "uq_measurements_key", "measurements", ["monitor", "window", "kind", "subject"], unique=True
    )


def _create_model_versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("wheel_digest", sa.String(length=71), nullable=False),
        sa.Column("payload_digest", sa.String(length=71), nullable=False),
        sa.Column("statement_digest", sa.String(length=71), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("dataset_versions", sa.Text(), nullable=False),
        sa.Column("registered_by", sa.String(length=120), nullable=False),
        sa.Column("registered_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", name="pk_model_versions"),
    )
    op.create_index("ix_model_versions_run_id", "model_versions", ["run_id"], unique=False)
    op.create_index(
        "ix_model_versions_wheel_digest", "model_versions", ["wheel_digest"], unique=False
    )


def _create_monitor_windows() -> None:
    op.create_table(
        "monitor_windows",
        sa.Column("monitor", sa.String(length=63), nullable=False),
        sa.Column("window", sa.String(length=16), nullable=False),
        sa.Column("start", sa.String(length=10), nullable=False),
        sa.Column("end", sa.String(length=10), nullable=False),
        sa.Column("input_digest", sa.String(length=71), nullable=False),
        sa.Column("measured_at", sa.String(length=27), nullable=False),
        sa.Column("measured_by", sa.String(length=120), nullable=False),
        sa.PrimaryKeyConstraint("monitor", "window", name="pk_monitor_windows"),
    )


def _create_package_files() -> None:
    op.create_table(
        "package_files",
        sa.Column("environment", sa.String(length=63), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("requires_python", sa.String(length=200), nullable=True),
        sa.Column("metadata_digest", sa.String(length=71), nullable=False),
        sa.Column("uploaded_by", sa.String(length=120), nullable=False),
        sa.Column("uploaded_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("environment", "filename", name="pk_package_files"),
    )
    op.create_index(
        "ix_package_files_environment_name", "package_files", ["environment", "name"], unique=False
    )


def _create_package_names() -> None:
    op.create_table(
        "package_names",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=120), nullable=False),
        sa.Column("published_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_package_names"),
    )


def _create_pipeline_tags() -> None:
    op.create_table(
        "pipeline_tags",
        sa.Column("repository", sa.String(length=127), nullable=False),
        sa.Column("package", sa.String(length=128), nullable=False),
        sa.Column("tag", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("updated_at", sa.String(length=27), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("repository", "package", "tag", name="pk_pipeline_tags"),
    )


def _create_pipeline_versions() -> None:
    op.create_table(
        "pipeline_versions",
        sa.Column("repository", sa.String(length=127), nullable=False),
        sa.Column("package", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("published_by", sa.String(length=120), nullable=False),
        sa.Column("published_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("repository", "package", "digest", name="pk_pipeline_versions"),
    )


def _create_promotions() -> None:
    op.create_table(
        "promotions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("release", sa.String(length=71), nullable=False),
        sa.Column("environment", sa.String(length=63), nullable=False),
        sa.Column("phase", sa.String(length=32), nullable=False),
        sa.Column("requested_by", sa.String(length=120), nullable=False),
        sa.Column("requested_at", sa.String(length=27), nullable=False),
        sa.Column("updated_at", sa.String(length=27), nullable=False),
        sa.Column("policy_digest", sa.String(length=71), nullable=True),
        sa.Column("evidence_digest", sa.String(length=71), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_promotions"),
    )
    op.create_index(
        "ix_promotions_environment_phase", "promotions", ["environment", "phase"], unique=False
    )


def _create_releases() -> None:
    op.create_table(
        "releases",
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("alias", sa.String(length=120), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(length=120), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_releases"),
        sa.UniqueConstraint("alias", name="uq_releases_alias"),
    )


def _create_retrainings() -> None:
    op.create_table(
        "retrainings",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("trigger", sa.String(length=63), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("dedup_key", sa.String(length=200), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("candidate_version", sa.String(length=64), nullable=True),
        sa.Column("incumbent_version", sa.String(length=64), nullable=True),
        sa.Column("evaluation_id", sa.String(length=36), nullable=True),
        sa.Column("release", sa.String(length=71), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("monitor", sa.String(length=63), nullable=False),
        sa.Column("check", sa.String(length=220), nullable=False),
        sa.Column("window", sa.String(length=16), nullable=False),
        sa.Column("window_start", sa.String(length=10), nullable=False),
        sa.Column("window_end", sa.String(length=10), nullable=False),
        sa.Column("caused_by", sa.String(length=36), nullable=False),
        sa.Column("requested_by", sa.String(length=120), nullable=False),
        sa.Column("requested_at", sa.String(length=27), nullable=False),
        sa.Column("updated_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_retrainings"),
        sa.UniqueConstraint("dedup_key", name="uq_retrainings_dedup_key"),
    )
    op.create_index("ix_retrainings_run_id", "retrainings", ["run_id"], unique=False)
    op.create_index(
        "ix_retrainings_trigger_phase", "retrainings", ["trigger", "phase"], unique=False
    )


def _create_snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("environment", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("release", sa.String(length=71), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("written_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("environment", "version", name="pk_snapshots"),
    )
