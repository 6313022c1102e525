"""Principals: who there is, and which roles they have, where and for whom."""

from __future__ import annotations

import re
from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select

from seamline.domain.clock import Clock, iso
from seamline.domain.errors import Conflict, InvalidInput, nearest, not_found
from seamline.domain.states import Role
from seamline.domain.trust_facts import PrincipalAdded, RoleGranted, RoleTaken
from seamline.store.facts import FactLog
from seamline.trust.roles import Grant, Principal
from seamline.trust.rows import GRANTS, PRINCIPALS
from seamline.trust.teams import check_team, find_principal, require_principal
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
    tx: Connection,
    facts: FactLog,
    clock: Clock,
    name: str,
    roles: frozenset[Role],
    *,
    by: str,
    grants: Collection[Grant] = (),
) -> str:
    """Returns the first token: shown once, stored as its digest only. `roles`: everywhere, for
    everybody's things; the environments of the grants are the caller's to check."""
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
    for grant in grants:
        grant_role(tx, facts, clock, name, grant, by=by)
    return issue_token(tx, facts, clock, name, by=by).token


def grant_role(
    tx: Connection, facts: FactLog, clock: Clock, name: str, grant: Grant, *, by: str
) -> Principal:
    """Once more changes nothing. The environment is the caller's to check."""
    if grant.team is not None:
        check_team(tx, grant.team)
    if grant in require_principal(tx, name).held:
        return require_principal(tx, name)
    _insert_grant(tx, clock, name, grant)
    facts.append(tx, RoleGranted(name, grant.role, grant.team, grant.environment), by=by)
    return require_principal(tx, name)


def take_role(tx: Connection, facts: FactLog, name: str, grant: Grant, *, by: str) -> Principal:
    """At once, whichever token they hold; NotFound for what they do not have in just this way."""
    found = require_principal(tx, name)
    if grant not in found.held:
        raise not_found(f"role of {name}", str(grant), map(str, found.held))
    tx.execute(
        delete(GRANTS).where(
            GRANTS.c.principal == name,
            GRANTS.c.role == grant.role.value,
            GRANTS.c.team == (grant.team or ""),
            GRANTS.c.environment == (grant.environment or ""),
        )
    )
    facts.append(tx, RoleTaken(name, grant.role, grant.team, grant.environment), by=by)
    return require_principal(tx, name)


def list_principals(connection: Connection) -> list[Principal]:
    names = connection.execute(select(PRINCIPALS.c.name).order_by(PRINCIPALS.c.name)).scalars()
    return [found for name in names.all() if (found := find_principal(connection, name))]


def _record(
    tx: Connection, facts: FactLog, clock: Clock, name: str, roles: frozenset[Role], *, by: str
) -> None:
    listed = sorted(roles)
    tx.execute(insert(PRINCIPALS).values(name=name, created_at=iso(clock.now())))
    for role in listed:
        _insert_grant(tx, clock, name, Grant(role))
    facts.append(tx, PrincipalAdded(name, tuple(listed)), by=by)


def _insert_grant(tx: Connection, clock: Clock, name: str, grant: Grant) -> None:
    tx.execute(
        insert(GRANTS).values(
            principal=name,
            role=grant.role.value,
            team=grant.team or "",
            environment=grant.environment or "",
            granted_at=iso(clock.now()),
        )
    )
