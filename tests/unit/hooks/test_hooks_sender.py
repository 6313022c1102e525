"""The sender with its threads: a receiver that is dead holds up nobody but its own hook."""

from __future__ import annotations

import threading
from typing import Any

from seamline.hooks.listing import list_deliveries
from seamline.hooks.sender import HookSender
from seamline.store.stores import Stores


def states(stores: Stores, hook: str) -> list[tuple[str, int]]:
    with stores.db.read() as connection:
        found = list_deliveries(connection, hook, None, 1000)[::-1]
    return [(one["state"], one["attempts"]) for one in found]


def was_tried(stores: Stores) -> bool:
    with stores.db.read() as connection:
        return list_deliveries(connection, "ci", None, 1000)[-1]["tried_at"] is not None


def test_a_dead_receiver_holds_up_no_other_and_no_stop(
    stores: Stores, receiver: Any, hooked: Any, tell: Any, start_receiver: Any
) -> None:
    forever = threading.Event()
    with start_receiver() as dead:
        dead.answers = [forever]
        hooked(dead.url, name="dead", timeout="60s")
        hooked(receiver.url, name="well")
        sender = HookSender(stores)
        sender.start()
        first = tell("a", "b")
        dead.wait_for(1)
        second = tell("c", "d")
        told = receiver.wait_for(4)
        assert [one.id for one in told] == [*first, *second]
        sender.stop()
        assert states(stores, "dead")[0] == ("pending", 1), "given up as if killed: not counted"

        again = HookSender(stores)
        again.start()
        back = dead.wait_for(5)
        again.stop()
        assert [one.id for one in back] == [first[0], *first, *second]
        assert states(stores, "dead")[0] == ("delivered", 1)
        forever.set()


def test_what_fails_is_told_again_by_itself(
    stores: Stores, receiver: Any, hooked: Any, tell: Any
) -> None:
    hooked(receiver.url)
    committed = threading.Event()
    stores.db.on_commit(committed.set)
    sender = HookSender(stores)
    sender.start()
    receiver.answers = [500]
    ids = tell("a", "b")
    while states(stores, "ci")[:1] != [("pending", 1)] or not was_tried(stores):
        assert committed.wait(120)
        committed.clear()
    stores.clock.advance(2)  # type: ignore[attr-defined]
    more = tell("c")
    told = receiver.wait_for(4)
    sender.stop()
    assert [one.id for one in told] == [ids[0], *ids, *more]


def test_it_stops_without_anything_to_do(stores: Stores) -> None:
    sender = HookSender(stores)
    sender.start()
    sender.stop()
