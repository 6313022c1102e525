"""Who is asking: a token (Bearer, Basic or the console's cookie), or the loopback owner."""

from __future__ import annotations

import base64
import binascii
from ipaddress import ip_address

from fastapi import Request

from seamline.domain.errors import Unauthenticated
from seamline.domain.states import Role
from seamline.protocols.environment_scope import check_environments, check_named_environments
from seamline.store.stores import Stores
from seamline.trust.refusals import require
from seamline.trust.roles import Principal, Verb
from seamline.trust.tokens import principal_of_token

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


def caller_who_may(request: Request, verb: Verb, body: object = None) -> Principal:
    """The caller, whose roles and token allow `verb` in the environments of this request; for
    their teams' things only, where these roles are.

    `body`: the JSON that was sent, where it may name an environment.
    """
    principal = caller(request)
    require(principal, verb)
    return check_environments(request, principal, verb, body)


def check_sender(request: Request, verb: Verb) -> None:
    """Before a body is read: raises what its sender could not do with any body."""
    principal = caller(request)
    require(principal, verb)
    check_named_environments(request, principal, verb)
