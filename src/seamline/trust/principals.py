"""Principals: who there is, and in which roles."""

from __future__ import annotations

import re

from sqlalchemy import Connection, insert, select

from seamline.domain.clock import Clock, iso
from seamline.domain.errors import Conflict, InvalidInput, nearest
from seamline.domain.states import Role
from seamline.domain.trust_facts import PrincipalAdded
from seamline.store.facts import FactLog
from seamline.trust.roles import Principal
from seamline.trust.rows import PRINCIPALS
from seamline.trust.teams import find_principal
from seamline.trust.tokens import issue_token

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
    found = find_principal(tx, name)
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
    if find_principal(tx, name) is not None:
        raise Conflict(
            f"The principal {name!r} exists already.",
            next_step=f"For a new token: seamline principal token {name}.",
        )
    _record(tx, facts, clock, name, roles, by=by)
    return issue_token(tx, facts, clock, name, by=by).token


def list_principals(connection: Connection) -> list[Principal]:
    names = connection.execute(select(PRINCIPALS.c.name).order_by(PRINCIPALS.c.name)).scalars()
    return [found for name in names.all() if (found := find_principal(connection, name))]


def _record(
    tx: Connection, facts: FactLog, clock: Clock, name: str, roles: frozenset[Role], *, by: str
) -> None:
    listed = sorted(roles)
    tx.execute(
        insert(PRINCIPALS).values(name=name, roles=",".join(listed), created_at=iso(clock.now()))
    )
    facts.append(tx, PrincipalAdded(name, tuple(listed)), by=by)
