"""Which role may do what, one table; where and for whom somebody has it; what a token leaves of it.

A role is granted everywhere, or in one environment, or for one team's things, or both.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace
from enum import StrEnum

from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.states import Role


class Verb(StrEnum):
    READ = "read"
    #: On the data plane: to ask endpoints, and to give feedback.
    PREDICT = "predict"
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
    Verb.PREDICT,
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
ALLOWED: dict[Role, frozenset[Verb]] = {
    Role.VIEWER: frozenset({Verb.READ}),
    Role.CALLER: frozenset({Verb.PREDICT}),
    Role.DEVELOPER: frozenset(_DEVELOPER),
    Role.RELEASER: frozenset(_RELEASER),
    Role.APPROVER: frozenset({Verb.READ, Verb.APPROVE, Verb.ROLL_BACK, Verb.BREAK_GLASS}),
    Role.ADMIN: frozenset(Verb),
}


#: A verb that another one includes.
_WIDER = {Verb.SET_TRAINING_SECRETS: Verb.SET_SECRETS}
#: What reaches across teams, or across environments: a token that is limited to some never has it.
#: A project is one team's; the data plane tells endpoints apart, not teams.
ACROSS_TEAMS = frozenset({Verb.ADMINISTER, Verb.PREDICT})
ACROSS_ENVIRONMENTS = frozenset({Verb.ADMINISTER, Verb.APPLY_PROJECT})
#: A token that is limited to some endpoints asks these, and nothing else.
ACROSS_ENDPOINTS = frozenset(Verb) - {Verb.PREDICT}
#: What is no team's: a role for one team's things lets them do it for all.
OF_NO_TEAM = frozenset({Verb.READ, Verb.INGEST, Verb.EVALUATE})
#: What concerns an environment as a whole: a role for one team's things does not hold it.
WHOLE_ENVIRONMENT = frozenset({Verb.SET_TRAINING_SECRETS, Verb.SET_SECRETS, Verb.BREAK_GLASS})


@dataclass(frozen=True)
class Scope:
    """What a token is limited to; None: in that respect to nothing.

    >>> Scope(verbs=frozenset({Verb.READ})).allows(Verb.PUBLISH)
    False
    >>> Scope(team="arrivals").allows(Verb.PUBLISH), Scope(team="arrivals").allows(Verb.ADMINISTER)
    (True, False)
    >>> Scope(environments=frozenset({"dataops"})).allows(Verb.APPLY_PROJECT)
    False
    >>> Scope(endpoints=frozenset({"late-arrival"})).allows(Verb.READ)
    False
    """

    team: str | None = None
    environments: frozenset[str] | None = None
    verbs: frozenset[Verb] | None = None
    endpoints: frozenset[str] | None = None

    def allows(self, verb: Verb) -> bool:
        if self.verbs is not None and not self.verbs & {verb, _WIDER.get(verb)}:
            return False
        return verb not in self.beyond

    @property
    def beyond(self) -> frozenset[Verb]:
        """What reaches further than its team, its environments or its endpoints."""
        limits = (
            (self.team, ACROSS_TEAMS),
            (self.environments, ACROSS_ENVIRONMENTS),
            (self.endpoints, ACROSS_ENDPOINTS),
        )
        return frozenset().union(*(beyond for limit, beyond in limits if limit is not None))

    def __str__(self) -> str:
        """
        >>> str(Scope("arrivals", frozenset({"dataops"}), frozenset({Verb.READ, Verb.PUBLISH})))
        'team arrivals; environments dataops; verbs publish, read'
        """
        parts = [f"team {self.team}"] if self.team is not None else []
        if self.environments is not None:
            parts.append(f"environments {', '.join(sorted(self.environments))}")
        if self.endpoints is not None:
            parts.append(f"endpoints {', '.join(sorted(self.endpoints))}")
        if self.verbs is not None:
            parts.append(f"verbs {', '.join(sorted(self.verbs))}")
        return "; ".join(parts) or "nothing"


@dataclass(frozen=True)
class Grant:
    """A role, in one environment and for one team's things; None: in each, for everybody's.

    >>> releaser = Grant(Role.RELEASER, "arrivals", "staging")
    >>> releaser.holds(Verb.RUN, "staging"), releaser.holds(Verb.RUN, "production")
    (True, False)
    >>> releaser.holds(Verb.SET_SECRETS, "staging")
    False
    >>> str(releaser), str(Grant(Role.VIEWER))
    ('releaser in staging for arrivals', 'viewer')
    """

    role: Role
    team: str | None = None
    environment: str | None = None

    def holds(self, verb: Verb, environment: str | None = None) -> bool:
        """`environment` None: in any."""
        if verb not in ALLOWED[self.role] or verb in self.beyond:
            return False
        return self.is_in(environment)

    def is_in(self, environment: str | None) -> bool:
        return None in (self.environment, environment) or self.environment == environment

    @property
    def beyond(self) -> frozenset[Verb]:
        """What its role may, and it does not hold: that reaches further."""
        teams = frozenset() if self.team is None else ACROSS_TEAMS | WHOLE_ENVIRONMENT
        return teams if self.environment is None else teams | ACROSS_ENVIRONMENTS

    def __str__(self) -> str:
        where = f" in {self.environment}" if self.environment is not None else ""
        whose = f" for {self.team}" if self.team is not None else ""
        return f"{self.role}{where}{whose}"


@dataclass(frozen=True)
class Principal:
    """A person or a machine, as the token lets them act: their roles, narrowed by its scope.

    `roles` they have everywhere and for everybody's things, `grants` are the others.
    `only`: whose things this request can be about; None: everybody's.
    """

    name: str
    roles: frozenset[Role]
    teams: frozenset[str] = frozenset()
    scope: Scope = field(default_factory=Scope)
    grants: frozenset[Grant] = frozenset()
    only: frozenset[str] | None = None

    def may(self, verb: Verb, environment: str | None = None) -> bool:
        """`environment` None: in any."""
        return self.has_role_for(verb, environment) and self.scope.allows(verb)

    def has_role_for(self, verb: Verb, environment: str | None = None) -> bool:
        return any(one.holds(verb, environment) for one in self.held)

    @property
    def held(self) -> frozenset[Grant]:
        return self.grants | {Grant(role) for role in self.roles}

    @property
    def reach(self) -> frozenset[str] | None:
        """The teams whose things they can touch now; None: everybody's, as ownership goes."""
        if self.scope.team is None:
            return self.only
        scoped = frozenset({self.scope.team})
        return scoped if self.only is None else scoped & self.only

    def environments_for(self, verb: Verb) -> frozenset[str] | None:
        """Where they may; None: everywhere."""
        found = {one.environment for one in self.held if one.holds(verb)}
        granted = None if None in found else frozenset(one for one in found if one is not None)
        scoped = self.scope.environments
        if granted is None or scoped is None:
            return scoped if granted is None else granted
        return granted & scoped

    def covers(self, grants: Set[Grant], teams: Set[str | None]) -> bool:
        """Whether these grants of theirs are for all of these teams' things; None among them:
        what is no team's.

        >>> one = Grant(Role.APPROVER, "arrivals")
        >>> bea = Principal("bea", frozenset(), grants=frozenset({one}))
        >>> bea.covers({one}, {"arrivals"}), bea.covers({one}, {"arrivals", "punctuality"})
        (True, False)
        """
        if not grants or (self.scope.team is not None and not teams <= {self.scope.team}):
            return False
        reach = {one.team for one in grants}
        return None in reach or teams <= reach

    def acting(self, verb: Verb, environments: Set[str]) -> Principal:
        """As they are in a request for `verb` about these environments: their teams' things only,
        where no role of theirs goes further."""
        only = self.only
        for environment in () if verb in OF_NO_TEAM else environments:
            teams = {one.team for one in self.held if one.holds(verb, environment)}
            if None not in teams:
                found = frozenset(team for team in teams if team is not None)
                only = found if only is None else only & found
        return replace(self, only=only)


def roles_for(verb: Verb) -> list[Role]:
    return [role for role in Role if verb in ALLOWED[role]]


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
