"""What the control plane gives a data plane elsewhere, and takes from it.

It gives what it has signed, and the packages that this names; the other side verifies both. It
takes finished segments of the logs, which become rows as those of its own data plane do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from seamline.app.platform import Platform
from seamline.domain.clock import id_time, iso
from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput, NotFound, Refused, nearest, not_found
from seamline.promote.environments import find_environment
from seamline.serve.far_counts import Told, keep_counts
from seamline.serve.log.segments import SUFFIX, parse_segment, put_segment
from seamline.serve.log.tables import LOGS, has_segment, log_folder
from seamline.serve.snapshots.snapshot import package_digests, read_snapshot, snapshot_path
from seamline.trust.access_list import narrow_to, open_access_list, sign_access_list

POLL_S = 0.2


#: What is given out of a file's bytes.
Give = Callable[[bytes], bytes]


def as_it_is(envelope: bytes) -> bytes:
    return envelope


class SignedFilePolls:
    """Requests that are held until there is another file."""

    def __init__(self) -> None:
        self._is_closed = False

    def close(self) -> None:
        """The server stops: who waits is answered now."""
        self._is_closed = True

    async def next_file(
        self, path: Path, known: str, wait_s: float, give: Give = as_it_is
    ) -> tuple[str, bytes]:
        """The digest and the bytes that are given of it, once they are not `known`, or the digest
        alone when the time is over; NotFound where there is none by then."""
        give_up_at = asyncio.get_running_loop().time() + wait_s
        stamp: tuple[int, int] | None = None
        while True:
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                if stamp != (found.st_ino, found.st_mtime_ns):
                    stamp = (found.st_ino, found.st_mtime_ns)
                    envelope = give(path.read_bytes())
                    digest = digest_of(envelope)
                    if digest != known:
                        return digest, envelope
            if self._is_closed or asyncio.get_running_loop().time() >= give_up_at:
                break
            await asyncio.sleep(POLL_S)
        if stamp is None:
            raise NotFound(f"There is no {path.name} here yet.")
        return known, b""


def place_of_snapshot(platform: Platform, environment: str) -> Path:
    """NotFound for an environment that there is not."""
    with platform.stores.db.read() as connection:
        find_environment(connection, environment)
    return snapshot_path(platform.root, environment)


def access_list_of(platform: Platform, environment: str) -> Give:
    """Of the workspace's list what concerns the environment, signed as that is."""

    def give(envelope: bytes) -> bytes:
        key = platform.key
        found = open_access_list(envelope, "The workspace's access list", key.public)
        return sign_access_list(narrow_to(found, environment), key)

    return give


def find_served_package(platform: Platform, environment: str, digest: str) -> int:
    """The size of a package that the environment's snapshot names; no other is given out."""
    path = place_of_snapshot(platform, environment)
    snapshot = read_snapshot(path, platform.key.public)
    if digest not in package_digests(snapshot):
        raise not_found(f"package that {environment} serves", digest)
    return platform.stores.blobs.hold(digest, f"package of {environment}").stat().st_size


def receive_counts(platform: Platform, environment: str, plane: str, told: Told) -> None:
    """Safe to be asked again, in any order."""
    place_of_snapshot(platform, environment)
    keep_counts(platform.root, environment, plane, told, iso(platform.stores.clock.now()))


def receive_segment(platform: Platform, environment: str, log: str, name: str, data: bytes) -> None:
    """Safe to be asked again: a segment is taken once, by its name."""
    place_of_snapshot(platform, environment)
    if log not in LOGS:
        raise NotFound(f"There is no log {log!r}.", next_step=nearest(log, LOGS))
    if not name.endswith(SUFFIX) or id_time(name.removesuffix(SUFFIX)) is None:
        raise InvalidInput(f"{name!r} is not the name of a segment: a UUIDv7 and {SUFFIX}.")
    rows = parse_segment(data, LOGS[log])
    others = sorted(set(rows.column("environment").to_pylist()) - {environment})
    if others:
        raise Refused(
            f"Segment {name} holds rows of {', '.join(map(str, others))}, not of {environment}."
        )
    if "features_from" in rows.column_names and rows["features_from"].null_count < rows.num_rows:
        raise Refused(
            f"Segment {name} refers to rows of this server's datasets, as only batch predictions "
            "do that are made here.",
            next_step="Send the features themselves, as a data plane does.",
        )
    if not has_segment(platform.root, log, environment, name):
        put_segment(log_folder(platform.root, log, environment), name, data)
