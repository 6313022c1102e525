"""What zygotes have learned to import, kept for the next server of the workspace."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

LOG = logging.getLogger(__name__)

Preload = Mapping[str, tuple[str, ...]]


class PreloadFile:
    """Only a hint: where it is lost or wrong, tasks import what they need themselves."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: Preload = {}
        self._writing = threading.Lock()

    def read(self) -> Preload:
        """Nothing when there is no such file, or it cannot be read."""
        try:
            document = json.loads(self._path.read_text("utf-8"))
            self._kept = {str(key): tuple(map(str, names)) for key, names in document.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._kept = {}
        return self._kept

    def keep(self, known: Callable[[], Preload]) -> None:
        """Writes what is known, if that is something new and can be written; any thread may call
        it."""
        with self._writing:
            now = known()
            if now == self._kept:
                return
            partial = self._path.with_suffix(".partial")
            try:
                partial.write_text(json.dumps(now), "utf-8")
                partial.replace(self._path)
            except OSError as error:
                LOG.warning("What tasks import is not kept for the next start: %s", error)
            self._kept = now
