"""The data plane and the server around it, once its process has begun (dataplane.py).

It reads signed snapshots and writes log segments, and imports neither the database nor the control
plane.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import pyarrow as pa
import uvicorn

from seamline.domain.clock import Clock, SystemClock
from seamline.domain.errors import MachineryError, SeamlineError
from seamline.protocols.oip_connections import Connection
from seamline.protocols.oip_grpc import GrpcServer, start_grpc
from seamline.protocols.oip_http import Receive, Scope, Send
from seamline.protocols.oip_quick_answers import Coming
from seamline.protocols.oip_rest import OipApp
from seamline.serve.callers.access import Access
from seamline.serve.group.member import Member, end_with_supervisor
from seamline.serve.log import feedback, prediction_log
from seamline.serve.log.entries import Entry, place_of_entry
from seamline.serve.log.feedback import FeedbackRow, feedback_batches, place_of_feedback
from seamline.serve.log.metrics import LogMetrics
from seamline.serve.log.prediction_log import PredictionBatches
from seamline.serve.log.privacy import load_or_create_privacy_key, privacy_key_path
from seamline.serve.log.segment_log import SegmentLog
from seamline.serve.metrics import Metrics
from seamline.serve.patience import Watch
from seamline.serve.place import (
    address_path,
    write_address,
)
from seamline.serve.plane import Plane
from seamline.serve.predict import Predictor
from seamline.serve.snapshots.places import follows_another
from seamline.serve.steering import OnePlane
from seamline.serve.tracing import start_tracing
from seamline.serve.workers.ahead import StartedAhead
from seamline.trust.requests import LOOPBACK_NAMES

DRAIN_S = 10
#: New containers until the youngest are searched for cycles. Requests leave none behind, and at
#: Python's own 700 those in flight would be searched several times a batch.
GARBAGE_AFTER = 20_000


class DataPlane:
    """Everything that runs in the process; built inside its event loop."""

    def __init__(
        self,
        root: Path,
        public_key_path: Path,
        clock: Clock,
        member: Member | None = None,
        ahead: StartedAhead | None = None,
        *,
        require_tokens: bool = False,
    ) -> None:
        self.metrics = Metrics()
        self.access = Access(root, public_key_path, self.metrics, clock, is_required=require_tokens)
        self.plane = Plane(root, public_key_path, self.metrics, ahead)
        machine = socket.gethostname() if follows_another(root) else None
        self.predictions: SegmentLog[Entry] = SegmentLog(
            root / "logs" / prediction_log.FOLDER,
            prediction_log.SEGMENT_SCHEMA,
            PredictionBatches(load_or_create_privacy_key(privacy_key_path(root)), machine),
            place_of_entry,
            clock,
            interval_s=prediction_log.INTERVAL_S,
            watcher=LogMetrics(self.metrics, prediction_log.FOLDER),
        )
        # Whoever sends feedback waits for it, and is told at once: nothing has to be kept.
        self.feedback: SegmentLog[Sequence[FeedbackRow]] = SegmentLog(
            root / "logs" / feedback.FOLDER,
            feedback.SCHEMA,
            partial(feedback_batches, plane=machine),
            place_of_feedback,
            clock,
            interval_s=0.0,
            keeps=False,
            watcher=LogMetrics(self.metrics, feedback.FOLDER),
        )
        self.tracing = start_tracing(os.environ, self.metrics)
        self.predictor = Predictor(
            self.plane, self.predictions, self.metrics, clock, tracing=self.tracing
        )
        self.member = member
        self.steering = OnePlane(root, self.plane, self.metrics) if member is None else member
        self.app = OipApp(
            self.predictor,
            self.feedback,
            self.access,
            host_names=LOOPBACK_NAMES,
            steering=self.steering,
        )

    async def begin(self) -> bool:
        """Takes snapshots from now on; one of a group has taken what the others serve by then.
        False where there is no group any more."""
        await self.access.start()
        if self.member is not None:
            return await self.member.join(self.plane, self.metrics)
        self.plane.start()
        return True

    async def close(self) -> None:
        """After the last request: workers end, and what was logged is made durable."""
        await self.access.close()
        await self.plane.close()
        await asyncio.to_thread(self.predictions.close)
        await asyncio.to_thread(self.feedback.close)
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)


class Server(uvicorn.Server):
    """uvicorn around a DataPlane: says where it answers once it does, drains at the end."""

    def __init__(
        self,
        root: Path,
        public_key_path: Path,
        listener: socket.socket,
        grpc_port: int | None = None,
        member: socket.socket | None = None,
        ahead: StartedAhead | None = None,
        *,
        require_tokens: bool = False,
    ) -> None:
        self._root, self._public_key_path, self._ahead = root, public_key_path, ahead
        self._require_tokens = require_tokens
        self._grpc_port, self._given = grpc_port, member
        self._grpc: GrpcServer | None = None
        self.refusal = ""
        self._listener = listener
        self._clock = SystemClock()
        self._data_plane: DataPlane | None = None
        super().__init__(
            uvicorn.Config(
                self._answer,
                loop="uvloop",
                http=cast(type[asyncio.Protocol], partial(Connection, answer=self._answer_quick)),
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
        member = None if self._given is None else Member(self._given)
        plane = DataPlane(
            self._root,
            self._public_key_path,
            self._clock,
            member,
            self._ahead,
            require_tokens=self._require_tokens,
        )
        self._data_plane = plane
        host, port = self._listener.getsockname()[:2]
        try:
            if not await plane.begin():
                raise MachineryError("The supervisor of this process has gone.")
            if self._grpc_port is not None:
                self._grpc = await start_grpc(
                    plane.predictor,
                    plane.access,
                    plane.steering,
                    host,
                    self._grpc_port,
                    shared=member is not None,
                )
        except SeamlineError as error:
            self.refusal = str(error)
            await plane.close()
            self.should_exit = True
            return
        await super().startup(sockets)
        _settle_garbage()
        if member is not None:
            member.opened()
            return
        grpc_port = None if self._grpc is None else self._grpc.port
        write_address(self._root, self._clock, host, port, grpc_port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._given is None:
            address_path(self._root).unlink(missing_ok=True)
        if self._grpc is not None:
            await self._grpc.close()
        await super().shutdown(sockets)
        if self._data_plane is not None:
            await self._data_plane.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._data_plane is not None  # uvicorn calls after startup only
        await self._data_plane.app(scope, receive, send)

    def _answer_quick(
        self, method: str, path: str, headers: dict[bytes, bytes], body: bytes, watch: Watch
    ) -> Coming:
        assert self._data_plane is not None
        return self._data_plane.app.answer(method, path, headers, body, watch)


async def serve_plane(server: Server, listener: socket.socket, *, is_member: bool) -> str:
    """Until SIGTERM or SIGINT. Why it did not serve at all, if so."""
    # uvicorn raises the signal once more when it has drained: it has done its work by then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    # What is logged in a twentieth of a second is small: Arrow's own pool holds 11 MB for it.
    pa.set_memory_pool(pa.system_memory_pool())
    if is_member:
        end_with_supervisor(2 * DRAIN_S)
    await server.serve([listener])
    return server.refusal


def _settle_garbage() -> None:
    """What is there by now stays: it is not searched again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER)
