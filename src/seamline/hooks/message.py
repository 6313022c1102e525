"""A fact as a hook is told of it: body and headers of the Standard Webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from seamline import __version__
from seamline.store.canonical import canonical_json
from seamline.store.facts import RecordedFact
from seamline.trust.hmac_signing import sign_webhook


def body_of(fact: RecordedFact) -> bytes:
    """The same bytes at every attempt: nothing in it is of the moment of sending.

    `chain_seq` and `hash` are the ledger's head as it was then, so whoever keeps what came can
    witness that nothing before was changed or cut off.
    """
    return canonical_json(
        {
            "type": fact.kind,
            "timestamp": fact.at,
            "data": {
                "id": fact.id,
                "subject": fact.subject,
                "by": fact.by,
                "caused_by": fact.caused_by,
                "chain_seq": fact.chain_seq,
                "hash": fact.hash,
                "fact": fact.body,
            },
        }
    )


def headers_of(
    fact: RecordedFact, body: bytes, now: datetime, keys: Sequence[bytes]
) -> dict[str, str]:
    """`webhook-id` is the fact's: whoever has seen it before has been told of it before."""
    at_s = int(now.timestamp())
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Seamline/{__version__}",
        "webhook-id": fact.id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": sign_webhook(keys, fact.id, at_s, body),
    }
