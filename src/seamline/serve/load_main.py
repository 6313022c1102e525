"""Asks endpoints at a bounded rate, in turn, and tells how long the answers took.

A plain script: standard library only, in a task process of its own, so that what measures does not
share an interpreter with what is measured. Time is cut into blocks; in each, every contender is
asked in turn, so that whatever else the machine does meets all of them.

Requests are due at fixed moments (an open loop): one that has to wait for those before it took from
the moment it was due, not from when it could be sent. So a model that answers more slowly than it
is asked is not spared.

payload: {host, port, rate (requests/s), connections, block_s, blocks,
          contenders: [{name, path, headers, bodies}]}
returns: {name: [{due, answered, failed, problem, p50_ms, p95_ms, rps}, …, one a block]}
"""

from __future__ import annotations

import http.client
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: What is not sent this many times a block's length after it began is not sent any more.
_LATE = 3.0
_REQUEST_TIMEOUT_S = 30.0


@dataclass
class Block:
    due: int
    latencies_s: list[float] = field(default_factory=list)
    failed: int = 0
    problem: str = ""
    ended_s: float = 0.0
    taken: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> int | None:
        """The next request that is to be sent."""
        with self.lock:
            if self.taken >= self.due:
                return None
            self.taken += 1
            return self.taken - 1

    def told(self, answered_s: float, latency_s: float, problem: str) -> None:
        with self.lock:
            self.ended_s = max(self.ended_s, answered_s)
            if problem:
                self.failed += 1
                self.problem = self.problem or problem
            else:
                self.latencies_s.append(latency_s)

    def to_json(self, block_s: float) -> dict[str, Any]:
        answered = len(self.latencies_s)
        return {
            "due": self.due,
            "answered": answered,
            "failed": self.failed,
            "problem": self.problem,
            "p50_ms": quantile_ms(self.latencies_s, 0.50),
            "p95_ms": quantile_ms(self.latencies_s, 0.95),
            "rps": round(answered / max(self.ended_s, block_s), 3),
        }


def main(payload: dict[str, Any]) -> dict[str, Any]:
    contenders = payload["contenders"]
    told: dict[str, Any] = {one["name"]: [] for one in contenders}
    for one in contenders:
        _ask(payload, one)  # first requests open connections and fill caches
    for number in range(payload["blocks"]):
        # Who is first changes: what comes second would always meet what the first has left.
        turns = contenders if number % 2 == 0 else contenders[::-1]
        for one in turns:
            told[one["name"]].append(_ask(payload, one).to_json(payload["block_s"]))
    return told


def quantile_ms(values_s: Sequence[float], share: float) -> float | None:
    """The smallest value that so many are not above; None of none.

    >>> quantile_ms([0.004, 0.001, 0.002, 0.003], 0.5)
    2.0
    """
    if not values_s:
        return None
    place = max(0, math.ceil(share * len(values_s)) - 1)
    return round(sorted(values_s)[place] * 1000, 3)


def _ask(payload: dict[str, Any], contender: dict[str, Any]) -> Block:
    block = Block(max(1, round(payload["rate"] * payload["block_s"])))
    began = time.perf_counter()
    threads = [
        threading.Thread(target=_connection, args=(payload, contender, block, began))
        for _ in range(payload["connections"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return block


def _connection(
    payload: dict[str, Any], contender: dict[str, Any], block: Block, began: float
) -> None:
    until = payload["block_s"] * _LATE
    bodies = [one.encode() for one in contender["bodies"]]
    connection = http.client.HTTPConnection(
        payload["host"], payload["port"], timeout=_REQUEST_TIMEOUT_S
    )
    try:
        while (number := block.take()) is not None:
            due_s = number / payload["rate"]
            wait_s = due_s - (time.perf_counter() - began)
            if wait_s > 0:
                time.sleep(wait_s)
            if time.perf_counter() - began > until:
                return
            problem = _send(connection, contender, bodies[number % len(bodies)])
            answered_s = time.perf_counter() - began
            block.told(answered_s, answered_s - due_s, problem)
    finally:
        connection.close()


def _send(connection: http.client.HTTPConnection, contender: dict[str, Any], body: bytes) -> str:
    """What went wrong, in a word."""
    try:
        connection.request("POST", contender["path"], body, contender["headers"])
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return f"{type(error).__name__}: {error}"
    return (
        ""
        if response.status == 200
        else f"{response.status}: {text[:300].decode('utf-8', 'replace')}"
    )
