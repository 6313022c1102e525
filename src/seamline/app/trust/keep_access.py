"""Keeps the access list as the ledger has it: tokens, roles, teams, and whether one is required.

A thread of its own, for a token that is revoked is not to wait for what the loop is at.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from pathlib import Path

from seamline.domain.clock import iso
from seamline.domain.errors import SeamlineError
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.access_entries import KINDS, list_access
from seamline.trust.access_list import (
    AccessList,
    access_list_path,
    read_access_list,
    write_access_list,
)
from seamline.trust.keys import KEYS, SIGNING, load_key, load_public_key

#: For what no commit tells of: a key that rotated, a file that was altered by hand.
TICK_S = 1.0
#: What is committed within this time is looked at together.
TOGETHER_S = 0.02
LOG = logging.getLogger("seamline.access")

_Stamp = tuple[int, int] | None


class AccessKeeper:
    """`is_required` None: as the list says that is there. Only whoever holds the workspace makes
    one: nobody else issues tokens meanwhile."""

    def __init__(self, stores: Stores, is_required: bool | None = None) -> None:
        self._stores = stores
        self.is_required = is_required
        self._path = access_list_path(stores.root)
        #: The newest fact that was looked at; how key and list looked when the list was written.
        self._seen = 0
        self._written: tuple[_Stamp, _Stamp] | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="seamline-access", daemon=True)

    def start(self, is_required: bool | None) -> None:
        """The list is there when it returns."""
        self.is_required = is_required
        self.look()
        self._stores.db.on_commit(self._wake.set)
        self._thread.start()

    def stop(self) -> None:
        """What was committed before is in the list when it returns."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        """Write the list where something has changed that it depends on. Whoever has issued or
        revoked a token calls it before saying so."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        stores = self._stores
        with stores.db.read() as connection:
            last = read_facts(connection, newest_first=True, limit=1)
            newest = last[0].seq if last else 0
            news = newest > self._seen and read_facts(
                connection, kinds=KINDS, after=self._seen, limit=1
            )
            if not news and self._written == self._stamps():
                self._seen = newest
                return
            entries = list_access(connection, stores.clock)
        signing, _ = self._stamps()
        present = self._present()
        if self.is_required is None:
            # What was altered may have said so.
            self.is_required = present.is_required if present else self._path.exists()
        wanted = (self.is_required, entries)
        if present is None or (present.is_required, present.entries) != wanted:
            found = AccessList(newest, self.is_required, iso(stores.clock.now()), entries)
            write_access_list(self._path, found, load_key(stores.root / KEYS / SIGNING))
        self._written, self._seen = (signing, self._stamps()[1]), newest

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(TICK_S)
            self._stopping.wait(TOGETHER_S)
            self._wake.clear()
            try:
                self.look()
            except Exception:
                # A full disk, a database that restarts: the next look tries again.
                LOG.exception("the access list could not be written")

    def _present(self) -> AccessList | None:
        """What the data plane would take now."""
        with suppress(SeamlineError, OSError, ValueError):
            return read_access_list(
                self._path, load_public_key(self._stores.root / KEYS / "signing.pub")
            )
        return None

    def _stamps(self) -> tuple[_Stamp, _Stamp]:
        return _stamp(self._stores.root / KEYS / SIGNING), _stamp(self._path)


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
