"""Principals, their roles, teams and tokens. A token is stored as its sha256 only."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, String, Table, Text

from seamline.store.schema import METADATA

PRINCIPALS = Table(
    "principals",
    METADATA,
    Column("name", String(120), primary_key=True),
    Column("created_at", String(27), nullable=False),
)

GRANTS = Table(
    "grants",
    METADATA,
    Column("principal", String(120), ForeignKey("principals.name"), primary_key=True),
    Column("role", String(32), primary_key=True),
    # Empty: for every team's things; in every environment.
    Column("team", String(63), primary_key=True),
    Column("environment", String(63), primary_key=True),
    Column("granted_at", String(27), nullable=False),
)

TEAMS = Table(
    "teams",
    METADATA,
    Column("name", String(63), primary_key=True),
    Column("created_at", String(27), nullable=False),
)

TEAM_MEMBERS = Table(
    "team_members",
    METADATA,
    Column("team", String(63), ForeignKey("teams.name"), primary_key=True),
    Column("principal", String(120), ForeignKey("principals.name"), primary_key=True),
    Column("joined_at", String(27), nullable=False),
)

#: Keys that approvers sign with; the private half is theirs alone.
APPROVER_KEYS = Table(
    "approver_keys",
    METADATA,
    Column("key_id", String(16), primary_key=True),
    Column("principal", String(120), ForeignKey("principals.name"), nullable=False),
    Column("public_key", String(44), nullable=False),
    Column("added_at", String(27), nullable=False),
    Column("ended_at", String(27)),
)

TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("token_digest", String(71), nullable=False, unique=True),
    Column("principal", String(120), ForeignKey("principals.name"), nullable=False),
    Column("created_at", String(27), nullable=False),
    Column("expires_at", String(27), nullable=False),
    Column("revoked_at", String(27)),
    # What it is limited to, with commas between; NULL: to nothing.
    Column("team", String(63)),
    Column("environments", Text),
    Column("verbs", Text),
    Column("endpoints", Text),
    # The token that was issued in its stead; until expires_at both hold.
    Column("replaced_by", String(36)),
)
