"""Who is asking: a token (Bearer, Basic or the console's cookie), or the loopback owner."""

from __future__ import annotations

import base64
import binascii
from ipaddress import ip_address

from fastapi import Request

from seamline.domain.errors import Unauthenticated
from seamline.domain.states import Role
from seamline.store.stores import Stores
from seamline.trust.principals import principal_of_token
from seamline.trust.roles import Principal, Verb, require

SESSION_COOKIE = "seamline_token"


def caller(request: Request) -> Principal:
    """The principal of this request. No header or flag can name another person."""
    stores: Stores = request.app.state.platform.stores
    token = token_of(request)
    if token is not None:
        with stores.db.read() as connection:
            return principal_of_token(connection, stores.clock, token)
    if request.client is not None and _is_loopback(request.client.host):
        return Principal(request.app.state.platform.owner, frozenset({Role.ADMIN}))
    raise Unauthenticated(
        "This request carries no token.", next_step="Send Authorization: Bearer TOKEN."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # no address: what a proxy said
        return False


def token_of(request: Request) -> str | None:
    header = request.headers.get("authorization", "")
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    if scheme.lower() == "basic" and value:
        try:
            _, _, password = base64.b64decode(value).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Unauthenticated("The Authorization header cannot be read.") from None
        return password
    if header.strip():
        # Ignored, it would make its sender the owner on loopback.
        raise Unauthenticated(
            "The Authorization header holds no token.",
            next_step="Send Authorization: Bearer TOKEN.",
        )
    return request.cookies.get(SESSION_COOKIE)


def caller_who_may(request: Request, verb: Verb) -> Principal:
    principal = caller(request)
    require(principal, verb)
    return principal
