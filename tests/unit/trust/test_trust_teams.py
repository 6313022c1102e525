from __future__ import annotations

import pytest

from seamline.domain.errors import Conflict, InvalidInput, NotFound
from seamline.domain.states import Role
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.principals import add_principal, list_principals
from seamline.trust.teams import Team, add_team, join_team, leave_team, list_teams


@pytest.fixture
def town(stores: Stores) -> Stores:
    with stores.db.transaction() as tx:
        for name in ("ada", "bob"):
            roles = frozenset({Role.DEVELOPER})
            add_principal(tx, stores.facts, stores.clock, name, roles, by="root")
        add_team(tx, stores.facts, stores.clock, "arrivals", by="root")
    return stores


def test_people_join_and_leave(town: Stores) -> None:
    facts, clock = town.facts, town.clock
    for name in ("bob", "ada", "ada"):
        with town.db.transaction() as tx:
            join_team(tx, facts, clock, "arrivals", name, by="root")
    with town.db.transaction() as tx:
        add_team(tx, facts, clock, "punctuality", by="root")
        join_team(tx, facts, clock, "punctuality", "ada", by="root")
        leave_team(tx, facts, "arrivals", "bob", by="root")
    with town.db.read() as connection:
        assert list_teams(connection) == [
            Team("arrivals", ("ada",)),
            Team("punctuality", ("ada",)),
        ]
        teams = {one.name: one.teams for one in list_principals(connection)}
        told = [
            (fact.kind, fact.body["team"], fact.body.get("principal"))
            for fact in read_facts(connection, kinds=["team.added", "team.joined", "team.left"])
        ]
    assert teams == {"ada": {"arrivals", "punctuality"}, "bob": frozenset()}
    assert told == [
        ("team.added", "arrivals", None),
        ("team.joined", "arrivals", "bob"),
        ("team.joined", "arrivals", "ada"),
        ("team.added", "punctuality", None),
        ("team.joined", "punctuality", "ada"),
        ("team.left", "arrivals", "bob"),
    ]


def test_names_are_checked(town: Stores) -> None:
    facts, clock = town.facts, town.clock
    with town.db.transaction() as tx:
        with pytest.raises(Conflict, match="seamline team join arrivals"):
            add_team(tx, facts, clock, "arrivals", by="root")
        for name in ("", "The Team", "a/b", "-a", "x" * 64):
            with pytest.raises(InvalidInput, match="team's name"):
                add_team(tx, facts, clock, name, by="root")
        with pytest.raises(NotFound, match="Did you mean arrivals"):
            join_team(tx, facts, clock, "arivals", "ada", by="root")
        with pytest.raises(NotFound, match="Did you mean ada"):
            join_team(tx, facts, clock, "arrivals", "adda", by="root")
        with pytest.raises(NotFound, match="member of arrivals"):
            leave_team(tx, facts, "arrivals", "bob", by="root")
