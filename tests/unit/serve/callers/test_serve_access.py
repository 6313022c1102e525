"""Who may ask: headers, lists that hold and lists that do not, what a caller may where."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest

from seamline.domain.clock import ManualClock, iso
from seamline.domain.digests import digest_of
from seamline.domain.errors import Forbidden, SeamlineError, Unauthenticated, Unavailable
from seamline.serve.callers.access import ANYBODY, Access, Caller
from seamline.serve.callers.passes import SCHEME, Pass, write_pass
from seamline.serve.metrics import Metrics
from seamline.store.canonical import canonical_json
from seamline.trust.access_list import (
    AccessEntry,
    AccessList,
    access_list_path,
    write_access_list,
)
from seamline.trust.keys import load_or_create_key
from seamline.trust.roles import Verb
from seamline.trust.statements import SNAPSHOT_TYPE, sign_envelope

TOKEN = "sl_mine"


class Place:
    """A workspace's folder, and an Access that reads it."""

    def __init__(self, root: Path, is_required: bool = False) -> None:
        self.root, self.clock, self.metrics = root, ManualClock(), Metrics()
        self.key = load_or_create_key(root / "keys")
        public = root / "keys" / "signing.pub"
        self.access = Access(root, public, self.metrics, self.clock, is_required=is_required)

    def write(self, version: int, *tokens: str, is_required: bool = True) -> None:
        until = iso(self.clock.now() + timedelta(days=1))
        entries = tuple(
            AccessEntry(one, digest_of(one.encode()), "app", until, None, None, ("predict",),
                        {"predict": ("production",)})
            for one in tokens
        )  # fmt: skip
        found = AccessList(version, is_required, iso(self.clock.now()), entries)
        write_access_list(access_list_path(self.root), found, self.key)

    def look(self) -> None:
        asyncio.run(self.access.look())

    def caller_of(self, header: str | None) -> Caller:
        return asyncio.run(self.access.caller_of(header))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_without_a_list_it_is_as_open_as_its_machine(place: Place) -> None:
    place.look()
    assert place.caller_of(None) is ANYBODY
    with pytest.raises(Unauthenticated, match="not known here"):
        place.caller_of(f"Bearer {TOKEN}")


def test_where_it_is_required_from_the_start_nobody_is_let_in_before_a_list(tmp_path: Path) -> None:
    place = Place(tmp_path, is_required=True)
    with pytest.raises(Unauthenticated, match="no token"):
        place.caller_of(None)
    with pytest.raises(Unavailable, match="no access list was written yet"):
        place.caller_of(f"Bearer {TOKEN}")
    place.write(1, TOKEN, is_required=False)
    assert place.caller_of(f"Bearer {TOKEN}").name == "app"  # a new one is looked at, at once
    with pytest.raises(Unauthenticated, match="Authorization: Bearer"):
        place.caller_of(None)


@pytest.mark.parametrize(
    "header",
    [
        "", " ", "Bearer", "Bearer ", "bearer sl_other", f"Token {TOKEN}", TOKEN, "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(), "Basic " + "YQ==",
        "Bearer " + "x" * 10_000, f"Bearer {TOKEN} {TOKEN}", "Bearer caf\xe9", "Digest a=b",
        f"Bearer {TOKEN[:-1]}",
    ],
)  # fmt: skip
def test_whatever_else_is_sent_is_nobodys(place: Place, header: str) -> None:
    place.write(1, TOKEN)
    place.look()
    with pytest.raises(Unauthenticated):
        place.caller_of(header)


def test_a_token_is_known_as_bearer_and_as_a_password_until_it_expires(place: Place) -> None:
    place.write(1, TOKEN)
    place.look()
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    for header in (f"Bearer {TOKEN}", f"bearer  {TOKEN} ", f"Basic {basic}"):
        assert place.caller_of(header).name == "app"
    place.clock.advance(86_400)
    with pytest.raises(Unauthenticated, match=r"of app expired at 2026-01-02T.* token issue app"):
        place.caller_of(f"Bearer {TOKEN}")


def test_a_list_that_does_not_hold_changes_nothing(place: Place) -> None:
    place.write(5, TOKEN)
    place.look()
    path = access_list_path(place.root)
    good = path.read_bytes()
    for bad in (b"", b"{}", good.replace(b'"sig":"', b'"sig":"AAAA'), good[:-9]):
        path.write_bytes(bad)
        place.look()
    place.write(4, "sl_old", is_required=False)  # signed, and from before
    place.look()
    assert place.caller_of(f"Bearer {TOKEN}").name == "app"
    assert place.access.is_required
    assert "seamline_access_list_failures_total 5" in place.metrics.render()
    assert "seamline_access_list_version 5" in place.metrics.render()
    path.unlink()
    place.look()
    assert place.access.is_required
    place.write(5, "sl_new", is_required=False)
    place.look()
    assert place.caller_of(None) is ANYBODY
    with pytest.raises(Unauthenticated, match="was revoked"):
        place.caller_of(f"Bearer {TOKEN}")


def test_where_the_first_list_does_not_hold_it_is_closed_until_one_does(place: Place) -> None:
    place.write(5, TOKEN)
    path = access_list_path(place.root)
    path.write_bytes(path.read_bytes()[:-9])
    place.look()
    with pytest.raises(Unauthenticated):
        place.caller_of(None)
    with pytest.raises(Unavailable, match=r"access.list does not hold \(.*envelope"):
        place.caller_of(f"Bearer {TOKEN}")
    place.write(5, TOKEN, is_required=False)
    place.look()
    assert place.caller_of(None) is ANYBODY


APP = Caller(
    "app",
    environments=frozenset({"staging", "production"}),
    endpoints=frozenset({"late", "early"}),
    verbs=frozenset({"predict"}),
    granted={"predict": frozenset({"production"}), "read": None},
)
OPS = Caller("ops", granted={"read": None, "request_promotion": frozenset({"staging"})})
SHUT = Caller("app", verbs=frozenset({"read"}), granted={"predict": None, "read": None})


@pytest.mark.parametrize(
    ("who", "verb", "environment", "endpoint", "says"),
    [
        (APP, Verb.PREDICT, "production", "late", ""),
        (APP, Verb.PREDICT, "staging", "late",
         "app may not predict in staging. An admin lets them: seamline principal grant app "
         "--role caller --in staging."),
        (APP, Verb.PREDICT, "production", "best", "is for the endpoints early, late; the request "
         "is about best in production. .*token issue app --environment production --endpoint best"),
        (APP, Verb.PREDICT, "production", None, "about every endpoint in production"),
        (APP, Verb.READ, "dataops", "late", "is for production, staging; the request is about late "
         "in dataops"),
        (APP, Verb.REQUEST_PROMOTION, "production", "late", "--role releaser --in production"),
        (OPS, Verb.REQUEST_PROMOTION, "staging", "late", ""),
        (OPS, Verb.REQUEST_PROMOTION, "production", "late", "may not request promotion"),
        (OPS, Verb.PREDICT, "staging", "late", "ops may not predict"),
        (SHUT, Verb.PREDICT, "staging", "late", "this token may not"),
        (ANYBODY, Verb.REQUEST_PROMOTION, "production", "late", ""),
    ],
)  # fmt: skip
def test_what_a_caller_may(
    who: Caller, verb: Verb, environment: str, endpoint: str | None, says: str
) -> None:
    if not says:
        who.check(verb, environment, endpoint)
        return
    with pytest.raises(Forbidden, match=says):
        who.check(verb, environment, endpoint)


def test_who_may_ask_or_look_sees(place: Place) -> None:
    assert OPS.sees("staging", "late")
    assert SHUT.sees("staging", "late")
    assert APP.sees("production", "late")
    assert not APP.sees("production", "best")
    APP.check_enters("production")
    with pytest.raises(SeamlineError, match="--in staging"):
        APP.check_enters("staging")


def test_a_pass_is_for_one_endpoint_and_a_minute(place: Place, tmp_path: Path) -> None:
    until = iso(place.clock.now() + timedelta(seconds=60))
    mine = Pass("ann", "production", "late", until)
    place.write(1)
    header = write_pass(mine, place.key)
    who = place.caller_of(header)
    who.check(Verb.PREDICT, "production", "late")
    for verb, environment, endpoint in (
        (Verb.PREDICT, "production", "best"),
        (Verb.PREDICT, "staging", "late"),
        (Verb.READ, "production", "late"),
    ):
        with pytest.raises(Forbidden, match="ann"):
            who.check(verb, environment, endpoint)
    stranger = load_or_create_key(tmp_path / "other")
    snapshot = sign_envelope(SNAPSHOT_TYPE, canonical_json(dataclasses.asdict(mine)), place.key)
    for bad in (
        write_pass(mine, stranger),
        header[:-8],
        f"{SCHEME} !",
        f"{SCHEME} é",
        f"{SCHEME} ",
        f"{SCHEME} {base64.b64encode(snapshot).decode()}",
    ):
        with pytest.raises(Unauthenticated, match=r"does not hold|no token"):
            place.caller_of(bad)
    place.clock.advance(60)
    with pytest.raises(Unauthenticated, match="pass of ann expired"):
        place.caller_of(header)
