"""What a snapshot names and its swap does not wait for: it comes behind it, what is asked for
first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from seamline.serve.snapshots.places import take_wanted

#: So many failures in a row are more than bad luck: the origin is away, or the disk is full.
IN_VAIN = 3


class Later:
    """Packages by digest, with what they are. Filled by one thread, emptied by another."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        #: What could not be brought while others wait for their turn.
        self._tried: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, packages: Mapping[str, str]) -> None:
        """Of the newest snapshot: what only the one before named is not waited for any more."""
        with self._lock:
            self._waiting = dict(packages)

    def bring_all(self, root: Path, bring: Callable[[str, str], object]) -> None:
        """Each once. Raises why the first could not be brought, but not before the others had
        their turn; unless nothing comes at all: then those that had none are the next."""
        problem: Exception | None = None
        in_vain = 0
        while in_vain < IN_VAIN and (digest := self._next(root)) is not None:
            try:
                bring(digest, self._waiting.get(digest, ""))
            except Exception as error:
                problem, in_vain = problem or error, in_vain + 1
                self._tried.add(digest)
            else:
                in_vain = 0
                with self._lock:
                    self._waiting.pop(digest, None)
        if in_vain < IN_VAIN:
            self._tried.clear()
        if problem is not None:
            raise problem

    def _next(self, root: Path) -> str | None:
        with self._lock:
            asked = [digest for digest in take_wanted(root) if digest in self._waiting]
            # What was asked for goes before the rest, also if it takes more than one turn.
            for digest in reversed(asked):
                self._waiting = {digest: self._waiting[digest], **self._waiting}
            return next((one for one in self._waiting if one not in self._tried), None)
