"""The ledger for somebody outside: its signed head, and all of it."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select

from seamline.domain.clock import iso
from seamline.store.facts import read_links
from seamline.store.schema import CHAIN_HEAD
from seamline.store.stores import Stores
from seamline.trust.audit import HEAD_TYPE, AuditHead, head_payload, write_export
from seamline.trust.signing import key_history, sign_payload


def sign_head(stores: Stores) -> tuple[AuditHead, bytes]:
    """The head as it is now, signed: to be kept where nobody who runs the workspace can write."""
    with stores.db.transaction() as tx:
        row = tx.execute(select(CHAIN_HEAD.c.chain_seq, CHAIN_HEAD.c.hash)).one()
        head = AuditHead(row.chain_seq, row.hash, iso(stores.clock.now()))
        return head, sign_payload(stores, tx, HEAD_TYPE, head_payload(head))


def export_ledger(stores: Stores) -> Iterator[bytes]:
    """Lines of JSON, up to a head that is signed now."""
    head, envelope = sign_head(stores)
    with stores.db.read() as connection:
        links = read_links(connection, until=head.chain_seq)
        yield from write_export(envelope, key_history(connection), links)
