"""Which role may do what: one table, read by every adapter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from seamline.domain.errors import Forbidden
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
_RELEASER = _DEVELOPER | {Verb.RELEASE, Verb.REQUEST_PROMOTION, Verb.SET_SECRETS}
_ALLOWED: dict[Role, frozenset[Verb]] = {
    Role.VIEWER: frozenset({Verb.READ}),
    Role.DEVELOPER: frozenset(_DEVELOPER),
    Role.RELEASER: frozenset(_RELEASER),
    Role.APPROVER: frozenset({Verb.READ, Verb.APPROVE}),
    Role.ADMIN: frozenset(Verb),
}


@dataclass(frozen=True)
class Principal:
    name: str
    roles: frozenset[Role]

    def may(self, verb: Verb) -> bool:
        return any(verb in _ALLOWED[role] for role in self.roles)


def require(principal: Principal, verb: Verb) -> None:
    """Raises Forbidden, naming the roles that would do.

    >>> require(Principal("ada", frozenset({Role.ADMIN})), Verb.APPROVE)
    """
    if principal.may(verb):
        return
    able = ", ".join(role for role in Role if verb in _ALLOWED[role])
    has = ", ".join(sorted(principal.roles)) or "no role"
    raise Forbidden(
        f"{principal.name} ({has}) may not {verb.replace('_', ' ')}.",
        next_step=f"Ask an admin for one of these roles: {able}.",
    )
