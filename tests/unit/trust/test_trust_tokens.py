from __future__ import annotations

from typing import Any

import pytest

from seamline.domain.clock import ManualClock
from seamline.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from seamline.domain.states import Role
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.principals import add_principal
from seamline.trust.refusals import require, require_environments
from seamline.trust.roles import Principal, Scope, Verb, parse_verb
from seamline.trust.rows import TOKENS
from seamline.trust.teams import add_team, join_team, leave_team
from seamline.trust.tokens import (
    IssuedToken,
    find_token,
    issue_token,
    list_tokens,
    principal_of_token,
    revoke_token,
    rotate_token,
)

DAY_S = 86_400


@pytest.fixture
def people(stores: Stores) -> Stores:
    """ada, who develops for arrivals, and vera, who looks on."""
    facts, clock = stores.facts, stores.clock
    with stores.db.transaction() as tx:
        add_principal(tx, facts, clock, "ada", frozenset({Role.DEVELOPER}), by="root")
        add_principal(tx, facts, clock, "vera", frozenset({Role.VIEWER}), by="root")
        for team in ("arrivals", "punctuality"):
            add_team(tx, facts, clock, team, by="root")
        join_team(tx, facts, clock, "arrivals", "ada", by="root")
    return stores


def issue(stores: Stores, name: str = "ada", **more: Any) -> IssuedToken:
    with stores.db.transaction() as tx:
        return issue_token(tx, stores.facts, stores.clock, name, by="root", **more)


def who_is(stores: Stores, token: str) -> Principal:
    with stores.db.read() as connection:
        return principal_of_token(connection, stores.clock, token)


def test_a_token_has_its_limits_and_never_more_than_its_principal(people: Stores) -> None:
    scope = Scope("arrivals", frozenset({"dataops"}), frozenset({Verb.PUBLISH, Verb.READ}))
    found = who_is(people, issue(people, scope=scope).token)
    assert (found.name, found.teams, found.scope) == ("ada", {"arrivals"}, scope)
    assert {verb for verb in Verb if found.may(verb)} == {Verb.PUBLISH, Verb.READ}
    with pytest.raises(Forbidden, match="may run; this token, limited to team arrivals"):
        require(found, Verb.RUN)
    require_environments(found, Verb.READ, {"dataops"})
    with pytest.raises(Forbidden, match="is for dataops; the request is about production"):
        require_environments(found, Verb.READ, {"dataops", "production"})
    whole = who_is(people, issue(people).token)
    assert whole.may(Verb.RUN)
    require_environments(whole, Verb.RUN, {"production"})


@pytest.mark.parametrize("verb", list(Verb))
def test_what_spans_everything_needs_a_token_without_such_limits(verb: Verb) -> None:
    roles = frozenset({Role.ADMIN})
    for scope, beyond in (
        (Scope(team="arrivals"), {Verb.ADMINISTER, Verb.PREDICT}),
        (Scope(environments=frozenset({"dataops"})), {Verb.ADMINISTER, Verb.APPLY_PROJECT}),
        (Scope(endpoints=frozenset({"late-arrival"})), set(Verb) - {Verb.PREDICT}),
    ):
        assert Principal("root", roles, scope=scope).may(verb) is (verb not in beyond)
    only = Scope(verbs=frozenset({verb}))
    included = {Verb.SET_TRAINING_SECRETS} if verb is Verb.SET_SECRETS else set()
    may = {one for one in Verb if Principal("root", roles, scope=only).may(one)}
    assert may == {verb} | included


@pytest.mark.parametrize(
    ("name", "scope", "says"),
    [
        ("ada", Scope(team="punctuality"), "does not belong to the team punctuality"),
        ("vera", Scope(verbs=frozenset({Verb.READ, Verb.PUBLISH})), "viewer.* may not publish"),
        ("ada", Scope(verbs=frozenset()), "for no verbs"),
        ("ada", Scope(environments=frozenset()), "for no environments"),
    ],
)
def test_limits_that_make_no_sense(people: Stores, name: str, scope: Scope, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        issue(people, name, scope=scope)
    assert len(_tokens(people, name)) == 1


def test_a_limited_admin_token_cannot_be_asked_for(people: Stores) -> None:
    with people.db.transaction() as tx:
        roles = frozenset({Role.ADMIN})
        add_principal(tx, people.facts, people.clock, "zoe", roles, by="root")
    scope = Scope(environments=frozenset({"staging"}), verbs=frozenset({Verb.ADMINISTER}))
    with pytest.raises(InvalidInput, match="administer reaches across teams"):
        issue(people, "zoe", scope=scope)


def test_names_are_checked(people: Stores) -> None:
    with pytest.raises(NotFound, match="Did you mean arrivals"):
        issue(people, scope=Scope(team="arivals"))
    with pytest.raises(InvalidInput, match="Did you mean publish"):
        parse_verb("publsh")
    for days in (0, -1, 1000, float("nan")):
        with pytest.raises(InvalidInput, match="days"):
            issue(people, days=days)


def test_each_is_revoked_by_its_id(people: Stores) -> None:
    first, second = issue(people), issue(people)
    for _ in range(2):
        with people.db.transaction() as tx:
            revoke_token(tx, people.facts, people.clock, first.id, by="root")
    with pytest.raises(Unauthenticated, match="revoked"):
        who_is(people, first.token)
    assert who_is(people, second.token).name == "ada"
    with people.db.read() as connection:
        revoked = read_facts(connection, kinds=["token.revoked"])
    assert [fact.body["token_id"] for fact in revoked] == [first.id]
    with people.db.transaction() as tx, pytest.raises(NotFound):
        revoke_token(tx, people.facts, people.clock, "nothing", by="root")


def test_rotation_leaves_a_time_of_grace(people: Stores, clock: ManualClock) -> None:
    scope = Scope(team="arrivals", verbs=frozenset({Verb.PUBLISH}))
    old = issue(people, days=10, scope=scope)
    clock.advance(DAY_S)
    with people.db.transaction() as tx:
        new, told = rotate_token(tx, people.facts, clock, old.id, by="root", grace_s=3600)
    assert told.replaced_by == new.id
    assert told.expires_at == "2026-01-02T01:00:00.000000Z"
    assert new.expires_at == "2026-01-12T00:00:00.000000Z"  # as long as the first one was given
    for token in (old.token, new.token):
        assert who_is(people, token).scope == scope
    clock.advance(3600)
    with pytest.raises(Unauthenticated, match=f"replaced by the token {new.id}; its time of grace"):
        who_is(people, old.token)
    assert who_is(people, new.token).name == "ada"
    with people.db.read() as connection:
        [replaced] = read_facts(connection, kinds=["token.replaced"])
    assert replaced.body["until"] == told.expires_at


def test_grace_never_lengthens_a_life(people: Stores, clock: ManualClock) -> None:
    old = issue(people, days=1)
    with people.db.transaction() as tx:
        _, told = rotate_token(tx, people.facts, clock, old.id, by="root", grace_s=7 * DAY_S)
    assert told.expires_at == old.expires_at
    for grace_s in (-1, 31 * DAY_S, float("nan")):
        with people.db.transaction() as tx, pytest.raises(InvalidInput, match="grace"):
            rotate_token(tx, people.facts, clock, old.id, by="root", grace_s=grace_s)


def test_what_has_ended_is_not_rotated(people: Stores, clock: ManualClock) -> None:
    replaced, revoked, expired = issue(people), issue(people), issue(people, days=1)
    with people.db.transaction() as tx:
        rotate_token(tx, people.facts, clock, replaced.id, by="root")
        revoke_token(tx, people.facts, clock, revoked.id, by="root")
    clock.advance(DAY_S)
    for token, says in ((replaced, "replaced by"), (revoked, "revoked at"), (expired, "expired")):
        with people.db.transaction() as tx, pytest.raises(Conflict, match=says):
            rotate_token(tx, people.facts, clock, token.id, by="root")


def test_who_leaves_a_team_loses_its_tokens(people: Stores) -> None:
    ours, own = issue(people, scope=Scope(team="arrivals")), issue(people)
    with people.db.transaction() as tx:
        leave_team(tx, people.facts, "arrivals", "ada", by="root")
    with pytest.raises(Unauthenticated, match="team arrivals, which ada has left"):
        who_is(people, ours.token)
    assert who_is(people, own.token).teams == frozenset()
    with people.db.transaction() as tx, pytest.raises(InvalidInput, match="does not belong"):
        rotate_token(tx, people.facts, people.clock, ours.id, by="root")


def test_what_is_listed_holds_no_token(people: Stores) -> None:
    scope = Scope(environments=frozenset({"staging", "production"}))
    made = issue(people, scope=scope)
    with people.db.read() as connection:
        rows = str(connection.execute(TOKENS.select()).all())
        facts = str([fact.body for fact in read_facts(connection)])
        shown = find_token(connection, made.id).to_json()
    assert made.token not in rows + facts + str(shown)
    assert (shown["team"], shown["environments"], shown["verbs"]) == (
        None,
        ["production", "staging"],
        None,
    )


def _tokens(stores: Stores, name: str) -> list[Any]:
    with stores.db.read() as connection:
        return list_tokens(connection, name)
