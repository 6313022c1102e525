"""One attempt after the other, as the clock allows: what a receiver is told, and what it can do."""

from __future__ import annotations

import http.server
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import event

from seamline.domain.clock import ManualClock
from seamline.domain.errors import Conflict, NotFound
from seamline.domain.trust_facts import TeamJoined
from seamline.hooks.deliveries import (
    MAX_ATTEMPTS,
    DeliveryState,
    claim,
    queue_new,
    record_hooks,
    release_leases,
    waits_s,
)
from seamline.hooks.listing import list_deliveries, list_hooks, redeliver
from seamline.hooks.message import body_of
from seamline.hooks.sender import HookSender
from seamline.store.stores import Stores
from seamline.trust.secrets import SecretKind, delete_keys, set_values


def send_all(stores: Stores, hook: str = "ci") -> list[str]:
    """Until nothing is due; how each attempt ended."""
    queue_new(stores)
    sender, ended = HookSender(stores), []
    while (state := sender.send_next(hook)) is not None:
        ended.append(state.value)
    return ended


def deliveries(stores: Stores, hook: str = "ci") -> list[dict[str, Any]]:
    """Oldest first."""
    with stores.db.read() as connection:
        return list_deliveries(connection, hook, None, 1000)[::-1]


def later(stores: Stores, seconds: float) -> None:
    assert isinstance(stores.clock, ManualClock)
    stores.clock.advance(seconds)


def test_a_hook_is_told_of_what_is_recorded_from_then_on(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    tell("before")
    hooked(receiver.url)
    ids = tell("a", "b")
    with stores.db.transaction() as tx:
        stores.facts.append(tx, TeamJoined("a", "ada"), by="zoë", caused_by=ids[0])
    assert send_all(stores) == ["delivered"] * 3
    assert [one.subject for one in receiver.told] == ["a", "b", "a"]
    assert [one.id for one in receiver.told[:2]] == ids
    assert all(one.is_signed() for one in receiver.told)
    assert not receiver.told[0].is_signed(b"x" * 32)
    said = json.loads(receiver.told[2].body)
    assert said["type"] == "team.joined"
    assert said["data"]["by"] == "zoë"
    assert said["data"]["caused_by"] == ids[0]
    assert said["data"]["fact"] == {"team": "a", "principal": "ada"}
    assert said["data"]["hash"].startswith("sha256:")
    assert send_all(stores) == []


def test_other_kinds_are_not_told(stores: Stores, receiver: Any, hooked: Any, tell: Any) -> None:
    hooked(receiver.url, events=("team.joined", "promotion.*"))
    tell("a", "b")
    assert send_all(stores) == []
    hooked(receiver.url, name="all", events=("*",))
    tell("c")
    assert send_all(stores, "all") == ["delivered"]


def test_more_than_one_portion_comes_in_order(
    stores: Stores, receiver: Any, hooked: Any, tell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seamline.hooks.deliveries._PORTION", 3)
    hooked(receiver.url)
    ids = tell(*(f"t{number}" for number in range(8)))
    send_all(stores)
    assert [one.id for one in receiver.told] == ids


def test_what_failed_is_told_again_with_the_same_id_before_what_came_later(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    hooked(receiver.url)
    receiver.answers = [500, 503]
    first, second = tell("a", "b")
    assert send_all(stores) == ["pending"]
    [row, _] = deliveries(stores)
    assert (row["status"], row["error"], row["attempts"]) == (500, "It answered 500.", 1)
    assert waits_s(stores) == {"ci": 1.0}
    later(stores, 0.5)
    assert send_all(stores) == []
    later(stores, 0.5)
    assert send_all(stores) == ["pending"]
    assert waits_s(stores) == {"ci": 2.0}
    later(stores, 2)
    assert send_all(stores) == ["delivered", "delivered"]
    told = receiver.told
    assert [one.id for one in told] == [first, first, first, second]
    assert len({one.body for one in told[:3]}) == 1
    stamps = [int(one.headers["webhook-timestamp"]) for one in told]
    assert stamps[2] - stamps[0] == 3
    assert all(one.is_signed() for one in told)


def test_a_receiver_says_when_to_come_again(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    hooked(receiver.url)

    def busy(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(429)
        handler.send_header("Retry-After", "90")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    receiver.answers = [busy]
    tell("a")
    assert send_all(stores) == ["pending"]
    assert waits_s(stores) == {"ci": 90.0}


def test_a_receiver_that_hangs_is_left(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    hooked(receiver.url, timeout="0.2s")
    forever = threading.Event()
    receiver.answers = [forever]
    tell("a")
    assert send_all(stores) == ["pending"]
    forever.set()
    assert deliveries(stores)[0]["error"] == "No answer within 0.2 s."
    later(stores, 1)
    assert send_all(stores) == ["delivered"]


def test_a_receiver_that_trickles_is_left_too(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    """The time-out of a socket begins anew with each byte: this answer would be whole after 20 s,
    and taken."""
    hooked(receiver.url, timeout="0.5s")

    def trickle(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 204 No Content\r\nX-Slow: ")
        for _ in range(400):
            handler.wfile.write(b"x")
            time.sleep(0.05)  # this is what is tried: a receiver that is slow between two bytes
        handler.wfile.write(b"\r\n\r\n")

    receiver.answers = [trickle]
    tell("a")
    assert send_all(stores) == ["pending"]
    assert deliveries(stores)[0]["error"] == "No answer within 0.5 s."


@pytest.mark.parametrize("status", [302, 307])
def test_nobody_is_sent_elsewhere(
    stores: Stores, receiver: Any, hooked: Any, tell: Any, start_receiver: Any, status: int
) -> None:
    with start_receiver() as other:

        def move(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Location", other.url)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        hooked(receiver.url)
        receiver.answers = [move]
        tell("a")
        assert send_all(stores) == ["pending"]
        assert deliveries(stores)[0]["status"] == status
        assert other.told == []


def test_a_receiver_that_is_not_there_is_told_when_it_is(
    stores: Stores, hooked: Any, tell: Any, start_receiver: Any
) -> None:
    with start_receiver() as gone:
        url = gone.url
    hooked(url)
    ids = tell("a", "b")
    assert send_all(stores) == ["pending"]
    assert "No answer: " in deliveries(stores)[0]["error"]
    assert deliveries(stores)[1]["attempts"] == 0
    later(stores, 1)
    with start_receiver(int(url.rpartition(":")[2].partition("/")[0])) as back:
        assert send_all(stores) == ["delivered", "delivered"]
        assert [one.id for one in back.told] == ids


def test_it_is_given_up_at_last_and_the_next_one_goes(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    hooked(receiver.url)
    receiver.answers = [500] * MAX_ATTEMPTS
    tell("a", "b")
    ended = send_all(stores)
    for _ in range(MAX_ATTEMPTS - 1):
        later(stores, 3600)
        ended += send_all(stores)
    assert ended == ["pending"] * (MAX_ATTEMPTS - 1) + ["failed", "delivered"]


def test_a_receiver_that_is_gone_for_good_is_not_asked_again(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    hooked(receiver.url)
    receiver.answers = [410]
    tell("a", "b")
    assert send_all(stores) == ["failed", "delivered"]


def test_a_kill_between_the_answer_and_its_note_tells_it_again_with_the_same_id(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    hooked(receiver.url)
    ids = tell("a", "b")
    queue_new(stores)
    claimed = claim(stores, "ci")
    assert claimed is not None
    assert claim(stores, "ci") is None, "it is leased, and the second waits for the first"
    release_leases(stores)
    assert send_all(stores) == ["delivered", "delivered"]
    assert [one.id for one in receiver.told] == ids
    assert receiver.told[0].body == body_of(claimed.fact)
    assert [row["attempts"] for row in deliveries(stores)] == [1, 1]


def test_a_kill_while_it_is_queued_queues_each_once(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    hooked(receiver.url)
    ids = tell("a", "b")
    for number in range(1, 4):
        with killed_before_write(stores, number):
            queue_new(stores)
    queue_new(stores)
    queue_new(stores)
    ids += tell("c")
    queue_new(stores)
    assert [row["kind"] for row in deliveries(stores)] == ["team.added"] * 3
    send_all(stores)
    assert [one.id for one in receiver.told] == ids


@contextmanager
def killed_before_write(stores: Stores, number: int) -> Iterator[None]:
    """The process dies before the `number`-th statement that changes a row, if it comes so far."""
    seen = itertools.count(1)

    def watch(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")) and next(seen) == number:
            raise KeyboardInterrupt

    event.listen(stores.db.engine, "before_cursor_execute", watch)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        event.remove(stores.db.engine, "before_cursor_execute", watch)


def test_a_clock_that_is_set_back_holds_nothing_up_for_long(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    hooked(receiver.url)
    receiver.answers = [500]
    tell("a")
    send_all(stores)
    later(stores, -86_400)
    assert waits_s(stores) == {"ci": 0.0}
    assert send_all(stores) == ["delivered"]


def test_a_secret_that_is_missing_or_weak_is_said_and_tried_again(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    hooked(receiver.url)
    delete_keys(stores, "production", SecretKind.SECRET, "ci", by="root")
    tell("a")
    assert send_all(stores) == ["pending"]
    assert "There is no secret 'ci' in production." in deliveries(stores)[0]["error"]
    put = ("production", SecretKind.SECRET, "ci")
    set_values(stores, *put, {"other": b"x"}, by="root")
    later(stores, 60)
    assert send_all(stores) == ["pending"]
    assert "has no key 'signing'" in deliveries(stores)[0]["error"]
    set_values(stores, *put, {"signing": b"whsec_c2hvcnQ="}, by="root")
    later(stores, 60)
    assert send_all(stores) == ["pending"]
    assert "no key that webhooks are signed with" in deliveries(stores)[0]["error"]
    assert receiver.told == []


def test_while_keys_change_both_sign(stores: Stores, receiver: Any, hooked: Any, tell: Any) -> None:
    hooked(receiver.url)
    new = {"signing": b"whsec_" + b"bm5u" * 10, "previous": b"whsec_a2tr" + b"a2tr" * 9}
    set_values(stores, "production", SecretKind.SECRET, "ci", new, by="root")
    tell("a")
    assert send_all(stores) == ["delivered"]
    assert receiver.told[0].is_signed(b"nnn" * 10)
    assert receiver.told[0].is_signed(b"kkk" * 10)


def test_a_hook_that_changes_goes_on_where_it_was(
    stores: Stores, receiver: Any, hooked: Any, tell: Any, start_receiver: Any
) -> None:
    first = hooked("http://127.0.0.1:1/nobody")
    ids = tell("a")
    hooked(receiver.url, events=("promotion.*",), before=first)
    tell("b")
    assert send_all(stores) == ["delivered"]
    assert [one.id for one in receiver.told] == ids


def test_a_hook_that_is_taken_out_tells_nothing_more(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    made = hooked(receiver.url)
    tell("a")
    queue_new(stores)
    claimed = claim(stores, "ci")
    with stores.db.transaction() as tx:
        record_hooks(tx, {"ci": made}, {})
    tell("b")
    assert send_all(stores) == []
    assert waits_s(stores) == {}
    assert claimed is not None
    assert [row["state"] for row in deliveries(stores)] == ["canceled"]
    hooked(receiver.url)
    ids = tell("c")
    assert send_all(stores) == ["delivered"]
    assert [one.id for one in receiver.told] == ids
    with pytest.raises(NotFound, match="There is no hook 'cii'"):
        deliveries(stores, "cii")


def test_told_again_when_asked(stores: Stores, receiver: Any, hooked: Any, tell: Any) -> None:
    hooked(receiver.url)
    receiver.answers = [410, 410]
    first, second, third = tell("a", "b", "c")
    send_all(stores)
    assert [row["state"] for row in deliveries(stores)] == ["failed", "failed", "delivered"]
    [again] = redeliver(stores, "ci", third, by="ada")
    assert (again["state"], again["asked_by"]) == ("pending", "ada")
    assert len(redeliver(stores, "ci", None, by="ada")) == 2
    assert send_all(stores) == ["delivered"] * 3
    assert [one.id for one in receiver.told[3:]] == [first, second, third]
    assert redeliver(stores, "ci", None, by="ada") == []
    with pytest.raises(NotFound, match="was not told of a fact 'x'"):
        redeliver(stores, "ci", "x", by="ada")
    with pytest.raises(NotFound, match="no hook 'other'"):
        redeliver(stores, "other", None, by="ada")
    redeliver(stores, "ci", first, by="ada")
    claim(stores, "ci")
    with pytest.raises(Conflict, match="is being sent to ci at this moment"):
        redeliver(stores, "ci", first, by="ada")


def test_hooks_are_listed_with_what_they_wait_for(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    hooked(receiver.url)
    receiver.answers = [410, 204, 500]
    *_, third = tell("a", "b", "c")
    send_all(stores)
    with stores.db.read() as connection:
        [found] = list_hooks(connection)
    assert [found[state.value] for state in DeliveryState] == [1, 1, 1, 0]
    assert found["next"]["fact_id"] == third
    assert found["next"]["error"] == "It answered 500."
    assert found["next"]["due_at"] == "2026-01-01T00:00:01.000000Z"
