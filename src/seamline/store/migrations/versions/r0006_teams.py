"""Teams, limits of tokens, and which team a published name belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    _create_teams()
    for name in ("team", "replaced_by"):
        op.add_column("tokens", sa.Column(name, sa.String(63 if name == "team" else 36)))
    for name in ("environments", "verbs"):
        op.add_column("tokens", sa.Column(name, sa.Text()))
    op.add_column("package_names", sa.Column("team", sa.String(63)))
    _create_pipeline_names()


def _create_teams() -> None:
    op.create_table(
        "teams",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_teams"),
    )
    op.create_table(
        "team_members",
        sa.Column("team", sa.String(length=63), nullable=False),
        sa.Column("principal", sa.String(length=120), nullable=False),
        sa.Column("joined_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["team"], ["teams.name"], name="fk_team_members_team_teams"),
        sa.ForeignKeyConstraint(
            ["principal"], ["principals.name"], name="fk_team_members_principal_principals"
        ),
        sa.PrimaryKeyConstraint("team", "principal", name="pk_team_members"),
    )


def _create_pipeline_names() -> None:
    op.create_table(
        "pipeline_names",
        sa.Column("repository", sa.String(length=127), nullable=False),
        sa.Column("package", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=120), nullable=False),
        sa.Column("team", sa.String(length=63), nullable=True),
        sa.Column("published_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("repository", "package", name="pk_pipeline_names"),
    )
    # Until now nobody owned them: they belong to whoever published the oldest version there is.
    op.execute(
        "INSERT INTO pipeline_names (repository, package, owner, published_at) "
        "SELECT v.repository, v.package, MIN(v.published_by), v.published_at "
        "FROM pipeline_versions v WHERE v.published_at = (SELECT MIN(w.published_at) "
        "FROM pipeline_versions w WHERE w.repository = v.repository AND w.package = v.package) "
        "GROUP BY v.repository, v.package, v.published_at"
    )
