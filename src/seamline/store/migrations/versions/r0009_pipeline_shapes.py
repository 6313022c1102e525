"""What pipeline files contain, so that a version's users can be named."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "pipeline_shapes",
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("content_digest", sa.String(71), nullable=False),
        sa.Column("interface_digest", sa.String(71), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_pipeline_shapes"),
    )
    op.create_table(
        "pipeline_parts",
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("part", sa.String(71), nullable=False),
        sa.PrimaryKeyConstraint("digest", "part", name="pk_pipeline_parts"),
    )
    op.create_index("ix_pipeline_parts_part", "pipeline_parts", ["part"], unique=False)
