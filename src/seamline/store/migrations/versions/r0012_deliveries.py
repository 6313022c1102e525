"""What a dataset's version was made from: rows to add or a whole table, and how far it was read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    mode = sa.Column("mode", sa.String(16), nullable=False, server_default="append")
    op.add_column("dataset_versions", mode)
    op.add_column("dataset_versions", sa.Column("watermark", sa.Text()))
