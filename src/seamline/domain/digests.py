"""Content names: `sha256:<64 hex>`."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from seamline.domain.errors import DigestMismatch, InvalidInput

Digest = NewType("Digest", str)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(data: bytes) -> Digest:
    """
    >>> digest_of(b"")[:19]
    'sha256:e3b0c44298fc'
    """
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def parse_digest(text: str) -> Digest:
    """Raises InvalidInput when the text is not a full sha256 digest."""
    if not _DIGEST.fullmatch(text):
        raise InvalidInput(
            f"{text!r} is not a digest.", next_step="Write sha256: and 64 hexadecimal digits."
        )
    return Digest(text)


def check_digest(data: bytes, expected: str, what: str) -> bytes:
    """The very bytes that were hashed, or DigestMismatch (law 2)."""
    actual = digest_of(data)
    if actual != expected:
        raise DigestMismatch(what, expected=expected, actual=actual)
    return data


def short(digest: str) -> str:
    """Twelve digits for people; never for look-ups.

    >>> short("sha256:" + "ab" * 32)
    'abababababab'
    """
    return digest.removeprefix("sha256:")[:12]
