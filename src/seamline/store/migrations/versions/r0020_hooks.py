"""Hooks, and what is told to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "hooks",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.Column("secret", sa.String(320), nullable=False),
        sa.Column("timeout_s", sa.Float(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_hooks"),
    )
    op.create_table(
        "hook_deliveries",
        sa.Column("hook", sa.String(63), nullable=False),
        sa.Column("chain_seq", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("fact_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.String(27), nullable=False),
        sa.Column("is_leased", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.Text()),
        sa.Column("tried_at", sa.String(27)),
        sa.Column("asked_by", sa.String(120)),
        sa.PrimaryKeyConstraint("hook", "chain_seq", name="pk_hook_deliveries"),
    )
    op.create_index(
        "ix_hook_deliveries_hook_state_chain_seq",
        "hook_deliveries",
        ["hook", "state", "chain_seq"],
    )
