"""What gates do for longer than the control plane's loop may wait.

A gate that has to load a package or press a model asks for that here, is told "not yet" (None),
and is asked again when it has ended. Nothing of it is recorded but the gate's result, so what a
killed server was doing is simply asked for again by the one that follows.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait

from seamline.promote.gate_results import GateResult

_LOG = logging.getLogger("seamline.gates")

#: Whose (a promotion's id), which gate, and by which policy (its digest).
WorkKey = tuple[str, str, str]


class GateWork:
    """Thread-safe. Of each gate, one promotion's work goes on at a time: what is measured is not
    measured against itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._known: dict[WorkKey, Future[GateResult]] = {}
        self._listener: Callable[[], None] = lambda: None

    def on_end(self, listener: Callable[[], None]) -> None:
        """Called when some work has ended, on the thread that did it."""
        self._listener = listener

    def ask(self, key: WorkKey, work: Callable[[], GateResult]) -> GateResult | None:
        """What came of it, once; None while it goes on. The first who asks starts it.

        Raises what `work` raised.
        """
        with self._lock:
            found = self._known.get(key)
            if found is None:
                self._known[key] = found = Future()
                # A daemon: nobody who stops a server waits for a gate.
                threading.Thread(
                    target=self._do, args=(key[1], work, found), name=f"gate-{key[1]}", daemon=True
                ).start()
            if not found.done():
                return None
            del self._known[key]
        return found.result()

    def is_busy(self) -> bool:
        """Whether something goes on, or has ended and was not asked for yet."""
        with self._lock:
            return bool(self._known)

    def keep_only(self, promotions: Collection[str]) -> None:
        """Nobody will ask what came of the others: they have been rejected or overtaken."""
        with self._lock:
            for key in [key for key in self._known if key[0] not in promotions]:
                del self._known[key]

    def await_ends(self, timeout_s: float) -> bool:
        """Whether all that was going on has ended within the time."""
        with self._lock:
            going = list(self._known.values())
        return not wait(going, timeout_s).not_done

    def _do(self, gate: str, work: Callable[[], GateResult], told: Future[GateResult]) -> None:
        with self._lock:
            lane = self._lanes[gate]
        try:
            with lane:
                result = work()
        except Exception as error:
            _LOG.info("the gate %s broke: %s", gate, error)
            told.set_exception(error)
        else:
            told.set_result(result)
        self._listener()
