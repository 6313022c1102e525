"""Which release a promotion of code has made in its environment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("promotions", sa.Column("retrained", sa.String(71)))
