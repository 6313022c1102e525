"""`seamline serve`: a data plane alone on its machine, kept up, and kept up to date."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from seamline.app.serve.data_plane import (
    DataPlane,
    ask_snapshot,
    find_data_plane,
    start_or_adopt,
    stop_data_plane,
)
from seamline.app.serve.far.downloads import Downloads
from seamline.app.serve.far.fetching import ARRIVING, Taking
from seamline.app.serve.far.following import Follower
from seamline.app.serve.far.following_access import AccessFollower
from seamline.app.serve.far.origin import Origin
from seamline.app.serve.far.telling import Teller
from seamline.app.serve.far.trusted import check_wanted, known_key, read_pin
from seamline.app.serve.keep_plane import LOOK_S, start_again
from seamline.app.workspace_lock import hold_workspace
from seamline.domain.clock import Clock
from seamline.domain.errors import Refused, SeamlineError
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.processes import is_alive
from seamline.serve.snapshots.snapshot import ServingSnapshot, snapshot_path
from seamline.store.blobs import Blobs

LOG = logging.getLogger("seamline.serve")
SWAP_S = 120.0


@dataclass(frozen=True)
class FarPlane:
    """What is asked for. `pinned`: a key's id or text; empty takes the one of the first answer."""

    root: Path
    origin: Origin
    environment: str
    pinned: str
    host: str
    require_tokens: bool
    port: int
    grpc_port: int
    workers: int


def serve_far(
    wanted: FarPlane,
    clock: Clock,
    stop: threading.Event,
    announce: Callable[[DataPlane, Follower, bool], None],
) -> None:
    """Until `stop`. Raises where nothing can be served: no origin, and nothing from before."""
    wanted.root.mkdir(parents=True, exist_ok=True)
    with hold_workspace(wanted.root):
        follower = make_follower(wanted, clock)
        first = _first_look(follower, wanted)
        access = AccessFollower(wanted.root, wanted.origin, wanted.environment)
        access.begin()
        teller = Teller(wanted.root, wanted.origin, wanted.environment)
        plane, adopted = _start(wanted, wanted.port)
        follower.on_taken = lambda snapshot: _await_swap(follower, snapshot)
        announce(plane, follower, adopted)
        threads = [
            threading.Thread(target=one, args=(stop,), daemon=True)
            for one in (
                follower.follow,
                follower.fetch_later,
                follower.ship,
                access.follow,
                teller.follow,
            )
        ]
        if first is not None:
            threads.append(threading.Thread(target=follower.on_taken, args=(first,), daemon=True))
        for thread in threads:
            thread.start()
        try:
            while not stop.wait(LOOK_S):
                if not is_alive(plane.identity):
                    plane = start_again(plane, partial(_start, wanted))
        finally:
            with contextlib.suppress(SeamlineError):
                teller.tell()
            stop_data_plane(plane)
            # Its segments are finished now; what is not taken is sent when it is started again.
            with contextlib.suppress(SeamlineError):
                follower.ship_finished()


def make_follower(wanted: FarPlane, clock: Clock) -> Follower:
    """Raises Refused for a folder that is somebody else's, or a key that is another one's."""
    root = wanted.root
    if (root / "seamline.db").exists():
        raise Refused(
            f"{root} is a workspace of its own.",
            next_step="Choose another folder with --workspace: this one's snapshots would be lost.",
        )
    pin = read_pin(root)
    if pin is not None and pin.environment != wanted.environment:
        raise Refused(
            f"{root} follows {pin.environment} of {pin.url}.",
            next_step=f"Choose another folder for {wanted.environment} with --workspace.",
        )
    taking = Taking(
        root,
        wanted.origin,
        Blobs(root / "blobs", clock),
        EnvironmentCache(root / "environments", Path(sys.executable)),
        clock,
        Downloads(root / ARRIVING, wanted.origin),
    )
    if pin is None:
        return Follower(taking, wanted.environment, wanted.pinned)
    if wanted.pinned:
        check_wanted(pin, wanted.pinned)
    return Follower(taking, wanted.environment, pin.public_key)


def _first_look(follower: Follower, wanted: FarPlane) -> ServingSnapshot | None:
    """With nothing from before, what is wrong is said at once."""
    has_some = snapshot_path(wanted.root, wanted.environment).exists()
    if has_some and known_key(wanted.root) is not None:
        return None  # serving begins at once; `follow` looks next
    return follower.look(0.0)


def _start(wanted: FarPlane, port: int) -> tuple[DataPlane, bool]:
    return start_or_adopt(
        wanted.root,
        wanted.host,
        port,
        wanted.grpc_port,
        wanted.workers,
        require_tokens=wanted.require_tokens,
    )


def _await_swap(follower: Follower, snapshot: ServingSnapshot) -> None:
    """Says whether the data plane has taken it; what only the one before needed goes then."""
    found = find_data_plane(follower.taking.root)
    if found is None:
        return
    query = f"?version={snapshot.version}&wait_s={SWAP_S:.0f}"
    state = ask_snapshot(found.url, snapshot.environment, query, timeout_s=SWAP_S + 5)
    if state.get("version") != snapshot.version:
        LOG.error(
            "snapshot %d of %s is not served: %s",
            snapshot.version, snapshot.environment, state.get("error") or "it is still loading",
        )  # fmt: skip
        return
    LOG.info(
        "%s serves snapshot %d, release %s",
        snapshot.environment, snapshot.version, snapshot.release_alias or "none",
    )  # fmt: skip
    follower.taking.forget_others(snapshot)
