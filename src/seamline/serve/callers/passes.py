"""Passes: what the control plane asks the data plane with, for a person who asked it to.

The console's forms, for one: their sender is known to the control plane, often without any token.
The workspace's key signs who they are and which one endpoint is meant, until when; whether they may
ask it was decided by whoever signed.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from datetime import datetime

import msgspec

from seamline.domain.clock import from_iso
from seamline.domain.errors import InvalidInput, Refused, Unauthenticated
from seamline.store.canonical import canonical_json
from seamline.trust.keys import PublicKey, SigningKey
from seamline.trust.statements import open_envelope, sign_envelope

#: Of the Authorization header that carries it.
SCHEME = "Seamline-Pass"
PASS_TYPE = "application/vnd.seamline.pass+json"
LIFETIME_S = 60


@dataclass(frozen=True)
class Pass:
    principal: str
    environment: str
    endpoint: str
    expires_at: str


def write_pass(found: Pass, key: SigningKey) -> str:
    """The value of the Authorization header."""
    envelope = sign_envelope(PASS_TYPE, canonical_json(asdict(found)), key)
    return f"{SCHEME} {base64.b64encode(envelope).decode()}"


def read_pass(text: str, key: PublicKey, now: datetime) -> Pass:
    """What follows the scheme. Unauthenticated unless this key signed it, and its time is not
    over."""
    try:
        envelope = base64.b64decode(text, validate=True)
        payload = open_envelope(envelope, PASS_TYPE, [key])
        found = msgspec.json.decode(payload, type=Pass)
    except (ValueError, msgspec.DecodeError, InvalidInput, Refused) as error:
        raise Unauthenticated(f"This pass does not hold: {error}") from error
    if now >= from_iso(found.expires_at):
        raise Unauthenticated(f"This pass of {found.principal} expired at {found.expires_at}.")
    return found
