"""A root follows its origin: snapshots come in, finished parts of the logs go out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from seamline.app.serve.far.fetching import Taking
from seamline.app.serve.far.later import Later
from seamline.app.serve.far.patience import keep_trying
from seamline.app.serve.far.trusted import Pin, current_key, known_key, write_pin
from seamline.domain.errors import Refused, SeamlineError, Unavailable
from seamline.serve.log.segments import claim_segment, list_segments
from seamline.serve.log.tables import LOGS, log_folder
from seamline.serve.origin_figures import Contact, write_contact
from seamline.serve.snapshots.snapshot import ServingSnapshot, open_snapshot
from seamline.trust.keys import PublicKey

LOG = logging.getLogger("seamline.serve")
HOLD_S = 20.0
SHIP_PAUSE_S = 5.0
LATER_PAUSE_S = 0.2


@dataclass
class Follower:
    """`pinned`: the key that the origin's history has to lead from; empty: any, once.

    `on_taken(snapshot)`: it lies where the data plane looks; to return once that has looked.
    """

    taking: Taking
    environment: str
    pinned: str
    on_taken: Callable[[ServingSnapshot], None] = lambda snapshot: None
    later: Later = field(default_factory=Later)
    _etag: str = ""
    _contact: Contact = field(default_factory=Contact)
    _telling: threading.Lock = field(default_factory=threading.Lock)

    def look(self, wait_s: float) -> ServingSnapshot | None:
        """The next snapshot, taken; None where there is none within the time. Raises why the origin
        was not reached, or what it says was refused."""
        try:
            fetched = self.taking.origin.next_file(self.environment, "snapshot", self._etag, wait_s)
            self._reached("")
            if fetched is None:
                return None
            key = self._key_of(fetched.envelope)
            taken = self.taking.take(self.environment, fetched.envelope, key)
        except Unavailable:
            raise
        except SeamlineError as error:
            self._reached(str(error))
            raise
        # Only now: what was refused is looked at again.
        self._etag = fetched.etag
        self.later.put(taken.later)
        self._tell()
        return taken.snapshot

    def follow(self, stop: threading.Event) -> None:
        """Until `stop`."""

        def step() -> None:
            snapshot = self.look(HOLD_S)
            if snapshot is not None:
                self.on_taken(snapshot)

        keep_trying(stop, step, f"{self.environment}: %s What is served goes on.")

    def fetch_later(self, stop: threading.Event) -> None:
        """Until `stop`: what the swap did not wait for."""
        keep_trying(stop, self.fetch_missing, "A model comes later: %s", LATER_PAUSE_S)

    def fetch_missing(self) -> None:
        if not self.later:
            return
        bring = partial(self.taking.bring, self.environment)
        try:
            self.later.bring_all(self.taking.root, bring)
        finally:
            self._tell()

    def ship(self, stop: threading.Event) -> None:
        """Until `stop`: what is not taken stays here and is sent again."""
        keep_trying(stop, self.ship_finished, "The log stays here for now: %s", SHIP_PAUSE_S)

    def ship_finished(self) -> int:
        """How many segments the origin has taken now. It knows them by name: one that is sent twice
        counts once."""
        shipped, refused = 0, ""
        for log in LOGS:
            for path in list_segments(log_folder(self.taking.root, log, self.environment)):
                with claim_segment(path) as finished:
                    if not finished:
                        continue
                    try:
                        self.taking.origin.send_segment(
                            self.environment, log, path.name, path.read_bytes()
                        )
                    except Unavailable:
                        raise
                    except SeamlineError as error:  # another one may be taken
                        refused = refused or str(error)
                        continue
                    path.unlink()
                    shipped += 1
        if refused:
            raise Refused(refused)
        return shipped

    def _key_of(self, envelope: bytes) -> PublicKey:
        """The one that signed it: the one of before, or what the origin's history leads to."""
        known = known_key(self.taking.root)
        if known is not None and known.is_called(self.pinned):
            try:
                open_snapshot(envelope, self.environment, known)
            except Refused:
                LOG.info("%s is signed by another key than before", self.environment)
            else:
                return known
        origin, history = self.taking.origin, self.taking.origin.key_history()
        key = current_key(history, self.pinned)
        open_snapshot(envelope, self.environment, key)
        self.pinned = key.text
        entries = [entry.decode() for entry in history]
        write_pin(self.taking.root, Pin(origin.url, self.environment, key.text, entries))
        return key

    def _reached(self, refused: str) -> None:
        self._contact = Contact(self.taking.clock.now().timestamp(), refused)
        self._tell()

    def _tell(self) -> None:
        with self._telling:
            told = replace(self._contact, awaited=len(self.later))
            write_contact(self.taking.root, told)
