"""Which image a task's container was started from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("image", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("image_digest", sa.String(71), nullable=True))
