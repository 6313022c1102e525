"""What a snapshot names is fetched before it is swapped to: afterwards nothing is needed."""

from __future__ import annotations

import json
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamline.app.serve.far.origin import Origin
from seamline.domain.clock import Clock, new_id
from seamline.domain.errors import DigestMismatch, InvalidInput, NotFound, Refused, SeamlineError
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.requirements import RequirementSet
from seamline.serve.snapshots.places import Place, read_places, write_places
from seamline.serve.snapshots.snapshot import (
    ServingSnapshot,
    open_snapshot,
    package_digests,
    read_snapshot,
    snapshot_path,
)
from seamline.store.blobs import Blobs, write_atomically
from seamline.store.received import FileReceiver
from seamline.trust.keys import KEYS, PublicKey, write_public_key

LOG = logging.getLogger("seamline.serve")
ARRIVING = "arriving"


@dataclass(frozen=True)
class Taking:
    """The root of a data plane elsewhere, and what fills it."""

    root: Path
    origin: Origin
    blobs: Blobs
    environments: EnvironmentCache
    clock: Clock

    def take(self, environment: str, envelope: bytes, key: PublicKey) -> ServingSnapshot:
        """Verified, with all its bytes here and where the data plane looks; raises why not, and
        changes nothing of what is served then."""
        snapshot = open_snapshot(envelope, environment, key)
        present = present_snapshot(self.root, environment, key)
        if present is not None and snapshot.version < present.version:
            raise Refused(
                f"{self.origin.url} offers snapshot {snapshot.version} of {environment}, which is "
                f"older than {present.version}, which is served here.",
                next_step="Promote again there; or serve from another folder, if it was restored.",
            )
        places = {
            digest: self._place(environment, digest, what)
            for digest, what in package_digests(snapshot).items()
        }
        # Until the swap, those of the snapshot before are needed, too.
        write_places(self.root, {**(read_places(self.root) or {}), **places})
        (self.root / KEYS).mkdir(parents=True, exist_ok=True)
        write_public_key(self.root / KEYS, key)
        path = snapshot_path(self.root, environment)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, envelope)
        return snapshot

    def forget_others(self, snapshot: ServingSnapshot) -> None:
        """What this snapshot, which is served, does not name goes."""
        named, since = package_digests(snapshot), self.clock.now().timestamp()
        places = read_places(self.root) or {}
        write_places(self.root, {digest: places[digest] for digest in named})
        for stored in list(self.blobs.stored()):
            if stored.digest not in named:
                self.blobs.remove_unused(stored.digest, since)

    def _place(self, environment: str, digest: str, what: str) -> Place:
        try:
            wheel = self.blobs.verified_path(digest, what)
        except (NotFound, DigestMismatch):  # never here, or altered since
            self._fetch(environment, digest, what)
            wheel = self.blobs.verified_path(digest, what)
        requirements = RequirementSet.of(_requirements_of(wheel, what))
        python = self.environments.ensure(requirements).python
        return Place(str(wheel.resolve()), str(python))

    def _fetch(self, environment: str, digest: str, what: str) -> None:
        folder = self.root / ARRIVING
        folder.mkdir(parents=True, exist_ok=True)
        receiver = FileReceiver(folder / f"{new_id(self.clock)}.part")
        try:
            self.origin.fetch_package(environment, digest, receiver.write)
            received = receiver.finish()
            if received.digest != digest:
                raise DigestMismatch(
                    f"{what}, as {self.origin.url} sent it", expected=digest, actual=received.digest
                )
            self.blobs.adopt(received)
        finally:
            receiver.close()
            receiver.path.unlink(missing_ok=True)
        LOG.info("fetched %s (%s, %d bytes)", what, digest, received.size_bytes)


def present_snapshot(root: Path, environment: str, key: PublicKey) -> ServingSnapshot | None:
    """What lies there, if it holds by this key."""
    try:
        return read_snapshot(snapshot_path(root, environment), key)
    except SeamlineError:
        return None


def _requirements_of(wheel: Path, what: str) -> list[str]:
    """As its model.json has them; the bytes were hashed a moment ago."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            named = [name for name in archive.namelist() if name.endswith("/model.json")]
            document: dict[str, Any] = json.loads(archive.read(named[0])) if named else {}
            return [str(one) for one in document.get("requirements", [])]
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise InvalidInput(f"{what} is no model wheel: {error}.") from error
