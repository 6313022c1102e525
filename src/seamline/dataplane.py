"""The data plane's process: `python -m seamline.dataplane --root DIR --host 127.0.0.1 --port N`.

Started by the control plane and outliving it: it reads signed snapshots and writes log segments,
and imports neither the database nor the control plane.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import fcntl
import json
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from seamline.domain.clock import Clock, SystemClock, iso
from seamline.domain.errors import SeamlineError
from seamline.protocols.oip_connections import Connection
from seamline.protocols.oip_grpc import GrpcServer, start_grpc
from seamline.protocols.oip_http import Receive, Scope, Send
from seamline.protocols.oip_rest import OipApp
from seamline.runtime.imports import WithoutPandas
from seamline.runtime.processes import current_identity
from seamline.serve import feedback, prediction_log
from seamline.serve.feedback import FeedbackRow, feedback_batches, place_of_feedback
from seamline.serve.log_entries import Entry, place_of_entry
from seamline.serve.log_metrics import LogMetrics
from seamline.serve.metrics import Metrics
from seamline.serve.plane import Plane
from seamline.serve.predict import Predictor
from seamline.serve.prediction_log import (
    PredictionBatches,
    load_or_create_privacy_key,
)
from seamline.serve.segment_log import SegmentLog
from seamline.store.blobs import write_atomically
from seamline.trust.requests import LOOPBACK_NAMES

DRAIN_S = 10
USAGE_ERROR = 2


class DataPlane:
    """Everything that runs in the process; built inside its event loop."""

    def __init__(self, root: Path, public_key_path: Path, clock: Clock) -> None:
        self.metrics = Metrics()
        self.plane = Plane(root, public_key_path, self.metrics)
        self.predictions: SegmentLog[Entry] = SegmentLog(
            root / "logs" / prediction_log.FOLDER,
            prediction_log.SCHEMA,
            PredictionBatches(load_or_create_privacy_key(root / "keys" / "privacy.key")),
            place_of_entry,
            clock,
            interval_s=prediction_log.INTERVAL_S,
            watcher=LogMetrics(self.metrics, prediction_log.FOLDER),
        )
        # Whoever sends feedback waits for it, and is told at once: nothing has to be kept.
        self.feedback: SegmentLog[Sequence[FeedbackRow]] = SegmentLog(
            root / "logs" / feedback.FOLDER,
            feedback.SCHEMA,
            feedback_batches,
            place_of_feedback,
            clock,
            interval_s=0.0,
            keeps=False,
            watcher=LogMetrics(self.metrics, feedback.FOLDER),
        )
        self.predictor = Predictor(self.plane, self.predictions, self.metrics, clock)
        self.app = OipApp(self.predictor, self.feedback, host_names=LOOPBACK_NAMES)

    async def close(self) -> None:
        """After the last request: workers end, and what was logged is made durable."""
        await self.plane.close()
        await asyncio.to_thread(self.predictions.close)
        await asyncio.to_thread(self.feedback.close)


class Server(uvicorn.Server):
    """uvicorn around a DataPlane: says where it answers once it does, drains at the end."""

    def __init__(
        self,
        root: Path,
        public_key_path: Path,
        listener: socket.socket,
        grpc_port: int | None = None,
    ) -> None:
        self._root, self._public_key_path = root, public_key_path
        self._grpc_port = grpc_port
        self._grpc: GrpcServer | None = None
        self.refusal = ""
        self._listener = listener
        self._clock = SystemClock()
        self._data_plane: DataPlane | None = None
        super().__init__(
            uvicorn.Config(
                self._answer,
                loop="uvloop",
                http=Connection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                proxy_headers=False,
                log_level="warning",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._data_plane = DataPlane(self._root, self._public_key_path, self._clock)
        self._data_plane.plane.start()
        host, port = self._listener.getsockname()[:2]
        try:
            if self._grpc_port is not None:
                self._grpc = await start_grpc(self._data_plane.predictor, host, self._grpc_port)
        except SeamlineError as error:
            self.refusal = str(error)
            await self._data_plane.close()
            self.should_exit = True
            return
        await super().startup(sockets)
        document = {
            "schema": 1,
            **dataclasses.asdict(current_identity()),
            "host": host,
            "port": port,
            "grpc_port": None if self._grpc is None else self._grpc.port,
            "started_at": iso(self._clock.now()),
        }
        write_atomically(_address_path(self._root), json.dumps(document).encode())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        _address_path(self._root).unlink(missing_ok=True)
        if self._grpc is not None:
            await self._grpc.close()
        await super().shutdown(sockets)
        if self._data_plane is not None:
            await self._data_plane.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._data_plane is not None  # uvicorn calls after startup only
        await self._data_plane.app(scope, receive, send)


def main(
    root: Path,
    host: str,
    port: int,
    public_key_path: Path | None = None,
    grpc_port: int | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code.

    `public_key_path`: the key that snapshots must be signed with, `<root>/keys/signing.pub`.
    `grpc_port`: 0 takes a free one, None does without.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    sys.meta_path.insert(0, WithoutPandas())
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    with (root / "dataplane.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _refuse(f"another one serves {root} already; end it first")
        try:
            listener = _listen(host, port)
        except (OSError, ValueError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            return _refuse(f"cannot bind to {host}:{port}: {why}")
        key_path = public_key_path or root / "keys" / "signing.pub"
        refusal = _serve(Server(root, key_path, listener, grpc_port), listener)
    return _refuse(refusal) if refusal else 0


def _refuse(why: str) -> int:
    print(f"seamline dataplane: {why}", file=sys.stderr)
    return USAGE_ERROR


def _serve(server: Server, listener: socket.socket) -> str:
    """Why it did not serve at all, if so."""
    # uvicorn raises the signal once more when it has drained: it has done its work by then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    server.run(sockets=[listener])
    return server.refusal


def _listen(host: str, port: int) -> socket.socket:
    """Loopback only: the data plane knows no tokens, so nobody else may reach it directly."""
    address = ip_address("127.0.0.1" if host == "localhost" else host)
    if not address.is_loopback:
        raise ValueError("it answers without tokens; bind to 127.0.0.1 and put a proxy before it")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
    except OSError:
        listener.close()
        raise
    return listener


def _address_path(root: Path) -> Path:
    return root / "dataplane.json"


def _run_from_command_line() -> int:
    parser = argparse.ArgumentParser(prog="python -m seamline.dataplane")
    parser.add_argument("--root", type=Path, required=True, help="the workspace's folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--grpc-port", type=int, help="0 takes a free one; not given: no gRPC")
    given = parser.parse_args()
    return main(given.root, given.host, given.port, grpc_port=given.grpc_port)


if __name__ == "__main__":
    sys.exit(_run_from_command_line())
