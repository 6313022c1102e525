"""RFC 8785 canonical JSON: one value, one byte string, one digest."""

from __future__ import annotations

from typing import Any

import rfc8785

from seamline.domain.digests import Digest, digest_of


def canonical_json(value: Any) -> bytes:
    """
    >>> canonical_json({"b": 1, "a": (2.0, "é")})
    b'{"a":[2,"\\xc3\\xa9"],"b":1}'
    """
    return rfc8785.dumps(value)


def digest_of_json(value: Any) -> Digest:
    return digest_of(canonical_json(value))
