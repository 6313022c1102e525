"""What somebody may not do here, said with what they would need."""

from __future__ import annotations

from collections.abc import Set

from seamline.domain.errors import Forbidden
from seamline.trust.roles import Principal, Verb, roles_for

_ANOTHER_TOKEN = "an admin issues one with seamline token issue."


def require(principal: Principal, verb: Verb, environment: str | None = None) -> None:
    """Raises Forbidden, naming the roles that would do, or what the token is limited to.

    >>> from seamline.domain.states import Role
    >>> require(Principal("ada", frozenset({Role.ADMIN})), Verb.APPROVE)
    """
    if principal.may(verb, environment):
        return
    if principal.has_role_for(verb, environment):
        raise Forbidden(
            f"{principal.name} may {spoken(verb)}; this token, limited to {principal.scope}, "
            "may not.",
            next_step="Use a token that may; an admin issues one with seamline token issue.",
        )
    where = f" in {environment}" if environment is not None else ""
    raise Forbidden(
        f"{principal.name} ({say_roles(principal)}) may not {spoken(verb)}{where}.",
        next_step=f"Ask an admin for one of these roles{where}: {', '.join(roles_for(verb))}.",
    )


def require_environments(principal: Principal, verb: Verb, environments: Set[str]) -> None:
    """Raises Forbidden for the ones where their roles, or the token, do not let them.

    >>> from seamline.domain.states import Role
    >>> require_environments(Principal("ada", frozenset({Role.ADMIN})), Verb.RUN, {"production"})
    """
    allowed = principal.scope.environments
    if allowed is not None and not environments <= allowed:
        raise Forbidden(
            f"This token of {principal.name} is for {', '.join(sorted(allowed))}; the request is "
            f"about {', '.join(sorted(environments - allowed))}.",
            next_step=f"Use a token for that environment; {_ANOTHER_TOKEN}",
        )
    for environment in sorted(environments):
        require(principal, verb, environment)


def require_teams(
    principal: Principal, verb: Verb, environment: str, teams: Set[str | None], what: str
) -> None:
    """Raises Forbidden where no role of theirs in the environment is for all these teams' things.

    `teams`: None among them where something is no team's; `what` is theirs.
    """
    held = {one for one in principal.held if one.holds(verb, environment)}
    if principal.covers(held, teams):
        return
    raise Forbidden(
        f"{principal.name} ({say_roles(principal)}) may not {spoken(verb)} in {environment} for "
        f"{what}: {say_owners(teams)}.",
        next_step="Ask somebody whose role there is for all of them, or an admin for such a role: "
        f"seamline principal grant {principal.name} --role {roles_for(verb)[0]} "
        f"--in {environment}.",
    )


def require_whole(principal: Principal, verb: Verb, environment: str) -> None:
    """For what concerns all that is in an environment, whosever it is: holds and glass."""
    require_teams(principal, verb, environment, {None}, f"the whole of {environment}")


def say_owners(teams: Set[str | None]) -> str:
    """
    >>> say_owners({"punctuality", "arrivals"}), say_owners({None})
    ("it holds arrivals', punctuality's things", "it holds no team's things")
    """
    named = [f"{team}'{'' if team.endswith('s') else 's'}" for team in sorted(filter(None, teams))]
    named += ["no team's"] if None in teams else []
    return f"it holds {', '.join(named)} things"


def say_roles(principal: Principal) -> str:
    """
    >>> from seamline.domain.states import Role
    >>> from seamline.trust.roles import Grant
    >>> limited = frozenset({Grant(Role.APPROVER, "arrivals", "production")})
    >>> say_roles(Principal("bea", frozenset({Role.VIEWER}), grants=limited))
    'approver in production for arrivals, viewer'
    >>> say_roles(Principal("eve", frozenset()))
    'no role'
    """
    said = ", ".join(sorted(map(str, principal.held))) or "no role"
    if principal.scope.team is not None:
        said += f"; this token: for {principal.scope.team}"
    return said


def spoken(verb: Verb) -> str:
    return verb.replace("_", " ")
