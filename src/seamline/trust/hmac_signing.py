"""Messages that somebody else's server can verify with a secret that both know."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from seamline.domain.errors import InvalidInput


def sign_message(key: bytes, at: str, body: bytes) -> str:
    """The header's value: the time is signed, too, so that an old message can be told.

    >>> sign_message(b"k", "2026-01-01T00:00:00Z", b"{}")[:28]
    't=2026-01-01T00:00:00Z,v1=d7'
    """
    digest = hmac.new(key, at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def is_signed(key: bytes, header: str, body: bytes) -> bool:
    """Whether the header is this body's.

    >>> is_signed(b"k", sign_message(b"k", "2026-01-01T00:00:00Z", b"{}"), b"{ }")
    False
    """
    fields = dict(part.partition("=")[::2] for part in header.split(","))
    return hmac.compare_digest(sign_message(key, fields.get("t", ""), body), header)


def parse_webhook_key(text: bytes) -> bytes:
    """The key of a Standard Webhooks secret; InvalidInput, which does not show it, for others.

    >>> len(parse_webhook_key(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    24
    """
    kind, _, encoded = text.strip().partition(b"_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if kind != b"whsec" or not 24 <= len(key) <= 64:
        raise InvalidInput(
            "The secret is no key that webhooks are signed with.",
            next_step='Set "whsec_" and the base64 of 24 to 64 random bytes.',
        )
    return key


def sign_webhook(keys: Sequence[bytes], id_: str, at_s: int, body: bytes) -> str:
    """The header `webhook-signature`, with one signature for each key.

    >>> key = parse_webhook_key(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    >>> sign_webhook([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = f"{id_}.{at_s}.".encode() + body
    made = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return " ".join(f"v1,{one}" for one in made)
