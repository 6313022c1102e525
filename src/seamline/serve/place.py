"""Where the data plane of a workspace answers: one lock, one file that says it, one port.

A port for several processes is claimed by who supervises them: bound as nobody else's, opened to
sockets of the same user only then, and never listened on.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from seamline.domain.clock import Clock, iso
from seamline.domain.errors import Conflict
from seamline.runtime.processes import current_identity
from seamline.store.blobs import write_atomically
from seamline.trust.requests import is_loopback


def place_parser(program: str) -> argparse.ArgumentParser:
    """Of the options that say where a data plane answers."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    parser.add_argument("--root", type=Path, required=True, help="the workspace's folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--grpc-port", type=int, help="0 takes a free one; not given: no gRPC")
    parser.add_argument(
        "--require-tokens", action="store_true", help="whoever sends no token gets no answer"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes on the port")
    return parser


@contextmanager
def hold_place(root: Path) -> Iterator[None]:
    """One data plane a workspace; Conflict where there is one."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "dataplane.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another one serves {root} already; end it first") from None
        yield


def check_host(host: str, port: int, require_tokens: bool) -> None:
    """Raises Conflict for what is beyond loopback, where not everybody needs a token."""
    if not require_tokens and not is_loopback(host):
        raise Conflict(
            f"cannot bind to {host}:{port}: it would answer anybody who reaches it; add "
            "--require-tokens, or bind to 127.0.0.1"
        )


def bind_alone(host: str, port: int) -> socket.socket:
    """Bound, and not listening yet. Conflict says why it cannot be."""
    return _bind(host, port, socket.SO_REUSEADDR)


def bind_shared(host: str, port: int) -> socket.socket:
    """One of several on a claimed port; the kernel gives each connection to one that listens."""
    return _bind(host, port, socket.SO_REUSEADDR, socket.SO_REUSEPORT)


def claim_port(host: str, port: int) -> socket.socket:
    """A port (0: a free one) that only `bind_shared` finds free as long as this socket is open.

    Without SO_REUSEPORT while it is bound: else two workspaces of one user would share a port, and
    each would get the other's requests.
    """
    claim = bind_alone(host, port)
    claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return claim


def _bind(host: str, port: int, *options: int) -> socket.socket:
    listener: socket.socket | None = None
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        listener = socket.socket(family, socket.SOCK_STREAM)
        for option in options:
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((str(address), port))
    except (OSError, ValueError, OverflowError) as error:
        if listener is not None:
            listener.close()
        why = getattr(error, "strerror", None) or error
        raise Conflict(f"cannot bind to {host}:{port}: {why}") from error
    return listener


def address_path(root: Path) -> Path:
    return root / "dataplane.json"


def write_address(
    root: Path, clock: Clock, host: str, port: int, grpc_port: int | None, workers: int = 1
) -> None:
    """Who looks for the workspace's data plane reads it: this process, and where it answers."""
    document = {
        "schema": 1,
        **dataclasses.asdict(current_identity()),
        "host": host,
        "port": port,
        "grpc_port": grpc_port,
        "workers": workers,
        "started_at": iso(clock.now()),
    }
    write_atomically(address_path(root), json.dumps(document).encode())
