"""Back-tests, and the training runs that were made for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table(
        "backtests",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("wheel_digest", sa.String(71), nullable=False),
        sa.Column("data", sa.String(200), nullable=False),
        sa.Column("against", sa.String(64)),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("by", sa.String(120), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_backtests"),
    )
    op.create_index("ix_backtests_digest", "backtests", ["digest"])
    op.create_index("ix_backtests_model_model_version", "backtests", ["model", "model_version"])
    op.create_table(
        "backtest_runs",
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_backtest_runs"),
    )
