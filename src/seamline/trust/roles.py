"""Which role may do what: one table, read by every adapter; and what a token narrows it to."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from enum import StrEnum

from seamline.domain.errors import Forbidden, InvalidInput, nearest
from seamline.domain.states import Role


class Verb(StrEnum):
    READ = "read"
    INGEST = "ingest"
    PUBLISH = "publish"
    RUN = "run"
    EVALUATE = "evaluate"
    RELEASE = "release"
    REQUEST_PROMOTION = "request_promotion"
    APPROVE = "approve"
    #: Back to what was live before; also to set and lift holds.
    ROLL_BACK = "roll_back"
    #: Whether it is theirs to break, the environment's policy says.
    BREAK_GLASS = "break_glass"
    #: In dataops, where things are tried; and in every environment.
    SET_TRAINING_SECRETS = "set_training_secrets"
    SET_SECRETS = "set_secrets"
    APPLY_PROJECT = "apply_project"
    ADMINISTER = "administer"


_DEVELOPER = {
    Verb.READ,
    Verb.INGEST,
    Verb.PUBLISH,
    Verb.RUN,
    Verb.EVALUATE,
    Verb.SET_TRAINING_SECRETS,
}
_RELEASER = _DEVELOPER | {
    Verb.RELEASE,
    Verb.REQUEST_PROMOTION,
    Verb.ROLL_BACK,
    Verb.BREAK_GLASS,
    Verb.SET_SECRETS,
}
_ALLOWED: dict[Role, frozenset[Verb]] = {
    Role.VIEWER: frozenset({Verb.READ}),
    Role.DEVELOPER: frozenset(_DEVELOPER),
    Role.RELEASER: frozenset(_RELEASER),
    Role.APPROVER: frozenset({Verb.READ, Verb.APPROVE, Verb.ROLL_BACK, Verb.BREAK_GLASS}),
    Role.ADMIN: frozenset(Verb),
}


#: A verb that another one includes.
_WIDER = {Verb.SET_TRAINING_SECRETS: Verb.SET_SECRETS}
#: What reaches across teams, or across environments: a token that is limited to some never has it.
#: A project is one team's.
ACROSS_TEAMS = frozenset({Verb.ADMINISTER})
ACROSS_ENVIRONMENTS = frozenset({Verb.ADMINISTER, Verb.APPLY_PROJECT})


@dataclass(frozen=True)
class Scope:
    """What a token is limited to; None: in that respect to nothing.

    >>> Scope(verbs=frozenset({Verb.READ})).allows(Verb.PUBLISH)
    False
    >>> Scope(team="arrivals").allows(Verb.PUBLISH), Scope(team="arrivals").allows(Verb.ADMINISTER)
    (True, False)
    >>> Scope(environments=frozenset({"dataops"})).allows(Verb.APPLY_PROJECT)
    False
    """

    team: str | None = None
    environments: frozenset[str] | None = None
    verbs: frozenset[Verb] | None = None

    def allows(self, verb: Verb) -> bool:
        if self.verbs is not None and not self.verbs & {verb, _WIDER.get(verb)}:
            return False
        return verb not in self.beyond

    @property
    def beyond(self) -> frozenset[Verb]:
        """What reaches further than its team or its environments."""
        teams = frozenset() if self.team is None else ACROSS_TEAMS
        return teams if self.environments is None else teams | ACROSS_ENVIRONMENTS

    def __str__(self) -> str:
        """
        >>> str(Scope("arrivals", frozenset({"dataops"}), frozenset({Verb.READ, Verb.PUBLISH})))
        'team arrivals; environments dataops; verbs publish, read'
        """
        parts = [f"team {self.team}"] if self.team is not None else []
        if self.environments is not None:
            parts.append(f"environments {', '.join(sorted(self.environments))}")
        if self.verbs is not None:
            parts.append(f"verbs {', '.join(sorted(self.verbs))}")
        return "; ".join(parts) or "nothing"


@dataclass(frozen=True)
class Principal:
    """A person or a machine, as the token lets them act: their roles, narrowed by its scope."""

    name: str
    roles: frozenset[Role]
    teams: frozenset[str] = frozenset()
    scope: Scope = field(default_factory=Scope)

    def may(self, verb: Verb) -> bool:
        return self.has_role_for(verb) and self.scope.allows(verb)

    def has_role_for(self, verb: Verb) -> bool:
        return any(verb in _ALLOWED[role] for role in self.roles)


def parse_verb(text: str) -> Verb:
    """
    >>> parse_verb("publish")
    <Verb.PUBLISH: 'publish'>
    """
    try:
        return Verb(text)
    except ValueError:
        raise InvalidInput(
            f"There is no verb {text!r}.", next_step=nearest(text, list(Verb))
        ) from None


def require(principal: Principal, verb: Verb) -> None:
    """Raises Forbidden, naming the roles that would do, or what the token is limited to.

    >>> require(Principal("ada", frozenset({Role.ADMIN})), Verb.APPROVE)
    """
    if principal.may(verb):
        return
    if principal.has_role_for(verb):
        raise Forbidden(
            f"{principal.name} may {_spoken(verb)}; this token, limited to {principal.scope}, "
            "may not.",
            next_step="Use a token that may; an admin issues one with seamline token issue.",
        )
    able = ", ".join(role for role in Role if verb in _ALLOWED[role])
    has = ", ".join(sorted(principal.roles)) or "no role"
    raise Forbidden(
        f"{principal.name} ({has}) may not {_spoken(verb)}.",
        next_step=f"Ask an admin for one of these roles: {able}.",
    )


def require_environments(principal: Principal, environments: Set[str]) -> None:
    """Raises Forbidden for the ones that the token is not for.

    >>> require_environments(Principal("ada", frozenset()), {"production"})
    """
    allowed = principal.scope.environments
    if allowed is None or environments <= allowed:
        return
    raise Forbidden(
        f"This token of {principal.name} is for {', '.join(sorted(allowed))}; the request is "
        f"about {', '.join(sorted(environments - allowed))}.",
        next_step="Use a token for that environment; an admin issues one with "
        "seamline token issue.",
    )


def _spoken(verb: Verb) -> str:
    return verb.replace("_", " ")
