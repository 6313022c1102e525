"""Statements about what is published, the keys that sign them, and what images stood for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("begins_at", sa.String(27), nullable=False),
        sa.Column("sealed", sa.String(71)),
        sa.PrimaryKeyConstraint("number", name="pk_signing_keys"),
        sa.UniqueConstraint("key_id", name="uq_signing_keys_key_id"),
    )
    statements = op.create_table(
        "statements",
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("statement", sa.String(71), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("signed_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("subject", "digest", name="pk_statements"),
    )
    op.create_index("ix_statements_digest", "statements", ["digest"], unique=False)
    op.create_index("ix_statements_key_id", "statements", ["key_id"], unique=False)
    op.create_table(
        "pipeline_images",
        sa.Column("pipeline", sa.String(71), nullable=False),
        sa.Column("reference", sa.String(400), nullable=False),
        sa.Column("digest", sa.String(71)),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("looked_up_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "reference", name="pk_pipeline_images"),
    )
    # Model wheels had statements before; the one key that there was has signed them.
    models = sa.table(
        "model_versions",
        sa.column("filename"),
        sa.column("wheel_digest"),
        sa.column("statement_digest"),
        sa.column("registered_at"),
    )
    told = sa.select(
        models.c.filename,
        models.c.wheel_digest,
        sa.literal("model"),
        models.c.statement_digest,
        sa.literal(""),
        models.c.registered_at,
    )
    columns = ["subject", "digest", "kind", "statement", "key_id", "signed_at"]
    op.execute(statements.insert().from_select(columns, told))
