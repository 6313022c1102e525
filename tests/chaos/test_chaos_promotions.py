"""kill -9 of the server in each phase of a promotion, a rollback and an emergency.

The data plane goes on answering all the while. What lies on the disk right after the kill is whole:
rows and facts tell the same; what was answered is there. After the restart it goes on to its end,
each step once, and pointer, snapshot, index and answers agree. A seeded sample; `--soak` plays 200
rounds of each phase. A failure names the round and the moment.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import random
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from seamline.promote.recount import all_problems
from seamline.store.database import Database, sqlite_url
from seamline.store.facts import verify_chain

SEED = 20261122
HERE = "production"
PHASES = ("requested", "checking", "awaiting_approval", "applying", "verifying", "live")
REQUESTS = ("promotion.requested", "rollback.requested", "emergency.requested")
#: Only a regular promotion waits for anybody.
WAITING = ("regular",)
KINDS = ("regular", "rollback", "emergency")


@dataclass
class Pair:
    """Two releases that take turns in production; `versions`: what each answers as."""

    house: Any
    versions: dict[str, str]
    kinds: Iterator[str] = field(default_factory=lambda: itertools.cycle(KINDS))

    def other(self) -> str:
        return next(one for one in self.versions if one != self.house.live(HERE))


@pytest.fixture(scope="module")
def pair(house: Any) -> Iterator[Pair]:
    first, run = house.live(HERE), house.train()
    version = house.until(lambda: house.version_of(run))["version"]
    second = house.release("pair", version, ["line-training@1.0.0"])["digest"]
    house.until(lambda: (house.phase(second, "development") or {}).get("phase") == "live")
    for environment in ("staging", HERE):
        house.promote(second, environment)
    packages = house.ask(f"/releases/{first}")["contents"]["packages"]
    yield Pair(house, {first: packages[0]["version"], second: version})
    _free(house)


@pytest.fixture(scope="module")
def drawn() -> random.Random:
    return random.Random(SEED)


@pytest.mark.parametrize("phase", PHASES)
def test_killed_in_each_phase(
    pair: Pair, caller: Any, drawn: random.Random, soak: bool, phase: str
) -> None:
    house = pair.house
    with caller:
        for number in range(200 if soak else 1):
            kind = "regular" if phase == "awaiting_approval" else next(pair.kinds)
            target = pair.other()
            _free(house)
            before, asked = len(caller.answers), _count(house)
            after_s = drawn.choice([0.0, drawn.uniform(0, 0.04)])
            moment = f"{phase} of a {kind}, round {number}, {after_s:.4f} s later"
            answered = _killed_in(house, phase, kind, target, after_s)
            _is_whole_on_disk(house, answered, moment)
            assert house.up()["adopted"] is True, moment
            promotion = _bring_to_its_end(house, kind, target)
            assert _count(house) == asked + 1, f"{moment}: asked for twice, or lost"
            _is_live_everywhere(house, promotion, target, kind, moment)
            caller.await_more(3)
            assert caller.answers[-1] == pair.versions[target], moment
            said = [name for name, _ in itertools.groupby(caller.answers[before:])]
            assert len(said) <= 2, f"{moment}: {said}"
    assert caller.errors == []


def _killed_in(house: Any, phase: str, kind: str, target: str, after_s: float) -> list[str]:
    """Ids of what was answered: the promotion, and that it was approved."""
    answered: list[str] = []
    dead = threading.Event()

    def watch() -> None:
        # Phases pass in milliseconds: the ledger is looked at as often as it can be.
        while not _has_reached(house, phase, kind, target, since):
            if dead.wait(0.0005):
                return
        time.sleep(after_s)  # no event: the moment of the kill is drawn, anywhere in the phase
        os.kill(house.address["identity"]["pid"], signal.SIGKILL)

    since = _last_seq(house)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            _ask_for(house, kind, target)
            answered.append("request")
            if kind == "regular":
                _approve(house, target)
                answered.append("approval")
        watcher.join(300)
        assert not watcher.is_alive(), f"it never came to {phase}"
    finally:
        dead.set()
        watcher.join()
    house.kill()
    return answered


def _has_reached(house: Any, phase: str, kind: str, target: str, since: int) -> bool:
    if phase == "requested":
        query, words = "kind IN (?, ?, ?)", REQUESTS
    else:
        query, words = "kind = ? AND body LIKE ?", ("promotion.moved", f'%"after":"{phase}"%')
    return bool(_rows(house, f"SELECT 1 FROM facts WHERE seq > ? AND {query}", since, *words))


def _is_whole_on_disk(house: Any, answered: list[str], moment: str) -> None:
    """Before any server looks at it again."""
    db = Database(sqlite_url(house.workspace / "seamline.db"))
    try:
        with db.read() as connection:
            assert verify_chain(connection).broken is None, moment
            assert all_problems(connection) == [], moment
    finally:
        db.close()
    promotion = _newest(house)
    given = [one for one in house.facts("approval.given") if one["subject"] == promotion]
    assert len(given) >= ("approval" in answered), f"{moment}: an approval is lost"


def _bring_to_its_end(house: Any, kind: str, target: str) -> str:
    """What was heard goes on by itself; what was not is asked again."""
    known = house.phase(target, HERE)
    ended = ("superseded", "rolled_back", "rejected", "failed", "errored")
    if known is None or known["phase"] in ended:
        _ask_for(house, kind, target)
    if kind == "regular":
        _approve(house, target)
    house.until(lambda: house.phase(target, HERE)["phase"] == "live")
    return str(house.phase(target, HERE)["id"])


def _ask_for(house: Any, kind: str, target: str) -> None:
    where = {"environment": HERE}
    if kind == "rollback":
        house.ask("/rollbacks", {**where, "reason": "chaos", "to": target})
        return
    if kind == "emergency" and not house.ask("/glass"):
        house.ask("/glass", {**where, "reason": "chaos", "lasts_s": 3600})
    house.ask("/promotions", {**where, "release": target, "emergency": kind == "emergency"})


def _approve(house: Any, target: str) -> None:
    """Once, when it waits for it; an answer that was cut off may have been heard."""
    house.until(lambda: house.phase(target, HERE)["phase"] not in ("requested", "checking"))
    found = house.phase(target, HERE)
    if found["phase"] == "awaiting_approval" and not found["approvals"]:
        house.ask(f"/promotions/{found['id']}/approve", {"comment": "chaos"})


def _is_live_everywhere(house: Any, promotion: str, target: str, kind: str, moment: str) -> None:
    assert house.live(HERE) == target, moment
    verified = house.ask("/audit/verify")
    assert (verified["broken"], verified["problems"]) == (None, []), moment
    moved = [one["body"] for one in house.facts("promotion.moved") if one["subject"] == promotion]
    expected = [one for one in PHASES[1:] if kind in WAITING or one != "awaiting_approval"]
    assert [one["after"] for one in moved] == expected, moment
    changed = house.facts("environment.changed")
    assert [one["body"]["promotion_id"] for one in changed].count(promotion) == 1, moment
    given = [one for one in house.facts("approval.given") if one["subject"] == promotion]
    assert len(given) == (kind in WAITING), moment
    house.until(lambda: house.ready(HERE)["snapshot_version"] == _written(house)["version"])
    assert _written(house)["release"] == target, moment
    with urllib.request.urlopen(f"{house.address['url']}/pypi/{HERE}/simple/line/") as page:
        index = page.read().decode()
    for pin in house.ask(f"/releases/{target}")["contents"]["packages"]:
        assert pin["digest"].removeprefix("sha256:") in index, moment


def _written(house: Any) -> dict[str, Any]:
    """The newest serving snapshot."""
    here = [one["body"] for one in house.facts("snapshot.written") if one["subject"] == HERE]
    return dict(here[-1])


def _free(house: Any) -> None:
    """No hold and no broken glass: each round starts alike."""
    for path, body in (("/holds/lift", {"reason": "chaos"}), ("/glass/mend", {})):
        with contextlib.suppress(urllib.error.HTTPError):
            house.ask(path, {"environment": HERE, **body})


def _newest(house: Any) -> str | None:
    query = "SELECT subject FROM facts WHERE kind IN (?, ?, ?) ORDER BY seq DESC LIMIT 1"
    found = _rows(house, query, *REQUESTS)
    return str(found[0][0]) if found else None


def _count(house: Any) -> int:
    return int(_rows(house, "SELECT count(*) FROM facts WHERE kind IN (?, ?, ?)", *REQUESTS)[0][0])


def _last_seq(house: Any) -> int:
    return int(_rows(house, "SELECT max(seq) FROM facts")[0][0])


def _rows(house: Any, query: str, *words: object) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(house.workspace / "seamline.db", timeout=300)
    with contextlib.closing(database):
        return database.execute(query, words).fetchall()
