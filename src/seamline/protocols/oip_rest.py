"""Open Inference Protocol v2 over HTTP: a raw ASGI application, no framework on the infer path.

`/v2/…` is production, `/{environment}/v2/…` any environment. Every error is `{"error": text}`.
"""

from __future__ import annotations

import gzip
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from seamline import __version__
from seamline.domain import errors
from seamline.domain.errors import InvalidInput, SeamlineError, not_found
from seamline.protocols.oip_tensors import read_request, wanted_outputs, write_reply
from seamline.serve.feedback import (
    FeedbackRow,
    read_feedback_body,
    record_feedback,
    rows_of_feedback,
)
from seamline.serve.predict import Predictor
from seamline.serve.routing import DEFAULT_ENVIRONMENT, Target
from seamline.serve.segments import SegmentLog
from seamline.serve.snapshot import Column
from seamline.trust.requests import check_request_site

LOG = logging.getLogger(__name__)
MAX_BODY_BYTES = 16 << 20
DISCARDED_BODY_BYTES = 64 << 20
COMPRESS_ABOVE_BYTES = 4096
MAX_WAIT_S = 120.0
JSON = b"application/json"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

STATUS: dict[type[SeamlineError], int] = {
    errors.InvalidInput: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Refused: 422,
    errors.DigestMismatch: 422,
    errors.Unavailable: 503,
}


class TooLarge(InvalidInput):
    pass


class WrongMethod(InvalidInput):
    pass


@dataclass(frozen=True)
class Request:
    method: str
    headers: dict[bytes, bytes]
    receive: Receive
    environment: str
    #: What follows `v2` in the path.
    parts: tuple[str, ...]

    def text(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class OipApp:
    """`host_names`: the names this server answers to; None leaves that to a proxy before it."""

    def __init__(
        self,
        predictor: Predictor,
        feedback_log: SegmentLog[Sequence[FeedbackRow]],
        *,
        host_names: Set[str] | None,
    ) -> None:
        self._predictor = predictor
        self._plane = predictor.plane
        self._metrics = predictor.metrics
        self._feedback_log = feedback_log
        self._host_names = host_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"{scope['type']} is not served here.")
        headers = dict(scope["headers"])
        try:
            reply = await self._answer(scope, headers, receive)
        except SeamlineError as error:
            reply = error_reply(error)
        except Exception as error:
            LOG.exception("%s %s broke.", scope["method"], scope["path"])
            reply = _json(500, {"error": f"The data plane broke on this request: {error!r}."})
        await _send(send, reply, headers, scope["method"] == "HEAD")

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        path: str = scope["path"]
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if path == "/metrics":
            text = self._metrics.render()
            return Reply(200, text.encode(), b"text/plain; version=0.0.4; charset=utf-8")
        parts = path.strip("/").split("/")
        if parts[0] == "snapshots" and len(parts) == 2:
            return await self._snapshot(parts[1], scope["query_string"])
        environment = DEFAULT_ENVIRONMENT
        if parts[0] != "v2" and len(parts) > 1:
            environment = parts.pop(0)
        if parts[0] != "v2":
            raise _no_such_path(path)
        request = Request(method, headers, receive, environment, tuple(parts[1:]))
        self._check_site(request)
        match request.parts:
            case ("models", model, *rest):
                return await self._model(request, model, rest, path)
            case ():
                _need(request, "GET")
                return _json(200, _SERVER)
            case ("health", "live"):
                _need(request, "GET")
                return _json(200, {"live": True})
            case ("health", "ready"):
                _need(request, "GET")
                health = self._plane.health(environment)
                return _json(200 if health["ready"] else 503, health)
            case ("feedback",):
                return await self._feedback(request, None)
        raise _no_such_path(path)

    async def _model(self, request: Request, model: str, rest: list[str], path: str) -> Reply:
        version = None
        if len(rest) >= 2 and rest[0] == "versions":
            version, rest = rest[1], rest[2:]
        match rest:
            case ["infer"]:
                _need(request, "POST")
                return await self._infer(request, model, version)
            case []:
                _need(request, "GET")
                return _json(200, _model_metadata(self._target(request, model, version)))
            case ["ready"]:
                _need(request, "GET")
                ready = self._target(request, model, version).model.worker.is_alive
                return _json(200 if ready else 503, {"name": model, "ready": ready})
            case ["feedback"]:
                if request.environment in self._plane.table.environments:
                    self._target(request, model, version)
                return await self._feedback(request, model)
        raise _no_such_path(path)

    def _target(self, request: Request, model: str, version: str | None) -> Target:
        target = self._plane.find_target(request.environment, model)
        if version is not None and version != target.spec.model_version:
            raise not_found(f"version of {model}", version, [target.spec.model_version])
        return target

    async def _infer(self, request: Request, model: str, version: str | None) -> Reply:
        started_s = time.perf_counter()
        status, endpoint = 500, "unknown"
        try:
            body = await _read_body(request)
            target = self._target(request, model, version)
            endpoint = model
            message, tensors = read_request(body, _header_length(request))
            wanted = wanted_outputs(message, target.spec.signature.outputs)
            prediction = await self._predictor.predict(target, tensors, message.id)
            text, json_length = write_reply(prediction, message.id, wanted)
            status = 200
        except SeamlineError as error:
            status = status_of(error)
            raise
        finally:
            labels = (("environment", request.environment), ("endpoint", endpoint))
            if endpoint == "unknown":
                labels = (("environment", "unknown"), ("endpoint", "unknown"))
            self._metrics.add("seamline_requests_total", (*labels, ("status", str(status))))
            seconds = time.perf_counter() - started_s
            self._metrics.observe("seamline_request_seconds", labels, seconds)
        if json_length is None:
            return Reply(200, text)
        length = (b"inference-header-content-length", b"%d" % json_length)
        return Reply(200, text, b"application/octet-stream", (length,))

    async def _feedback(self, request: Request, model: str | None) -> Reply:
        _need(request, "POST")
        items = read_feedback_body(await _read_body(request))
        rows = rows_of_feedback(items, request.environment, model, self._predictor.clock)
        await record_feedback(self._feedback_log, rows)
        return _json(200, {"accepted": len(rows), "received_id": rows[0].received_id})

    async def _snapshot(self, environment: str, query: bytes) -> Reply:
        """The control plane's question: is this version served yet? Waits up to `wait_s`; with
        `standbys`, until those are warm, too, or failed."""
        given = dict(parse_qsl(query.decode("latin-1")))
        try:
            version, wait_s = int(given.get("version", 0)), float(given.get("wait_s", 0))
        except ValueError:
            raise InvalidInput("version and wait_s are numbers.") from None
        wait_s = min(max(wait_s, 0.0), MAX_WAIT_S)
        state = await self._plane.wait_for_snapshot(
            environment, version, wait_s, with_standbys="standbys" in given
        )
        return _json(200, state)

    def _check_site(self, request: Request) -> None:
        """A page of another site must not feed a loopback server."""
        if self._host_names is None or request.method == "GET":
            return
        check_request_site(
            request.method,
            request.text(b"host") or "",
            request.text(b"origin"),
            request.text(b"sec-fetch-site"),
            self._host_names,
        )


_SERVER = {
    "name": "seamline",
    "version": __version__,
    "extensions": ["binary_tensor_data"],
}


def status_of(error: SeamlineError) -> int:
    if isinstance(error, TooLarge):
        return 413
    if isinstance(error, WrongMethod):
        return 405
    return STATUS.get(type(error), 500)


def error_reply(error: SeamlineError) -> Reply:
    status = status_of(error)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if status == 503:
        headers = ((b"retry-after", b"1"),)
    elif status == 413:
        # What may still be on its way is not read.
        headers = ((b"connection", b"close"),)
    elif isinstance(error, WrongMethod):
        headers = ((b"allow", str(error.details["allowed"]).encode()),)
    reply = _json(status, {"error": str(error)})
    return Reply(reply.status, reply.body, reply.content_type, headers)


def _model_metadata(target: Target) -> dict[str, Any]:
    spec = target.spec
    return {
        "name": spec.endpoint,
        "versions": [spec.model_version],
        "platform": "seamline_wheel",
        "inputs": [_tensor_metadata(column) for column in spec.signature.inputs],
        "outputs": [_tensor_metadata(column) for column in spec.signature.outputs],
        "parameters": {
            "model": spec.model,
            "package_digest": spec.package_digest,
            "release": target.release,
            "environment": target.environment,
        },
    }


def _tensor_metadata(column: Column) -> dict[str, Any]:
    return {"name": column.name, "datatype": column.datatype, "shape": [-1]}


def _need(request: Request, method: str) -> None:
    if request.method != method:
        raise WrongMethod(f"This path takes {method}, not {request.method}.", allowed=method)


def _no_such_path(path: str) -> SeamlineError:
    return errors.NotFound(
        f"There is nothing at {path}.",
        next_step="Paths: /v2, /v2/health/ready, /v2/models/NAME/infer, /v2/feedback, /metrics; "
        "/ENVIRONMENT/v2/… for another environment than production.",
    )


def _header_length(request: Request) -> int | None:
    text = request.text(b"inference-header-content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"Inference-Header-Content-Length is {text!r}.")
    return int(text)


async def _read_body(request: Request) -> bytes:
    """What is beyond the limit is read and thrown away: a client that is still sending would see
    a broken connection instead of the answer. Beyond several times the limit it does."""
    message = await request.receive()
    body: bytes = message.get("body", b"")
    parts, size = [body], len(body)
    while message.get("more_body", False) and size <= DISCARDED_BODY_BYTES:
        message = await request.receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
    if size > MAX_BODY_BYTES:
        raise _too_large(size)
    if len(parts) > 1:
        body = b"".join(parts)
    encoding = request.text(b"content-encoding")
    return body if encoding in (None, "identity") else _decompress(body, encoding or "")


def _decompress(body: bytes, encoding: str) -> bytes:
    if encoding not in ("gzip", "deflate"):
        raise InvalidInput(f"Content-Encoding {encoding!r} is not known: send gzip or deflate.")
    # 32 + 15: either header is recognised.
    reader = zlib.decompressobj(47)
    try:
        data = reader.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise InvalidInput(f"The body is not {encoding}: {error}.") from error
    if reader.unconsumed_tail:
        raise _too_large(MAX_BODY_BYTES + 1)
    if not reader.eof:
        raise InvalidInput(f"The {encoding} body is cut off.")
    return data


def _too_large(size: int) -> TooLarge:
    return TooLarge(
        f"The body has {size} bytes or more; at most {MAX_BODY_BYTES} are read.",
        next_step="Send fewer rows per request.",
    )


def _json(status: int, value: Any) -> Reply:
    return Reply(status, msgspec.json.encode(value))


async def _send(send: Send, reply: Reply, request: dict[bytes, bytes], is_head: bool) -> None:
    body, headers = reply.body, [(b"content-type", reply.content_type), *reply.headers]
    if len(body) > COMPRESS_ABOVE_BYTES and b"gzip" in request.get(b"accept-encoding", b""):
        body = gzip.compress(body, compresslevel=1)
        headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else body})
