"""Models of which there is one per scenario."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    column = sa.Column("family", sa.String(128), nullable=False, server_default="")
    op.add_column("model_versions", column)
    # Until now each model was declared by its own name.
    versions = sa.table("model_versions", sa.column("family"), sa.column("model"))
    op.execute(versions.update().values(family=versions.c.model))
    op.create_index("ix_model_versions_family", "model_versions", ["family"], unique=False)
