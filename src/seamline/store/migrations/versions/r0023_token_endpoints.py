"""Tokens that are limited to some endpoints of the data plane."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.add_column("tokens", sa.Column("endpoints", sa.Text))
