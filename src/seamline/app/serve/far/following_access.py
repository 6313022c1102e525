"""Who may ask is followed, too: the access list of the origin, under the same key as its snapshots.

One that does not hold, or is older, changes nothing; while the origin is away the last one holds.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from seamline.app.serve.far.origin import Origin
from seamline.app.serve.far.patience import keep_trying
from seamline.app.serve.far.trusted import known_key
from seamline.domain.errors import NotFound, Refused, SeamlineError
from seamline.store.blobs import write_atomically
from seamline.trust.access_list import access_list_path, read_access_list

HOLD_S = 20.0


@dataclass
class AccessFollower:
    root: Path
    origin: Origin
    environment: str
    _etag: str = ""

    def begin(self) -> None:
        """With none from before, nobody is answered before it is known who may ask. An origin that
        has none asks for no tokens."""
        if not access_list_path(self.root).exists():
            try:
                self.look(0.0)
            except NotFound:
                return

    def follow(self, stop: threading.Event) -> None:
        keep_trying(stop, lambda: self.look(HOLD_S), "The access list of before holds: %s")

    def look(self, wait_s: float) -> None:
        """Takes the next one. Raises why it was not reached, or not taken."""
        found = self.origin.next_file(self.environment, "access-list", self._etag, wait_s)
        if found is None:
            return
        key = known_key(self.root)
        if key is None:
            raise Refused("No snapshot has come yet, and so no key to verify the access list by.")
        path = access_list_path(self.root)
        arriving = path.with_name(".access.arriving")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(arriving, found.envelope)
        offered = read_access_list(arriving, key)
        present = self._present_version()
        if offered.version < present:
            raise Refused(f"Access list {offered.version} is older than {present}, which holds.")
        arriving.replace(path)
        self._etag = found.etag

    def _present_version(self) -> int:
        key = known_key(self.root)
        try:
            return -1 if key is None else read_access_list(access_list_path(self.root), key).version
        except SeamlineError:  # none, or signed by the key before this one
            return -1
