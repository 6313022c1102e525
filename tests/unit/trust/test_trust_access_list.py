"""The access list: what each token may on the data plane, as roles and limits have it; signed."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.errors import InvalidInput, NotFound, Refused
from seamline.domain.states import Role
from seamline.store.canonical import canonical_json
from seamline.store.stores import Stores
from seamline.trust.access_entries import list_access
from seamline.trust.access_list import (
    AccessEntry,
    AccessList,
    access_list_path,
    narrow_to,
    read_access_list,
    write_access_list,
)
from seamline.trust.keys import load_or_create_key
from seamline.trust.principals import add_principal, grant_role, take_role
from seamline.trust.roles import Grant, Scope, Verb
from seamline.trust.statements import ACCESS_TYPE, SNAPSHOT_TYPE, sign_envelope
from seamline.trust.teams import add_team, join_team, leave_team
from seamline.trust.tokens import issue_token, revoke_token

ENTRY = AccessEntry(
    "id", "sha256:" + "ab" * 32, "app", "2026-04-01T00:00:00.000000Z", None, ("late",),
    ("predict",), {"predict": ("production",)},
)  # fmt: skip


@pytest.fixture
def people(stores: Stores) -> Stores:
    """app, a caller in production; ada, who develops everywhere; vera, who looks on."""
    production = Grant(Role.CALLER, None, "production")
    with stores.db.transaction() as tx:
        add_team(tx, stores.facts, stores.clock, "arrivals", by="root")
        for name, roles in (("ada", {Role.DEVELOPER}), ("vera", {Role.VIEWER}), ("app", set())):
            add_principal(tx, stores.facts, stores.clock, name, frozenset(roles), by="root")
        grant_role(tx, stores.facts, stores.clock, "app", production, by="root")
    return stores


def issue(stores: Stores, name: str, **more: Any) -> str:
    with stores.db.transaction() as tx:
        return issue_token(tx, stores.facts, stores.clock, name, by="root", **more).id


def entries(stores: Stores) -> dict[str, AccessEntry]:
    with stores.db.read() as connection:
        return {one.token_id: one for one in list_access(connection, stores.clock)}


def test_roles_and_limits_are_told_apart(people: Stores) -> None:
    scope = Scope(environments=frozenset({"staging"}), endpoints=frozenset({"late"}))
    app, ada = issue(people, "app"), issue(people, "ada", scope=scope)
    vera, reads = issue(people, "vera"), Scope(verbs=frozenset({Verb.READ}))
    reader = issue(people, "ada", scope=reads)
    found = entries(people)
    assert found[app].granted == {"predict": ("production",)}
    assert (found[app].environments, found[app].endpoints) == (None, None)
    assert found[ada].granted == {"predict": None, "read": None}
    assert (found[ada].environments, found[ada].endpoints) == (("staging",), ("late",))
    assert found[ada].verbs == ("predict",)
    assert found[vera].granted == {"read": None}
    assert found[reader].verbs == ("read",)


def test_what_has_ended_is_not_in_it(people: Stores, clock: Any) -> None:
    kept, revoked = issue(people, "app"), issue(people, "app")
    short = issue(people, "app", days=1)
    with people.db.transaction() as tx:
        join_team(tx, people.facts, people.clock, "arrivals", "ada", by="root")
    ours = issue(people, "ada", scope=Scope(team="arrivals"))
    assert {kept, revoked, short, ours} <= set(entries(people))
    clock.advance(86_401)
    with people.db.transaction() as tx:
        revoke_token(tx, people.facts, people.clock, revoked, by="root")
        leave_team(tx, people.facts, "arrivals", "ada", by="root")
        take_role(tx, people.facts, "app", Grant(Role.CALLER, None, "production"), by="root")
    found = entries(people)
    assert kept in found
    assert not {revoked, short, ours} & set(found)
    assert found[kept].granted == {}


def test_of_an_environment_only_its_own_is_told(people: Stores) -> None:
    app = issue(people, "app")
    with people.db.transaction() as tx:
        grant_role(
            tx, people.facts, people.clock, "vera", Grant(Role.CALLER, None, "staging"), by="root"
        )
    vera = issue(people, "vera")
    staged = issue(people, "ada", scope=Scope(environments=frozenset({"staging", "production"})))
    elsewhere = issue(people, "ada", scope=Scope(environments=frozenset({"development"})))
    whole = AccessList(7, True, "2026-01-01T00:00:00.000000Z", tuple(entries(people).values()))

    def told(environment: str) -> dict[str, AccessEntry]:
        found = narrow_to(whole, environment)
        assert (found.version, found.is_required) == (7, True)
        assert environment in str(found.entries)
        others = {"production", "staging", "development"} - {environment}
        assert [one for one in others if one in str(found.entries)] == []
        return {one.token_id: one for one in found.entries}

    production, staging = told("production"), told("staging")
    assert production[app].granted == {"predict": ("production",)}
    assert set(staging) & {app, vera, staged, elsewhere} == {vera, staged}
    assert staging[vera].granted == {"predict": ("staging",), "read": ("staging",)}
    assert production[vera].granted == {"read": ("production",)}
    assert production[staged].environments == ("production",)
    assert elsewhere in told("development")


def test_what_is_written_is_read_and_nothing_else(tmp_path: Path) -> None:
    key, path = load_or_create_key(tmp_path / "keys"), access_list_path(tmp_path)
    found = AccessList(7, True, "2026-01-01T00:00:00.000000Z", (ENTRY,))
    with pytest.raises(NotFound):
        read_access_list(path, key.public)
    write_access_list(path, found, key)
    assert read_access_list(path, key.public) == found
    stranger = load_or_create_key(tmp_path / "other")
    with pytest.raises(Refused, match="No trusted key signed"):
        read_access_list(path, stranger.public)
    envelope = json.loads(path.read_text())
    payload = base64.b64decode(envelope["payload"]).replace(b"late", b"best")
    path.write_text(json.dumps({**envelope, "payload": base64.b64encode(payload).decode()}))
    with pytest.raises(Refused, match="No trusted key signed"):
        read_access_list(path, key.public)
    newer = canonical_json(dataclasses.asdict(dataclasses.replace(found, schema=2)))
    for kind, text, error in (
        (ACCESS_TYPE, newer, Refused),
        (ACCESS_TYPE, b"[]", InvalidInput),
        (SNAPSHOT_TYPE, canonical_json(dataclasses.asdict(found)), Refused),
    ):
        path.write_bytes(sign_envelope(kind, text, key))
        with pytest.raises(error):
            read_access_list(path, key.public)
