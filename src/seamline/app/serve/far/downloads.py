"""One package as it comes: what has come of it stays, whatever ends in the middle."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from seamline.app.serve.far.origin import Origin
from seamline.domain.digests import Digest
from seamline.domain.errors import DigestMismatch, Unavailable
from seamline.store.received import FileReceiver, ReceivedFile

LOG = logging.getLogger("seamline.serve")
_ENDING = ".part"


@dataclass(frozen=True)
class Downloads:
    """`folder`: nobody else's. What is half there bears the digest that it is to have."""

    folder: Path
    origin: Origin
    _alone: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def fetch(self, environment: str, digest: str, what: str) -> ReceivedFile:
        """Whole and of this digest. What it was not is thrown away; what came before the line
        broke, or this process ended, is not asked for again."""
        with self._alone:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self._path_of(digest)
            resumed = path.exists()
            received = self._receive(environment, digest, path, what)
            if received.digest != digest and resumed:
                path.unlink()
                LOG.warning("%s: what was here of it was altered; it is fetched anew", what)
                received = self._receive(environment, digest, path, what)
            if received.digest != digest:
                path.unlink()
                raise DigestMismatch(
                    f"{what}, as {self.origin.url} sent it", expected=digest, actual=received.digest
                )
            return received

    def keep_only(self, digests: set[str]) -> None:
        """Parts of anything else go."""
        wanted = {self._path_of(digest) for digest in digests}
        for path in self.folder.glob("*") if self.folder.exists() else ():
            if path not in wanted:
                path.unlink(missing_ok=True)

    def _receive(self, environment: str, digest: str, path: Path, what: str) -> ReceivedFile:
        try:
            with closing(FileReceiver(path, goes_on=True)) as receiver:
                if receiver.size_bytes:
                    LOG.info("%s: %d bytes of it are here already", what, receiver.size_bytes)
                if receiver.digest != digest:
                    self.origin.fetch_package(environment, Digest(digest), receiver)
                return receiver.finish()
        except OSError as error:
            raise Unavailable(
                f"{what} cannot be kept in {self.folder}: {error.strerror}.",
                next_step="Make room there; what has come of it is kept.",
            ) from error

    def _path_of(self, digest: str) -> Path:
        return self.folder / f"{digest.removeprefix('sha256:')}{_ENDING}"
