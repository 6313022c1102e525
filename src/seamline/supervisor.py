"""The process before several data planes: `python -m seamline.dataplane --workers N …` becomes it.

It claims the port, starts the planes, and answers no request itself; so it stays small. When it
goes, however it goes, they finish what they have begun and end with it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from seamline.domain.clock import SystemClock
from seamline.domain.errors import Conflict, SeamlineError
from seamline.serve.group.channel import ChannelLost
from seamline.serve.group.processes import PlaneProcess, start_plane
from seamline.serve.group.supervisor import Answer, Supervisor
from seamline.serve.log.privacy import load_or_create_privacy_key, privacy_key_path
from seamline.serve.place import (
    address_path,
    check_host,
    claim_port,
    hold_place,
    place_parser,
    write_address,
)

#: The planes' own drain (dataplane.py), and what comes after it.
DRAIN_S = 12.0
USAGE_ERROR = 2


def main(
    root: Path,
    host: str,
    port: int,
    workers: int,
    grpc_port: int | None = None,
    *,
    require_tokens: bool = False,
) -> int:
    """Supervises until SIGTERM or SIGINT; returns the exit code. Ports: 0 takes a free one."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    root = root.resolve()
    try:
        with ExitStack() as stack:
            stack.enter_context(hold_place(root))
            check_host(host, port, require_tokens)
            http = stack.enter_context(claim_port(host, port))
            grpc = None if grpc_port is None else stack.enter_context(_claim_grpc(host, grpc_port))
            # Made by one, before there are several who would.
            load_or_create_privacy_key(privacy_key_path(root))
            options = ["--require-tokens"] if require_tokens else []
            asyncio.run(_supervise(root, workers, http, grpc, options))
    except ChannelLost:
        return USAGE_ERROR  # the process that did not start has said why
    except SeamlineError as error:
        print(f"seamline dataplane: {error}", file=sys.stderr)
        return USAGE_ERROR
    return 0


def _claim_grpc(host: str, port: int) -> socket.socket:
    try:
        return claim_port(host, port)
    except Conflict as error:
        raise Conflict(
            f"gRPC cannot bind to {host}:{port}.", next_step="Choose another --grpc-port."
        ) from error


async def _supervise(
    root: Path,
    workers: int,
    http: socket.socket,
    grpc: socket.socket | None,
    options: list[str],
) -> None:
    host, port = http.getsockname()[:2]
    grpc_port = None if grpc is None else int(grpc.getsockname()[1])
    arguments = ["--root", str(root), "--host", host, "--port", str(port), *options]
    arguments += [] if grpc_port is None else ["--grpc-port", str(grpc_port)]

    async def start(number: int, answer: Answer) -> PlaneProcess:
        return await start_plane(number, arguments, answer)

    supervisor = Supervisor(root, workers, start)
    stopping = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopping.set)
    try:
        if not await _started(supervisor, stopping):
            return
        write_address(root, SystemClock(), host, port, grpc_port, workers)
        await stopping.wait()
    finally:
        address_path(root).unlink(missing_ok=True)
        await supervisor.close(DRAIN_S)


async def _started(supervisor: Supervisor, stopping: asyncio.Event) -> bool:
    starting = asyncio.ensure_future(supervisor.start())
    stopped = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.wait([starting])
    return False


def _run_from_command_line() -> int:
    given = place_parser("seamline.supervisor").parse_args()
    return main(
        given.root,
        given.host,
        given.port,
        given.workers,
        given.grpc_port,
        require_tokens=given.require_tokens,
    )


if __name__ == "__main__":
    sys.exit(_run_from_command_line())
