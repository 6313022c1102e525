"""Tokens: each stands for one principal, and for no more than its own limits.

A token is stored as its digest only. It ends when it expires, when it is revoked, or, replaced by
another, when the time of grace is over that both were to hold.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from seamline.domain.clock import Clock, from_iso, iso, new_id
from seamline.domain.digests import digest_of
from seamline.domain.errors import Conflict, InvalidInput, Unauthenticated, not_found
from seamline.domain.trust_facts import TokenIssued, TokenLimited, TokenReplaced, TokenRevoked
from seamline.store.facts import FactLog
from seamline.trust.refusals import say_roles
from seamline.trust.roles import Principal, Scope, Verb
from seamline.trust.rows import TOKENS
from seamline.trust.teams import check_team, find_principal, require_principal

DEFAULT_TOKEN_DAYS = 90
MAX_TOKEN_DAYS = 366
#: How long a replaced token goes on, unless said: time to put the new one everywhere.
DEFAULT_GRACE_S = 86_400.0
MAX_GRACE_S = 30 * 86_400.0
UNLIMITED = Scope()


@dataclass(frozen=True)
class IssuedToken:
    """`token` is shown once; nothing here can say it again."""

    id: str
    token: str
    expires_at: str


@dataclass(frozen=True)
class TokenInfo:
    id: str
    principal: str
    scope: Scope
    created_at: str
    expires_at: str
    revoked_at: str | None
    replaced_by: str | None

    def to_json(self) -> dict[str, Any]:
        scope = self.scope
        return {
            "id": self.id,
            "principal": self.principal,
            "team": scope.team,
            "environments": _listed(scope.environments),
            "endpoints": _listed(scope.endpoints),
            "verbs": _listed(scope.verbs),
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
            "replaced_by": self.replaced_by,
        }


def check_scope(principal: Principal, scope: Scope) -> None:
    """Raises InvalidInput for limits that would promise what the token could never do."""
    if scope.team is not None and not speaks_for(principal, scope.team):
        raise InvalidInput(
            f"{principal.name} does not belong to the team {scope.team}, and has no role for it.",
            next_step=f"First: seamline team join {scope.team} {principal.name}.",
        )
    limits = {
        "environments": scope.environments,
        "endpoints": scope.endpoints,
        "verbs": scope.verbs,
    }
    for what, chosen in limits.items():
        if chosen is not None and not chosen:
            raise InvalidInput(
                f"A token for no {what} could do nothing.",
                next_step=f"Name some, or leave the {what} out.",
            )
    wanted = scope.verbs or frozenset()
    wanted |= frozenset() if scope.endpoints is None else frozenset({Verb.PREDICT})
    beyond = sorted(verb for verb in wanted if not principal.has_role_for(verb))
    if beyond:
        raise InvalidInput(
            f"{principal.name} ({say_roles(principal)}) may not "
            f"{', '.join(beyond)}; no token of theirs can.",
            next_step="Leave it out, or give this to somebody with another role.",
        )
    spanning = sorted(wanted & scope.beyond)
    if spanning:
        raise InvalidInput(
            f"{', '.join(spanning)} reaches across teams, environments and endpoints; a token "
            f"that is limited to {replace(scope, verbs=None)} cannot have it.",
            next_step="Leave out either the verb or the limit.",
        )


def issue_token(
    tx: Connection,
    facts: FactLog,
    clock: Clock,
    name: str,
    *,
    by: str,
    days: float = DEFAULT_TOKEN_DAYS,
    scope: Scope = UNLIMITED,
) -> IssuedToken:
    """The environments of the scope are the caller's to check."""
    if not 0 < days <= MAX_TOKEN_DAYS:
        raise InvalidInput(
            f"A token cannot be valid for {days:g} days.",
            next_step=f"Choose more than 0 and at most {MAX_TOKEN_DAYS}; tokens can be rotated.",
        )
    principal = require_principal(tx, name)
    if scope.team is not None:
        check_team(tx, scope.team)
    check_scope(principal, scope)
    return _record(tx, facts, clock, name, scope, timedelta(days=days), by)


def rotate_token(
    tx: Connection,
    facts: FactLog,
    clock: Clock,
    token_id: str,
    *,
    by: str,
    grace_s: float = DEFAULT_GRACE_S,
) -> tuple[IssuedToken, TokenInfo]:
    """A new token with the same limits and lifetime; the old one ends after the time of grace.

    Raises Conflict when the old one has ended or was replaced before.
    """
    if not 0 <= grace_s <= MAX_GRACE_S:
        raise InvalidInput(
            f"A time of grace of {grace_s:g} s is not possible.",
            next_step=f"Choose 0 to {MAX_GRACE_S / 86_400:g} days.",
        )
    # Two rotations at the same instant queue up; the second finds the first one's successor.
    tx.execute(select(TOKENS.c.id).where(TOKENS.c.id == token_id).with_for_update())
    old, now = find_token(tx, token_id), clock.now()
    _check_rotatable(old, iso(now))
    # Roles and teams may have changed since; nothing is issued that could not be issued today.
    check_scope(require_principal(tx, old.principal), old.scope)
    lifetime = from_iso(old.expires_at) - from_iso(old.created_at)
    issued = _record(tx, facts, clock, old.principal, old.scope, lifetime, by)
    until = min(old.expires_at, iso(now + timedelta(seconds=grace_s)))
    tx.execute(
        update(TOKENS)
        .where(TOKENS.c.id == token_id)
        .values(expires_at=until, replaced_by=issued.id)
    )
    facts.append(tx, TokenReplaced(old.principal, token_id, issued.id, until), by=by)
    return issued, find_token(tx, token_id)


def revoke_token(
    tx: Connection, facts: FactLog, clock: Clock, token_id: str, *, by: str
) -> TokenInfo:
    """At once, and for good; once more changes nothing."""
    found = find_token(tx, token_id)
    if found.revoked_at is not None:
        return found
    tx.execute(update(TOKENS).where(TOKENS.c.id == token_id).values(revoked_at=iso(clock.now())))
    facts.append(tx, TokenRevoked(found.principal, token_id), by=by)
    return find_token(tx, token_id)


def revoke_tokens(tx: Connection, facts: FactLog, clock: Clock, name: str, *, by: str) -> int:
    """Every token of the principal; returns how many were not revoked before."""
    require_principal(tx, name)
    live = [one for one in list_tokens(tx, name) if one.revoked_at is None]
    for one in live:
        revoke_token(tx, facts, clock, one.id, by=by)
    return len(live)


def list_tokens(connection: Connection, principal: str | None = None) -> list[TokenInfo]:
    """Oldest first."""
    query = select(TOKENS).order_by(TOKENS.c.created_at, TOKENS.c.id)
    if principal is not None:
        query = query.where(TOKENS.c.principal == principal)
    return [_info(row) for row in connection.execute(query)]


def find_token(connection: Connection, token_id: str) -> TokenInfo:
    row = connection.execute(select(TOKENS).where(TOKENS.c.id == token_id)).one_or_none()
    if row is None:
        known = connection.execute(select(TOKENS.c.id)).scalars()
        raise not_found("token", token_id, known)
    return _info(row)


def principal_of_token(connection: Connection, clock: Clock, token: str) -> Principal:
    """Raises Unauthenticated, saying whether the token is unknown, revoked, replaced or expired."""
    row = connection.execute(
        select(TOKENS).where(TOKENS.c.token_digest == digest_of(token.encode()))
    ).one_or_none()
    if row is None:
        raise Unauthenticated(
            "This token is not known here.",
            next_step="Tokens belong to one workspace; ask its admin for one.",
        )
    info = _info(row)
    _check_in_force(info, iso(clock.now()))
    principal = find_principal(connection, info.principal)
    if principal is None:
        raise Unauthenticated(f"{info.principal} is no longer a principal here.")
    if info.scope.team is not None and not speaks_for(principal, info.scope.team):
        raise Unauthenticated(
            f"This token is for the team {info.scope.team}, which {info.principal} has left.",
            next_step="Ask an admin for a token of a team that you belong to.",
        )
    return replace(principal, scope=info.scope)


def speaks_for(principal: Principal, team: str) -> bool:
    return team in principal.teams or any(one.team == team for one in principal.grants)


def _check_in_force(token: TokenInfo, now: str) -> None:
    if token.revoked_at is not None:
        raise Unauthenticated(
            f"This token of {token.principal} was revoked at {token.revoked_at}.",
            next_step="Ask an admin for another one.",
        )
    if token.expires_at > now:
        return
    if token.replaced_by is not None:
        raise Unauthenticated(
            f"This token of {token.principal} was replaced by the token {token.replaced_by}; "
            f"its time of grace ended at {token.expires_at}.",
            next_step="Use the token that replaced it.",
        )
    raise Unauthenticated(
        f"This token of {token.principal} expired at {token.expires_at}.",
        next_step=f"An admin can issue another: seamline token issue {token.principal}.",
    )


def _check_rotatable(token: TokenInfo, now: str) -> None:
    ended = ""
    if token.replaced_by is not None:
        ended = f"was replaced by {token.replaced_by}"
    elif token.revoked_at is not None:
        ended = f"was revoked at {token.revoked_at}"
    elif token.expires_at <= now:
        ended = f"expired at {token.expires_at}"
    if ended:
        raise Conflict(
            f"The token {token.id} of {token.principal} {ended}: it cannot be rotated.",
            next_step=f"Issue another: seamline token issue {token.principal}.",
        )


def _record(
    tx: Connection,
    facts: FactLog,
    clock: Clock,
    name: str,
    scope: Scope,
    lifetime: timedelta,
    by: str,
) -> IssuedToken:
    now = clock.now()
    made = IssuedToken(new_id(clock), f"sl_{secrets.token_urlsafe(32)}", iso(now + lifetime))
    tx.execute(
        insert(TOKENS).values(
            id=made.id,
            token_digest=digest_of(made.token.encode()),
            principal=name,
            created_at=iso(now),
            expires_at=made.expires_at,
            team=scope.team,
            environments=_joined(scope.environments),
            verbs=_joined(scope.verbs),
            endpoints=_joined(scope.endpoints),
        )
    )
    facts.append(tx, TokenIssued(name, made.id), by=by)
    if scope != UNLIMITED:
        limits = map(_sorted, (scope.environments, scope.verbs, scope.endpoints))
        facts.append(tx, TokenLimited(name, made.id, scope.team, *limits), by=by)
    return made


def _sorted(chosen: frozenset[Any] | None) -> tuple[str, ...] | None:
    return None if chosen is None else tuple(sorted(chosen))


def _listed(chosen: frozenset[Any] | None) -> list[Any] | None:
    return None if chosen is None else sorted(chosen)


def _joined(chosen: frozenset[Any] | None) -> str | None:
    return None if chosen is None else ",".join(sorted(chosen))


def _split(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(text.split(","))


def _info(row: Any) -> TokenInfo:
    verbs = _split(row.verbs)
    scope = Scope(
        row.team,
        _split(row.environments),
        None if verbs is None else frozenset(Verb(verb) for verb in verbs),
        _split(row.endpoints),
    )
    return TokenInfo(
        row.id,
        row.principal,
        scope,
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.replaced_by,
    )
