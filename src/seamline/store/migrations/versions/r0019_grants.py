"""Roles that hold in some environments or for some teams only; approvers' own keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    _add_grants()
    _add_approver_keys()


def _add_grants() -> None:
    """Who had a role goes on to have it everywhere and for everybody's things."""
    op.create_table(
        "grants",
        sa.Column("principal", sa.String(120), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("team", sa.String(63), nullable=False),
        sa.Column("environment", sa.String(63), nullable=False),
        sa.Column("granted_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("principal", "role", "team", "environment", name="pk_grants"),
        sa.ForeignKeyConstraint(
            ["principal"], ["principals.name"], name="fk_grants_principal_principals"
        ),
    )
    grants = sa.table(
        "grants", *(sa.column(name) for name in ("principal", "role", "team", "environment")),
        sa.column("granted_at"),
    )  # fmt: skip
    people = op.get_bind().execute(sa.text("SELECT name, roles, created_at FROM principals"))
    held = [
        {"principal": row.name, "role": role, "team": "", "environment": "",
         "granted_at": row.created_at}
        for row in people
        for role in sorted(set(row.roles.split(",")) - {""})
    ]  # fmt: skip
    if held:
        op.bulk_insert(grants, held)
    op.drop_column("principals", "roles")


def _add_approver_keys() -> None:
    op.create_table(
        "approver_keys",
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("principal", sa.String(120), nullable=False),
        sa.Column("public_key", sa.String(44), nullable=False),
        sa.Column("added_at", sa.String(27), nullable=False),
        sa.Column("ended_at", sa.String(27)),
        sa.PrimaryKeyConstraint("key_id", name="pk_approver_keys"),
        sa.ForeignKeyConstraint(
            ["principal"], ["principals.name"], name="fk_approver_keys_principal_principals"
        ),
    )
    op.add_column(
        "approvals", sa.Column("key_id", sa.String(16), nullable=False, server_default="")
    )
