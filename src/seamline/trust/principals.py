"""Principals, and the tokens that stand for them."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta

from sqlalchemy import Connection, insert, select, update

from seamline.domain.clock import Clock, iso, new_id
from seamline.domain.digests import digest_of
from seamline.domain.errors import Conflict, InvalidInput, Unauthenticated, nearest, not_found
from seamline.domain.facts import PrincipalAdded, TokenIssued, TokenRevoked
from seamline.domain.states import Role
from seamline.store.facts import FactLog
from seamline.trust.roles import Principal
from seamline.trust.rows import PRINCIPALS, TOKENS

DEFAULT_TOKEN_DAYS = 90
#: In facts: whatever nobody but the platform itself did.
PLATFORM = "seamline"
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,99}")


def parse_role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise InvalidInput(
            f"There is no role {text!r}.", next_step=nearest(text, list(Role))
        ) from None


def ensure_owner(tx: Connection, facts: FactLog, clock: Clock, name: str) -> Principal:
    """The operating system's user who starts a workspace is its first admin."""
    roles = frozenset({Role.ADMIN})
    found = _find(tx, name)
    if found is not None:
        return found
    _record(tx, facts, clock, name, roles, by=name)
    return Principal(name, roles)


def add_principal(
    tx: Connection, facts: FactLog, clock: Clock, name: str, roles: frozenset[Role], *, by: str
) -> str:
    """Returns the first token: shown once, stored as its digest only."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot be a principal's name.",
            next_step="Use lower-case letters, digits, and . _ @ - (at most 100).",
        )
    if name == PLATFORM:
        raise InvalidInput(
            f"{name!r} is how the platform signs what it does by itself.",
            next_step="Choose another name.",
        )
    if _find(tx, name) is not None:
        raise Conflict(
            f"The principal {name!r} exists already.",
            next_step=f"For a new token: seamline principal token {name}.",
        )
    _record(tx, facts, clock, name, roles, by=by)
    return issue_token(tx, facts, clock, name, by=by)


def issue_token(
    tx: Connection,
    facts: FactLog,
    clock: Clock,
    name: str,
    *,
    by: str,
    days: int = DEFAULT_TOKEN_DAYS,
) -> str:
    if _find(tx, name) is None:
        known = tx.execute(select(PRINCIPALS.c.name)).scalars()
        raise not_found("principal", name, known)
    token, token_id, now = f"sl_{secrets.token_urlsafe(32)}", new_id(clock), clock.now()
    tx.execute(
        insert(TOKENS).values(
            id=token_id,
            token_digest=digest_of(token.encode()),
            principal=name,
            created_at=iso(now),
            expires_at=iso(now + timedelta(days=days)),
        )
    )
    facts.append(tx, TokenIssued(name, token_id), by=by)
    return token


def revoke_tokens(tx: Connection, facts: FactLog, clock: Clock, name: str, *, by: str) -> int:
    """Every token of the principal; returns how many were still in force."""
    if _find(tx, name) is None:
        raise not_found("principal", name, tx.execute(select(PRINCIPALS.c.name)).scalars())
    live = (
        tx.execute(
            select(TOKENS.c.id).where(TOKENS.c.principal == name, TOKENS.c.revoked_at.is_(None))
        )
        .scalars()
        .all()
    )
    for token_id in live:
        tx.execute(
            update(TOKENS).where(TOKENS.c.id == token_id).values(revoked_at=iso(clock.now()))
        )
        facts.append(tx, TokenRevoked(name, token_id), by=by)
    return len(live)


def principal_of_token(connection: Connection, clock: Clock, token: str) -> Principal:
    """Raises Unauthenticated, saying whether the token is unknown, revoked or expired."""
    row = connection.execute(
        select(TOKENS).where(TOKENS.c.token_digest == digest_of(token.encode()))
    ).one_or_none()
    if row is None:
        raise Unauthenticated(
            "This token is not known here.",
            next_step="Tokens belong to one workspace; ask its admin for one.",
        )
    if row.revoked_at is not None:
        raise Unauthenticated(f"This token of {row.principal} was revoked at {row.revoked_at}.")
    if row.expires_at <= iso(clock.now()):
        raise Unauthenticated(
            f"This token of {row.principal} expired at {row.expires_at}.",
            next_step=f"An admin can issue another: seamline principal token {row.principal}.",
        )
    principal = _find(connection, row.principal)
    if principal is None:
        raise Unauthenticated(f"{row.principal} is no longer a principal here.")
    return principal


def list_principals(connection: Connection) -> list[Principal]:
    names = connection.execute(select(PRINCIPALS.c.name).order_by(PRINCIPALS.c.name)).scalars()
    return [found for name in names.all() if (found := _find(connection, name))]


def _find(connection: Connection, name: str) -> Principal | None:
    row = connection.execute(select(PRINCIPALS).where(PRINCIPALS.c.name == name)).one_or_none()
    if row is None:
        return None
    return Principal(name, frozenset(Role(role) for role in row.roles.split(",") if role))


def _record(
    tx: Connection, facts: FactLog, clock: Clock, name: str, roles: frozenset[Role], *, by: str
) -> None:
    listed = sorted(roles)
    tx.execute(
        insert(PRINCIPALS).values(name=name, roles=",".join(listed), created_at=iso(clock.now()))
    )
    facts.append(tx, PrincipalAdded(name, tuple(listed)), by=by)
