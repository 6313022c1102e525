"""What a promotion comes in as; policies by digest; holds; broken glass."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    _add_columns()
    _add_policies()
    _add_holds_and_glass()


def _add_columns() -> None:
    op.add_column(
        "promotions",
        sa.Column("kind", sa.String(16), nullable=False, server_default="regular"),
    )
    op.add_column("promotions", sa.Column("glass_id", sa.String(36)))
    op.add_column("promotions", sa.Column("live_number", sa.Integer()))
    op.execute(
        "UPDATE promotions SET live_number = (SELECT MAX(seq) FROM facts "
        "WHERE kind = 'promotion.moved' AND subject = promotions.id "
        """AND body LIKE '%"after":"live"%')"""
    )
    op.add_column(
        "approvals",
        sa.Column("self_approved", sa.String(60), nullable=False, server_default=""),
    )


def _add_policies() -> None:
    op.create_table(
        "policies",
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_policies"),
    )
    op.execute(
        "INSERT INTO policies (digest, document) "
        "SELECT policy_digest, MIN(policy) FROM environments GROUP BY policy_digest"
    )


def _add_holds_and_glass() -> None:
    op.create_table(
        "holds",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("environment", sa.String(63), nullable=False),
        sa.Column("release", sa.String(71)),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.String(120), nullable=False),
        sa.Column("set_at", sa.String(27), nullable=False),
        sa.Column("lifted_by", sa.String(120)),
        sa.Column("lifted_at", sa.String(27)),
        sa.PrimaryKeyConstraint("id", name="pk_holds"),
    )
    op.create_index("ix_holds_environment", "holds", ["environment"])
    op.create_table(
        "broken_glass",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("environment", sa.String(63), nullable=False),
        sa.Column("principal", sa.String(120), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("broken_at", sa.String(27), nullable=False),
        sa.Column("until", sa.String(27), nullable=False),
        sa.Column("mended_at", sa.String(27)),
        sa.PrimaryKeyConstraint("id", name="pk_broken_glass"),
    )
    op.create_index("ix_broken_glass_environment", "broken_glass", ["environment"])
