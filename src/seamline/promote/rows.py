"""Tables of the promote room."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table, Text

from seamline.store.schema import METADATA

RELEASES = Table(
    "releases",
    METADATA,
    Column("digest", String(71), primary_key=True),
    Column("alias", String(120), nullable=False, unique=True),
    Column("document", Text, nullable=False),
    Column("created_by", String(120), nullable=False),
    Column("created_at", String(27), nullable=False),
)

ENVIRONMENTS = Table(
    "environments",
    METADATA,
    Column("name", String(63), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("policy", Text, nullable=False),
    Column("policy_digest", String(71), nullable=False),
    # The pointer that promotion moves.
    Column("release", String(71)),
    Column("promotion_id", String(36)),
    Column("changed_at", String(27)),
)

PROMOTIONS = Table(
    "promotions",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("release", String(71), nullable=False),
    Column("environment", String(63), nullable=False),
    Column("phase", String(32), nullable=False),
    Column("requested_by", String(120), nullable=False),
    Column("requested_at", String(27), nullable=False),
    Column("updated_at", String(27), nullable=False),
    Column("policy_digest", String(71)),
    Column("evidence_digest", String(71)),
    Column("reason", Text, nullable=False),
    Column("kind", String(16), nullable=False, server_default="regular"),
    # The broken glass that an emergency came in under.
    Column("glass_id", String(36)),
    # Which in the row of those that went live in the environment: no clock tells their order.
    Column("live_number", Integer),
    # Where the policy promotes code: the release of what was trained in the environment.
    Column("retrained", String(71)),
    Index(None, "environment", "phase"),
)

POLICIES = Table(
    "policies",
    METADATA,
    Column("digest", String(71), primary_key=True),
    Column("document", Text, nullable=False),
)

HOLDS = Table(
    "holds",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("environment", String(63), nullable=False, index=True),
    Column("release", String(71)),
    Column("reason", Text, nullable=False),
    Column("set_by", String(120), nullable=False),
    Column("set_at", String(27), nullable=False),
    Column("lifted_by", String(120)),
    Column("lifted_at", String(27)),
)

GLASS = Table(
    "broken_glass",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("environment", String(63), nullable=False, index=True),
    Column("principal", String(120), nullable=False),
    Column("reason", Text, nullable=False),
    Column("broken_at", String(27), nullable=False),
    Column("until", String(27), nullable=False),
    Column("mended_at", String(27)),
)

GATE_RESULTS = Table(
    "gate_results",
    METADATA,
    Column("promotion_id", String(36), primary_key=True),
    Column("gate", String(63), primary_key=True),
    Column("verdict", String(16), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("evidence_digest", String(71), nullable=False),
    Column("at", String(27), nullable=False),
)

APPROVALS = Table(
    "approvals",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("promotion_id", String(36), nullable=False, index=True),
    Column("principal", String(120), nullable=False),
    Column("policy_digest", String(71), nullable=False),
    Column("evidence_digest", String(71), nullable=False),
    Column("comment", Text, nullable=False),
    Column("at", String(27), nullable=False),
    Column("dismissed_at", String(27)),
    Column("self_approved", String(60), nullable=False, server_default=""),
    # The approver's own key that signed it; empty where none did.
    Column("key_id", String(16), nullable=False, server_default=""),
)
