"""Roles in one environment, for one team: what they let, what they leave, and how it is kept."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import pytest

from seamline.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from seamline.domain.states import Role
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.principals import add_principal, grant_role, take_role
from seamline.trust.refusals import require, require_environments, require_teams
from seamline.trust.roles import ALLOWED, Grant, Principal, Scope, Verb
from seamline.trust.teams import add_team, find_principal
from seamline.trust.tokens import issue_token, principal_of_token, rotate_token

STAGING = Grant(Role.RELEASER, None, "staging")
ARRIVALS = Grant(Role.APPROVER, "arrivals", "production")


@pytest.fixture
def people(stores: Stores) -> Stores:
    with stores.db.transaction() as tx:
        for team in ("arrivals", "punctuality"):
            add_team(tx, stores.facts, stores.clock, team, by="root")
        add_principal(tx, stores.facts, stores.clock, "ada", frozenset({Role.VIEWER}), by="root")
    return stores


def grant(stores: Stores, one: Grant, name: str = "ada") -> Principal:
    with stores.db.transaction() as tx:
        return grant_role(tx, stores.facts, stores.clock, name, one, by="root")


def take(stores: Stores, one: Grant, name: str = "ada") -> Principal:
    with stores.db.transaction() as tx:
        return take_role(tx, stores.facts, name, one, by="root")


def told(stores: Stores, *kinds: str) -> list[dict[str, Any]]:
    with stores.db.read() as connection:
        return [fact.body for fact in read_facts(connection, kinds=list(kinds))]


def test_a_grant_is_kept_told_and_taken_back(people: Stores) -> None:
    assert grant(people, ARRIVALS).held == {Grant(Role.VIEWER), ARRIVALS}
    assert grant(people, ARRIVALS).held == {Grant(Role.VIEWER), ARRIVALS}  # once more
    assert grant(people, Grant(Role.APPROVER)).roles == {Role.VIEWER, Role.APPROVER}
    assert take(people, ARRIVALS).held == {Grant(Role.VIEWER), Grant(Role.APPROVER)}
    body = {
        "principal": "ada",
        "role": "approver",
        "team": "arrivals",
        "environment": "production",
    }
    anywhere = {**body, "team": None, "environment": None}
    assert told(people, "role.granted") == [body, anywhere]
    assert told(people, "role.taken") == [body]


def test_only_what_was_granted_in_just_this_way_is_taken_back(people: Stores) -> None:
    grant(people, ARRIVALS)
    for other in (Grant(Role.APPROVER), Grant(Role.APPROVER, None, "production")):
        with pytest.raises(NotFound, match="approver"):
            take(people, other)
    with pytest.raises(NotFound, match="Did you mean arrivals"):
        grant(people, Grant(Role.APPROVER, "arival"))
    with pytest.raises(NotFound, match="Did you mean ada"):
        grant(people, ARRIVALS, "adda")
    assert told(people, "role.taken") == []


def test_it_holds_there_and_nowhere_else() -> None:
    ada = Principal("ada", frozenset({Role.VIEWER}), grants=frozenset({STAGING}))
    assert ada.environments_for(Verb.READ) is None
    assert ada.environments_for(Verb.RELEASE) == {"staging"}
    assert ada.environments_for(Verb.APPROVE) == frozenset()
    require(ada, Verb.RELEASE)
    require_environments(ada, Verb.RELEASE, {"staging"})
    for asked in ({"production"}, {"staging", "production"}):
        with pytest.raises(Forbidden, match=r"releaser in staging, viewer.* in production"):
            require_environments(ada, Verb.RELEASE, asked)
    with pytest.raises(Forbidden, match="may not approve"):
        require(ada, Verb.APPROVE)


@pytest.mark.parametrize("verb", list(Verb))
@pytest.mark.parametrize("role", list(Role))
def test_what_a_limited_role_leaves(role: Role, verb: Verb) -> None:
    whole = verb in ALLOWED[role]
    across = {Verb.ADMINISTER, Verb.APPLY_PROJECT}
    assert Grant(role).holds(verb) is whole
    assert Grant(role, None, "staging").holds(verb) is (whole and verb not in across)
    of_all = {Verb.ADMINISTER, Verb.SET_SECRETS, Verb.SET_TRAINING_SECRETS, Verb.BREAK_GLASS}
    of_all |= {Verb.PREDICT}
    assert Grant(role, "arrivals").holds(verb) is (whole and verb not in of_all)


@pytest.mark.parametrize(
    ("grants", "scope", "teams", "may"),
    [
        ({ARRIVALS}, Scope(), {"arrivals"}, True),
        ({ARRIVALS}, Scope(), {"punctuality"}, False),
        ({ARRIVALS}, Scope(), {"arrivals", "punctuality"}, False),
        ({ARRIVALS}, Scope(), {None}, False),
        (
            {ARRIVALS, Grant(Role.APPROVER, "punctuality")},
            Scope(),
            {"arrivals", "punctuality"},
            True,
        ),
        ({Grant(Role.APPROVER, "arrivals", "staging")}, Scope(), {"arrivals"}, False),
        ({Grant(Role.APPROVER)}, Scope(), {"arrivals", None}, True),
        ({Grant(Role.APPROVER)}, Scope("arrivals"), {"arrivals"}, True),
        ({Grant(Role.APPROVER)}, Scope("arrivals"), {"punctuality"}, False),
        ({Grant(Role.APPROVER)}, Scope("arrivals"), {None}, False),
        (set(), Scope(), set(), False),
    ],
)
def test_whose_things(grants: Set[Grant], scope: Scope, teams: Set[str | None], may: bool) -> None:
    bea = Principal("bea", frozenset(), scope=scope, grants=frozenset(grants))
    if may:
        require_teams(bea, Verb.APPROVE, "production", teams, "r1")
        return
    with pytest.raises(Forbidden, match=r"bea .* may not approve in production for r1: it holds"):
        require_teams(bea, Verb.APPROVE, "production", teams, "r1")


def test_a_request_is_about_the_teams_of_the_role() -> None:
    one = Grant(Role.DEVELOPER, "arrivals", "dataops")
    ada = Principal("ada", frozenset(), frozenset({"punctuality"}), grants=frozenset({one}))
    assert ada.acting(Verb.PUBLISH, {"dataops"}).reach == {"arrivals"}
    assert ada.acting(Verb.INGEST, {"dataops"}).reach is None
    narrowed = Principal("ada", frozenset(), scope=Scope("punctuality"), grants=ada.grants)
    assert narrowed.acting(Verb.PUBLISH, {"dataops"}).reach == frozenset()
    boss = Principal("ada", frozenset({Role.ADMIN}), grants=frozenset({one}))
    assert boss.acting(Verb.PUBLISH, {"dataops"}).reach is None


def test_a_token_never_goes_further(people: Stores) -> None:
    """For the team that a role is for; only as long as the role is held."""
    held = Grant(Role.DEVELOPER, "arrivals", "dataops")
    grant(people, held)
    scope = Scope("arrivals", frozenset({"dataops", "staging"}))
    with people.db.transaction() as tx:
        issued = issue_token(tx, people.facts, people.clock, "ada", by="root", scope=scope)
        with pytest.raises(InvalidInput, match="no role for it"):
            issue_token(
                tx, people.facts, people.clock, "ada", by="root", scope=Scope("punctuality")
            )
    with people.db.read() as connection:
        ada = principal_of_token(connection, people.clock, issued.token)
        assert ada.environments_for(Verb.PUBLISH) == {"dataops"}
        assert ada.environments_for(Verb.READ) == {"dataops", "staging"}
    take(people, held)
    with people.db.read() as connection, pytest.raises(Unauthenticated, match="has left"):
        principal_of_token(connection, people.clock, issued.token)
    with people.db.transaction() as tx, pytest.raises(InvalidInput):
        rotate_token(tx, people.facts, people.clock, issued.id, by="root")


def test_people_are_added_with_limited_roles(people: Stores) -> None:
    with people.db.transaction() as tx:
        add_principal(
            tx, people.facts, people.clock, "bea", frozenset(), by="root", grants=[ARRIVALS]
        )
        found = find_principal(tx, "bea")
        with pytest.raises(Conflict):
            add_principal(tx, people.facts, people.clock, "bea", frozenset(), by="root")
    assert found is not None
    assert (found.roles, found.grants) == (frozenset(), {ARRIVALS})
    assert {"principal": "bea", "roles": []} in told(people, "principal.added")
