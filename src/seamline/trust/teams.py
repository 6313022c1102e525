"""Teams, and who belongs to them. What a team published first is its own (register/owners.py)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from seamline.domain.clock import Clock, iso
from seamline.domain.errors import Conflict, Forbidden, InvalidInput, not_found
from seamline.domain.states import Role
from seamline.domain.trust_facts import TeamAdded, TeamJoined, TeamLeft
from seamline.store.facts import FactLog
from seamline.trust.roles import Grant, Principal, Verb
from seamline.trust.rows import GRANTS, PRINCIPALS, TEAM_MEMBERS, TEAMS

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class Team:
    name: str
    members: tuple[str, ...]


def add_team(tx: Connection, facts: FactLog, clock: Clock, name: str, *, by: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot be a team's name.",
            next_step="Use lower-case letters, digits and hyphens (at most 63).",
        )
    if name in _team_names(tx):
        raise Conflict(
            f"The team {name!r} exists already.",
            next_step=f"To add somebody: seamline team join {name} NAME.",
        )
    tx.execute(insert(TEAMS).values(name=name, created_at=iso(clock.now())))
    facts.append(tx, TeamAdded(name), by=by)


def join_team(
    tx: Connection, facts: FactLog, clock: Clock, team: str, name: str, *, by: str
) -> None:
    """Once more changes nothing."""
    check_team(tx, team)
    if team in require_principal(tx, name).teams:
        return
    tx.execute(insert(TEAM_MEMBERS).values(team=team, principal=name, joined_at=iso(clock.now())))
    facts.append(tx, TeamJoined(team, name), by=by)


def leave_team(tx: Connection, facts: FactLog, team: str, name: str, *, by: str) -> None:
    """Their tokens for this team stop at once; what the team owns stays the team's."""
    check_team(tx, team)
    if team not in require_principal(tx, name).teams:
        members = next(one.members for one in list_teams(tx) if one.name == team)
        raise not_found(f"member of {team}", name, members)
    tx.execute(
        delete(TEAM_MEMBERS).where(TEAM_MEMBERS.c.team == team, TEAM_MEMBERS.c.principal == name)
    )
    facts.append(tx, TeamLeft(team, name), by=by)


def list_teams(connection: Connection) -> list[Team]:
    members: dict[str, list[str]] = {name: [] for name in _team_names(connection)}
    rows = connection.execute(select(TEAM_MEMBERS).order_by(TEAM_MEMBERS.c.principal))
    for row in rows:
        members[row.team].append(row.principal)
    return [Team(name, tuple(people)) for name, people in members.items()]


def check_team(connection: Connection, team: str) -> None:
    """NotFound, with the nearest name, where there is no such team."""
    known = _team_names(connection)
    if team not in known:
        raise not_found("team", team, known)


def check_label(connection: Connection, who: Principal, team: str) -> None:
    """Raises Forbidden where `who` may do nothing in the name of this team.

    A token for one team speaks for that team, a role for some teams for those. Else a team's
    members do, and admins; a label that is no team's is anybody's.
    """
    if who.reach is None:
        is_teams = team in _team_names(connection)
        if not is_teams or team in who.teams or who.may(Verb.ADMINISTER):
            return
    elif team in who.reach:
        return
    raise not_their_team(who, f"what is labelled {team}")


def not_their_team(who: Principal, what: str) -> Forbidden:
    """The refusal, with the teams that `who` speaks for. `what`: of which team."""
    own = sorted(who.teams if who.reach is None else who.reach)
    speaks = f"this token of {who.name}" if who.scope.team is not None else who.name
    return Forbidden(
        f"That is {what}; {speaks} speaks for {', '.join(own) or 'no team'}.",
        next_step="Name one of those, or use a token for that team; an admin issues one with "
        "seamline token issue.",
    )


def find_principal(connection: Connection, name: str) -> Principal | None:
    if connection.execute(select(PRINCIPALS).where(PRINCIPALS.c.name == name)).first() is None:
        return None
    teams = connection.execute(
        select(TEAM_MEMBERS.c.team).where(TEAM_MEMBERS.c.principal == name)
    ).scalars()
    rows = connection.execute(select(GRANTS).where(GRANTS.c.principal == name))
    held = [Grant(Role(row.role), row.team or None, row.environment or None) for row in rows]
    everywhere = frozenset(one.role for one in held if one == Grant(one.role))
    limited = frozenset(one for one in held if one != Grant(one.role))
    return Principal(name, everywhere, frozenset(teams), grants=limited)


def require_principal(connection: Connection, name: str) -> Principal:
    """NotFound, with the nearest name, where there is no such principal."""
    found = find_principal(connection, name)
    if found is None:
        raise not_found("principal", name, connection.execute(select(PRINCIPALS.c.name)).scalars())
    return found


def _team_names(connection: Connection) -> list[str]:
    return list(connection.execute(select(TEAMS.c.name).order_by(TEAMS.c.name)).scalars())
