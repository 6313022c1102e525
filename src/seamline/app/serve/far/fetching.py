"""What a snapshot names is fetched before it is swapped to, or, where that takes long, behind it.

Nothing of an endpoint with one model is left for later; of many models one of each requirement set
is enough to begin with, and the others refuse only their own rows until they are here.
"""

from __future__ import annotations

import json
import logging
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamline.app.serve.far.downloads import Downloads
from seamline.app.serve.far.origin import Origin
from seamline.domain.clock import Clock
from seamline.domain.errors import (
    DigestMismatch,
    InvalidInput,
    NotFound,
    Refused,
    SeamlineError,
    Unavailable,
)
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.requirements import RequirementSet
from seamline.serve.snapshots.families import Member
from seamline.serve.snapshots.places import Place, read_places, write_places
from seamline.serve.snapshots.snapshot import (
    EndpointSpec,
    ServingSnapshot,
    open_snapshot,
    package_digests,
    read_snapshot,
    snapshot_path,
)
from seamline.store.blobs import Blobs, write_atomically
from seamline.trust.keys import KEYS, PublicKey, write_public_key

LOG = logging.getLogger("seamline.serve")
ARRIVING = "arriving"
#: A swap is kept waiting no longer for models that it can do without.
BEFORE_SWAP_S = 10.0


@dataclass(frozen=True)
class Taken:
    """`later`: packages that it names and that are not here yet, with what they are."""

    snapshot: ServingSnapshot
    later: Mapping[str, str]


@dataclass(frozen=True)
class Taking:
    """The root of a data plane elsewhere, and what fills it."""

    root: Path
    origin: Origin
    blobs: Blobs
    environments: EnvironmentCache
    clock: Clock
    downloads: Downloads

    def take(self, environment: str, envelope: bytes, key: PublicKey) -> Taken:
        """Verified, with the bytes that it cannot do without here and where the data plane looks;
        raises why not, and changes nothing of what is served then."""
        snapshot = open_snapshot(envelope, environment, key)
        present = present_snapshot(self.root, environment, key)
        if present is not None and snapshot.version < present.version:
            raise Refused(
                f"{self.origin.url} offers snapshot {snapshot.version} of {environment}, which is "
                f"older than {present.version}, which is served here.",
                next_step="Promote again there; or serve from another folder, if it was restored.",
            )
        named = package_digests(snapshot)
        needed = needed_packages(snapshot)
        places = {digest: self.bring(environment, digest, named[digest]) for digest in needed}
        pythons = {python: places[digest].python for digest, python in needed.items()}
        later = self._bring_in_time(environment, snapshot, places, pythons)
        # Until the swap, those of the snapshot before are needed, too.
        write_places(self.root, {**(read_places(self.root) or {}), **places})
        (self.root / KEYS).mkdir(parents=True, exist_ok=True)
        write_public_key(self.root / KEYS, key)
        path = snapshot_path(self.root, environment)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, envelope)
        return Taken(snapshot, {digest: named[digest] for digest in later})

    def forget_others(self, snapshot: ServingSnapshot) -> None:
        """What this snapshot, which is served, does not name goes."""
        named, since = package_digests(snapshot), self.clock.now().timestamp()
        places = read_places(self.root) or {}
        write_places(self.root, {digest: places[digest] for digest in named})
        for stored in list(self.blobs.stored()):
            if stored.digest not in named:
                self.blobs.remove_unused(stored.digest, since)
        self.downloads.keep_only(set(named))

    def bring(self, environment: str, digest: str, what: str) -> Place:
        try:
            wheel = self.blobs.verified_path(digest, what)
        except (NotFound, DigestMismatch):  # never here, or altered since
            received = self.downloads.fetch(environment, digest, what)
            self.blobs.adopt(received)
            LOG.info("fetched %s (%s, %d bytes)", what, digest, received.size_bytes)
            wheel = self.blobs.verified_path(digest, what)
        requirements = RequirementSet.of(_requirements_of(wheel, what))
        python = self.environments.ensure(requirements).python
        return Place(str(wheel.resolve()), str(python))

    def _bring_in_time(
        self,
        environment: str,
        snapshot: ServingSnapshot,
        places: dict[str, Place],
        pythons: Mapping[str, str],
    ) -> list[str]:
        """The other models of families, as many as come soon; what is left for later. `pythons`:
        interpreter there → here. What cannot be fetched keeps nothing else from being served."""
        later: list[str] = []
        give_up_at = time.monotonic() + BEFORE_SWAP_S
        for member in members_of(snapshot):
            digest, what = member.package_digest, f"{member.model} {member.model_version}"
            if digest in places:
                continue
            try:
                if time.monotonic() < give_up_at:
                    places[digest] = self.bring(environment, digest, what)
                    continue
            except SeamlineError as error:
                LOG.warning("%s comes later: %s", what, error)
                if isinstance(error, Unavailable):  # so do the others
                    give_up_at = 0.0
            later.append(digest)
            path = self.blobs.path_of(digest).resolve()
            places[digest] = Place(str(path), pythons[member.python])
        return later


def needed_packages(snapshot: ServingSnapshot) -> dict[str, str]:
    """Digest → interpreter there, of what has to be here before the swap: each model that answers
    alone, and of many the one that proves the start of each interpreter."""
    found: dict[str, str] = {}
    for spec in _specs_of(snapshot):
        family = spec.family
        if family is None:
            found[spec.package_digest] = spec.python
            continue
        for python in dict.fromkeys(member.python for member in family.members):
            found[family.members[family.first_of(python)].package_digest] = python
    return found


def members_of(snapshot: ServingSnapshot) -> Iterator[Member]:
    for spec in _specs_of(snapshot):
        yield from () if spec.family is None else spec.family.members


def _specs_of(snapshot: ServingSnapshot) -> Iterator[EndpointSpec]:
    """What answers first, then what stands by."""
    yield from snapshot.endpoints
    for standby in snapshot.standbys:
        yield from standby.endpoints


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
