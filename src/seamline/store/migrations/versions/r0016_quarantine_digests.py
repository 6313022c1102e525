"""The digest of the rows that a version's delivery had to leave behind."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("dataset_versions", sa.Column("quarantine_digest", sa.String(71)))
