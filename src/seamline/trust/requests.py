"""What a request says of where it comes from, and of who sends it.

Host and Origin: a page of another site must not be able to act on a loopback server.
A browser attaches `Origin` to each cross-site request that changes state, and cannot forge it;
a rebound DNS name still arrives with its own `Host`. So: the Host must be one of the names this
server answers to, and an Origin, where there is one, must be this server's own.
"""

from __future__ import annotations

import base64
from collections.abc import Set
from ipaddress import ip_address
from urllib.parse import urlsplit

from seamline.domain.errors import Forbidden, Unauthenticated

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


def check_request_site(
    method: str, host: str, origin: str | None, fetch_site: str | None, names: Set[str]
) -> None:
    """Raises Forbidden. `names`: the host names (without port) this server answers to.

    >>> check_request_site("GET", "127.0.0.1:8080", None, None, LOOPBACK_NAMES)
    >>> check_request_site("POST", "localhost:8080", "http://localhost:8080", None, LOOPBACK_NAMES)
    """
    if _name(host) not in names:
        raise Forbidden(
            f"This server does not answer to the host name {host!r}.",
            next_step=f"Use one of: {', '.join(sorted(names))}.",
        )
    if method in SAFE_METHODS:
        return
    if origin is not None and urlsplit(origin).netloc != host:
        raise Forbidden(f"A page of {origin} cannot change anything on {host}.")
    if fetch_site in {"cross-site", "same-site"}:
        raise Forbidden(f"The browser marked this request as {fetch_site}: refused.")


def read_token(header: str) -> str | None:
    """Of an Authorization header: Bearer's, or the password of Basic; None where it is empty.
    Raises Unauthenticated for one without a token.

    >>> read_token("Bearer sl_1"), read_token("basic YWRhOnNsXzI="), read_token(" ")
    ('sl_1', 'sl_2', None)
    """
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    if scheme.lower() == "basic" and value:
        try:
            _, _, password = base64.b64decode(value).decode().partition(":")
        except ValueError:  # no base64, no ASCII, or no text in it
            raise Unauthenticated("The Authorization header cannot be read.") from None
        return password
    if header.strip():
        # Ignored, it would make its sender the owner on loopback.
        raise Unauthenticated(
            "The Authorization header holds no token.",
            next_step="Send Authorization: Bearer TOKEN.",
        )
    return None


def is_loopback(host: str) -> bool:
    """
    >>> is_loopback("127.0.0.2"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # no address: a name, or what a proxy said
        return False


def _name(host: str) -> str:
    return host.rsplit(":", 1)[0] if not host.endswith("]") else host
