from __future__ import annotations

import pytest

from seamline.domain.clock import ManualClock
from seamline.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from seamline.domain.states import Role
from seamline.store.stores import Stores
from seamline.trust.principals import (
    add_principal,
    ensure_owner,
    list_principals,
    parse_role,
)
from seamline.trust.refusals import require
from seamline.trust.requests import LOOPBACK_NAMES, check_request_site
from seamline.trust.roles import Principal, Verb
from seamline.trust.rows import TOKENS
from seamline.trust.tokens import issue_token, principal_of_token, revoke_tokens


def _add(stores: Stores, name: str, *roles: Role) -> str:
    with stores.db.transaction() as tx:
        return add_principal(tx, stores.facts, stores.clock, name, frozenset(roles), by="root")


def test_a_token_stands_for_its_principal_and_is_stored_hashed(stores: Stores) -> None:
    token = _add(stores, "ada", Role.DEVELOPER, Role.APPROVER)
    with stores.db.read() as connection:
        assert principal_of_token(connection, stores.clock, token) == Principal(
            "ada", frozenset({Role.DEVELOPER, Role.APPROVER})
        )
        rows = connection.execute(TOKENS.select()).mappings().all()
    assert token not in str(rows)


def test_unknown_expired_and_revoked_tokens(stores: Stores, clock: ManualClock) -> None:
    token = _add(stores, "ada", Role.VIEWER)
    with stores.db.transaction() as tx:
        second = issue_token(tx, stores.facts, clock, "ada", by="root", days=1).token
    clock.advance(86_401)
    with stores.db.read() as connection:
        with pytest.raises(Unauthenticated, match="not known"):
            principal_of_token(connection, clock, "sl_guess")
        with pytest.raises(Unauthenticated, match="expired"):
            principal_of_token(connection, clock, second)
    with stores.db.transaction() as tx:
        assert revoke_tokens(tx, stores.facts, clock, "ada", by="root") == 2
    with stores.db.read() as connection, pytest.raises(Unauthenticated, match="revoked"):
        principal_of_token(connection, clock, token)


def test_names_and_roles_are_checked(stores: Stores) -> None:
    _add(stores, "ada", Role.VIEWER)
    with pytest.raises(Conflict):
        _add(stores, "ada", Role.VIEWER)
    with pytest.raises(InvalidInput):
        _add(stores, "Ada Lovelace", Role.VIEWER)
    with pytest.raises(InvalidInput, match="Did you mean approver"):
        parse_role("aprover")
    with stores.db.transaction() as tx, pytest.raises(NotFound, match="Did you mean ada"):
        issue_token(tx, stores.facts, stores.clock, "adda", by="root")


def test_the_owner_is_admin_once(stores: Stores) -> None:
    for _ in range(2):
        with stores.db.transaction() as tx:
            ensure_owner(tx, stores.facts, stores.clock, "root")
    with stores.db.read() as connection:
        assert list_principals(connection) == [Principal("root", frozenset({Role.ADMIN}))]


@pytest.mark.parametrize("verb", list(Verb))
@pytest.mark.parametrize("role", list(Role))
def test_refusals_name_a_role_that_would_do(role: Role, verb: Verb) -> None:
    principal = Principal("ada", frozenset({role}))
    if principal.may(verb):
        require(principal, verb)
        return
    with pytest.raises(Forbidden) as caught:
        require(principal, verb)
    assert Role.ADMIN in caught.value.next_step


@pytest.mark.parametrize(
    ("method", "host", "origin", "fetch_site"),
    [
        ("GET", "evil.example:8765", None, None),
        ("POST", "127.0.0.1:8765", "http://evil.example", None),
        ("POST", "127.0.0.1:8765", "http://127.0.0.1:9999", None),
        ("POST", "127.0.0.1:8765", "null", None),
        ("POST", "127.0.0.1:8765", None, "cross-site"),
        ("DELETE", "localhost:8765", "http://127.0.0.1:8765", None),
        ("POST", "", None, None),
    ],
)
def test_other_sites_cannot_act(
    method: str, host: str, origin: str | None, fetch_site: str | None
) -> None:
    with pytest.raises(Forbidden):
        check_request_site(method, host, origin, fetch_site, LOOPBACK_NAMES)


def test_our_own_pages_and_tools_can_act() -> None:
    for origin, site in ((None, None), ("http://127.0.0.1:8765", "same-origin")):
        check_request_site("POST", "127.0.0.1:8765", origin, site, LOOPBACK_NAMES)
    check_request_site("GET", "[::1]:8765", None, "cross-site", LOOPBACK_NAMES)


def test_nobody_can_be_called_like_the_platform(stores: Stores) -> None:
    with pytest.raises(InvalidInput, match="by itself"):
        _add(stores, "seamline", Role.ADMIN)
