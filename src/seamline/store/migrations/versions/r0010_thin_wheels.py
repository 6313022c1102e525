"""Thin wheels of models, and payloads asked for by digest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "thin_wheels",
        sa.Column("wheel_digest", sa.String(71), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("metadata_digest", sa.String(71), nullable=False),
        sa.PrimaryKeyConstraint("wheel_digest", name="pk_thin_wheels"),
    )
    op.create_index(
        "ix_model_versions_payload_digest", "model_versions", ["payload_digest"], unique=False
    )
