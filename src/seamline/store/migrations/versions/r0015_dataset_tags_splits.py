"""Names for dataset versions, their splits, and what retention has removed of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "dataset_tags",
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("tag", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer()),
        sa.Column("tagged_by", sa.String(120), nullable=False),
        sa.Column("tagged_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "tag", name="pk_dataset_tags"),
    )
    op.create_table(
        "dataset_splits",
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("split", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("files_digest", sa.String(71)),
        sa.Column("fixed_by", sa.String(120), nullable=False),
        sa.Column("fixed_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "version", "split", name="pk_dataset_splits"),
    )
    op.create_table(
        "dataset_removals",
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("removed_by", sa.String(120), nullable=False),
        sa.Column("removed_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "version", name="pk_dataset_removals"),
    )
