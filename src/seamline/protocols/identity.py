"""Who is asking: a token (Bearer, Basic or the console's cookie), or the loopback owner."""

from __future__ import annotations

from fastapi import Request

from seamline.domain.errors import Unauthenticated
from seamline.domain.states import Role
from seamline.protocols.environment_scope import check_environments, check_named_environments
from seamline.store.stores import Stores
from seamline.trust.refusals import require
from seamline.trust.requests import is_loopback, read_token
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
    if request.client is not None and is_loopback(request.client.host):
        return Principal(request.app.state.platform.owner, frozenset({Role.ADMIN}))
    raise Unauthenticated(
        "This request carries no token.", next_step="Send Authorization: Bearer TOKEN."
    )


def token_of(request: Request) -> str | None:
    token = read_token(request.headers.get("authorization", ""))
    return request.cookies.get(SESSION_COOKIE) if token is None else token


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
