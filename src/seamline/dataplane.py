"""The data plane's process: `python -m seamline.dataplane --root DIR --host 127.0.0.1 --port N`.

Started by the control plane and outliving it. Imports little itself: the workers of the models that
were served last load while the rest of the plane is imported (plane_server.py). With `--workers N`
above 1 it becomes the supervisor of several such processes (supervisor.py), which are started with
`--member`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvloop

from seamline.domain.errors import Conflict
from seamline.runtime.imports import WithoutPandas, silence_onnx_runtime
from seamline.serve.place import bind_alone, bind_shared, check_host, hold_place, place_parser
from seamline.serve.workers.ahead import StartedAhead

USAGE_ERROR = 2


def main(
    root: Path,
    host: str,
    port: int,
    public_key_path: Path | None = None,
    grpc_port: int | None = None,
    *,
    require_tokens: bool = False,
) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code.

    `public_key_path`: the key that snapshots must be signed with, `<root>/keys/signing.pub`.
    `grpc_port`: 0 takes a free one, None does without. `require_tokens`: whatever the access list
    says; beyond loopback it has to.
    """
    _prepare_process()
    root = root.resolve()
    try:
        with hold_place(root):
            check_host(host, port, require_tokens)
            listener = bind_alone(host, port)
            refusal = _run(
                root, listener, public_key_path, grpc_port, require_tokens=require_tokens
            )
    except Conflict as error:
        refusal = str(error)
    return _refuse(refusal) if refusal else 0


def serve_as_member(
    root: Path,
    host: str,
    port: int,
    member: socket.socket,
    grpc_port: int | None = None,
    *,
    require_tokens: bool = False,
) -> int:
    """One process of a group, until its supervisor ends it, or ends. `port`: claimed by that."""
    _prepare_process()
    try:
        listener = bind_shared(host, port)
    except Conflict as error:
        return _refuse(str(error))
    refusal = _run(root, listener, None, grpc_port, member, require_tokens=require_tokens)
    return _refuse(refusal) if refusal else 0


def _run(
    root: Path,
    listener: socket.socket,
    public_key_path: Path | None,
    grpc_port: int | None,
    member: socket.socket | None = None,
    *,
    require_tokens: bool,
) -> str:
    """Why it did not serve at all, if so."""
    key_path = public_key_path or root / "keys" / "signing.pub"

    async def run() -> str:
        ahead = StartedAhead()
        await ahead.start(root, key_path)
        # Only now: the processes that were started do the same meanwhile.
        from seamline.plane_server import Server, serve_plane

        server = Server(
            root, key_path, listener, grpc_port, member, ahead, require_tokens=require_tokens
        )
        return await serve_plane(server, listener, is_member=member is not None)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def _prepare_process() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    sys.meta_path.insert(0, WithoutPandas())
    silence_onnx_runtime()  # here, for no other thread reads the environment yet


def _refuse(why: str) -> int:
    print(f"seamline dataplane: {why}", file=sys.stderr)
    return USAGE_ERROR


def _run_from_command_line() -> int:
    parser = place_parser("seamline.dataplane")
    parser.add_argument("--member", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.member is not None:
        # Ctrl-C goes to the supervisor, too, which ends this process in its own time.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        member = socket.socket(fileno=given.member)
        return serve_as_member(
            given.root,
            given.host,
            given.port,
            member,
            given.grpc_port,
            require_tokens=given.require_tokens,
        )
    if given.workers > 1:
        # The same process goes on as something smaller: no interpreter stays for nothing.
        script = [sys.executable, "-m", "seamline.supervisor", *sys.argv[1:]]
        os.execv(sys.executable, script)  # noqa: S606  (the very program that runs)
    return main(
        given.root,
        given.host,
        given.port,
        grpc_port=given.grpc_port,
        require_tokens=given.require_tokens,
    )


if __name__ == "__main__":
    sys.exit(_run_from_command_line())
