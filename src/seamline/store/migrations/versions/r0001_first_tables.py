"""The first tables."""

from __future__ import annotations

from alembic import op

from seamline.domain.digests import digest_of
from seamline.store.schema import CHAIN_HEAD, METADATA

revision = "0001"
down_revision = None


def upgrade() -> None:
    METADATA.create_all(op.get_bind())
    # The chain's head stands from the start, so that the first two writers meet at its row lock.
    op.bulk_insert(CHAIN_HEAD, [{"id": 1, "chain_seq": 0, "hash": digest_of(b"")}])
