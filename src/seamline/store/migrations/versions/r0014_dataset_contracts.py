"""Contracts that projects declare, and what each version's delivery broke of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "dataset_contracts",
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("applied_by", sa.String(120), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("dataset", name="pk_dataset_contracts"),
    )
    breaches = sa.Column("breaches", sa.Text(), nullable=False, server_default="[]")
    aside = sa.Column("rows_quarantined", sa.BigInteger(), nullable=False, server_default="0")
    for column in (sa.Column("contract_digest", sa.String(71)), breaches, aside):
        op.add_column("dataset_versions", column)
