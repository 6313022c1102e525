"""What goes into the access list: each token that holds now, resolved by its principal's roles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import Connection, select

from seamline.domain.clock import Clock, iso
from seamline.domain.trust_facts import (
    PrincipalAdded,
    RoleGranted,
    RoleTaken,
    TeamJoined,
    TeamLeft,
    TokenIssued,
    TokenReplaced,
    TokenRevoked,
)
from seamline.trust.access_list import SERVED_VERBS, AccessEntry
from seamline.trust.principals import list_principals
from seamline.trust.roles import Principal, Scope
from seamline.trust.rows import TOKENS
from seamline.trust.tokens import list_tokens, speaks_for

#: After one of these, another list may be due.
KINDS = tuple(
    fact.kind
    for fact in (
        PrincipalAdded,
        RoleGranted,
        RoleTaken,
        TeamJoined,
        TeamLeft,
        TokenIssued,
        TokenReplaced,
        TokenRevoked,
    )
)


def list_access(connection: Connection, clock: Clock) -> tuple[AccessEntry, ...]:
    """By token, oldest first. What has ended by now is not among them."""
    return tuple(_entries(connection, iso(clock.now())))


def _entries(connection: Connection, now: str) -> Iterator[AccessEntry]:
    people = {one.name: one for one in list_principals(connection)}
    digests = {
        row.id: row.token_digest
        for row in connection.execute(select(TOKENS.c.id, TOKENS.c.token_digest))
    }
    for token in list_tokens(connection):
        principal, scope = people.get(token.principal), token.scope
        if principal is None or token.revoked_at is not None or token.expires_at <= now:
            continue
        if scope.team is not None and not speaks_for(principal, scope.team):
            continue
        yield AccessEntry(
            token_id=token.id,
            token_digest=digests[token.id],
            principal=principal.name,
            expires_at=token.expires_at,
            environments=_sorted(scope.environments),
            endpoints=_sorted(scope.endpoints),
            verbs=tuple(verb.value for verb in SERVED_VERBS if scope.allows(verb)),
            granted=_granted(principal),
        )


def _granted(principal: Principal) -> dict[str, tuple[str, ...] | None]:
    unlimited = replace(principal, scope=Scope())
    return {
        verb.value: _sorted(unlimited.environments_for(verb))
        for verb in SERVED_VERBS
        if unlimited.has_role_for(verb)
    }


def _sorted(chosen: frozenset[str] | None) -> tuple[str, ...] | None:
    return None if chosen is None else tuple(sorted(chosen))
