"""What a snapshot names and its swap does not wait for: it comes behind it, what is asked for
first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from seamline.serve.snapshots.places import take_wanted


class Later:
    """Packages by digest, with what they are. Filled by one thread, emptied by another."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, packages: Mapping[str, str]) -> None:
        """Of the newest snapshot: what only the one before named is not waited for any more."""
        with self._lock:
            self._waiting = dict(packages)

    def bring_all(self, root: Path, bring: Callable[[str, str], object]) -> None:
        """Until there is nothing more. Raises why one could not be brought, which is then the last
        in turn: it keeps none of the others waiting."""
        while (digest := self._next(root)) is not None:
            what = self._waiting.get(digest, "")
            try:
                bring(digest, what)
            except Exception:
                with self._lock:
                    if self._waiting.pop(digest, None) is not None:
                        self._waiting[digest] = what
                raise
            with self._lock:
                self._waiting.pop(digest, None)

    def _next(self, root: Path) -> str | None:
        with self._lock:
            asked = [digest for digest in take_wanted(root) if digest in self._waiting]
            # What was asked for goes before the rest, also if it takes more than one try.
            for digest in reversed(asked):
                self._waiting = {digest: self._waiting[digest], **self._waiting}
            return next(iter(self._waiting), None)
