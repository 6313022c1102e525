"""Open Inference Protocol v2 over HTTP: a raw ASGI application, no framework on the infer path.

`/v2/…` is production, `/{environment}/v2/…` any environment. Every error is `{"error": text}`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence, Set
from urllib.parse import parse_qsl

from seamline.domain import errors
from seamline.domain.errors import InvalidInput, SeamlineError
from seamline.protocols import oip_repository as repository
from seamline.protocols.oip_foreign import explain_path
from seamline.protocols.oip_http import (
    Body,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    error_reply,
    json_reply,
    need,
    need_get,
    read_body,
    send_reply,
    status_of,
    watch_of,
)
from seamline.protocols.oip_metadata import SERVER, find_versioned, model_metadata
from seamline.protocols.oip_openapi import describe
from seamline.protocols.oip_records import read_records, write_records
from seamline.protocols.oip_tensors import (
    PlainReply,
    read_request,
    wanted_outputs,
    write_reply,
)
from seamline.protocols.oip_traces import begin_http, end_http, id_of_trace
from seamline.serve.callers.access import ANYBODY, Access, Caller
from seamline.serve.log.feedback import (
    FeedbackRow,
    read_feedback_body,
    record_feedback,
    rows_of_feedback,
)
from seamline.serve.log.segment_log import SegmentLog
from seamline.serve.patience import LONGEST_WAIT_S, Patience, Watch, limit_of
from seamline.serve.predict import Predictor
from seamline.serve.routing import DEFAULT_ENVIRONMENT, Target
from seamline.serve.snapshots.probes import HEADER
from seamline.serve.steering import Steering
from seamline.serve.tracing import RequestTrace
from seamline.trust.requests import check_request_site
from seamline.trust.roles import Verb

LOG = logging.getLogger(__name__)
MAX_WAIT_S = 120.0
#: A name with another port is another one.
MAX_KNOWN_HOSTS = 16
_PROBE = HEADER.lower().encode()


Answer = Callable[[Request, bytes, Target, Caller, RequestTrace | None], Awaitable[Reply]]


class OipApp:
    """`host_names`: the names this server answers to; None leaves that to a proxy before it.
    `steering`: what concerns other processes of this data plane, too."""

    def __init__(
        self,
        predictor: Predictor,
        feedback_log: SegmentLog[Sequence[FeedbackRow]],
        access: Access,
        *,
        host_names: Set[str] | None,
        steering: Steering,
    ) -> None:
        self._predictor = predictor
        self._plane = predictor.plane
        self._metrics = predictor.metrics
        self._feedback_log = feedback_log
        self._access = access
        self._host_names = host_names
        self._steering = steering
        #: The names by which this server was asked last, so that each is looked at once.
        self._known_hosts: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"{scope['type']} is not served here.")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        method: str = scope["method"]
        reply = await self.answer(
            method, scope["path"], headers, receive, watch_of(scope), scope["query_string"]
        )
        await send_reply(send, method, reply, headers.get(b"accept-encoding", b""))

    async def answer(
        self,
        method: str,
        path: str,
        headers: dict[bytes, bytes],
        body: Body,
        watch: Watch | None,
        query: bytes = b"",
    ) -> Reply:
        """Never raises but when it is cancelled. What is asked of a model awaits futures only, so
        that no task is needed to run it (oip_quick_answers.py)."""
        try:
            if path == "/metrics":
                need_get(method)
                text = await self._steering.scrape()
                return Reply(200, text.encode(), b"text/plain; version=0.0.4; charset=utf-8")
            parts = path.strip("/").split("/")
            if parts[0] == "snapshots" and len(parts) == 2:
                need_get(method)
                return await self._snapshot(parts[1], query)
            environment = DEFAULT_ENVIRONMENT
            if parts[0] not in ("v2", "openapi.json") and len(parts) > 1:
                environment = parts.pop(0)
            if parts[0] not in ("v2", "openapi.json"):
                raise _no_such_path(path)
            asked = "GET" if method == "HEAD" else method
            request = Request(asked, headers, body, environment, tuple(parts[1:]), watch, path)
            self._check_site(request)
            if parts == ["openapi.json"]:
                need(request, "GET")
                caller = await self._caller(request)
                caller.check_enters(environment)
                return json_reply(200, describe(self._plane, environment, caller))
            return await self._v2(request)
        except errors.NotFound as error:
            return error_reply(explain_path(path) or error)
        except SeamlineError as error:
            return error_reply(error)
        except Exception as error:
            LOG.exception("%s %s broke.", method, path)
            broken = errors.MachineryError(f"The data plane broke on this request: {error!r}.")
            return error_reply(broken)

    async def _v2(self, request: Request) -> Reply:
        match request.parts:
            case ("models", model, *rest):
                return await self._model(request, model, rest)
            case ():
                need(request, "GET")
                return json_reply(200, SERVER)
            case ("health", "live"):
                need(request, "GET")
                return json_reply(200, {"live": True})
            case ("health", "ready"):
                need(request, "GET")
                health = self._plane.health(request.environment)
                return json_reply(200 if health["ready"] else 503, health)
            case ("feedback",):
                caller = await self._check_may(request, Verb.PREDICT, None)
                return await self._feedback(request, None, caller)
            case ("repository", "index"):
                return await self._index(request)
            case ("repository", "models", model, "load" | "unload" as verb):
                return await self._load_or_unload(request, model, verb)
        raise _no_such_path(request.path)

    async def _model(self, request: Request, model: str, rest: Sequence[str]) -> Reply:
        version = None
        if len(rest) >= 2 and rest[0] == "versions":
            version, rest = rest[1], rest[2:]
        match rest:
            case ["infer"]:
                need(request, "POST")
                probe = request.headers.get(_PROBE)
                if probe is not None:
                    return await self._infer_probe(request, model, probe)
                return await self._counted(request, model, version, self._infer)
            case ["predict"]:
                need(request, "POST")
                return await self._counted(request, model, version, self._predict)
            case []:
                need(request, "GET")
                (await self._caller(request)).check_sees(request.environment, model)
                return json_reply(200, model_metadata(self._target(request, model, version)))
            case ["ready"]:
                need(request, "GET")
                (await self._caller(request)).check_sees(request.environment, model)
                state = repository.state_of(self._target(request, model, version))
                ready = state.state == repository.READY
                told = {"name": model, "ready": ready, "reason": state.reason}
                if ready:
                    del told["reason"]
                return json_reply(200 if ready else 503, told)
            case ["feedback"]:
                caller = await self._check_may(request, Verb.PREDICT, model)
                if request.environment in self._plane.table.environments:
                    self._target(request, model, version)
                return await self._feedback(request, model, caller)
        raise _no_such_path(request.path)

    def _target(self, request: Request, model: str, version: str | None) -> Target:
        return find_versioned(self._plane, request.environment, model, version)

    async def _counted(
        self, request: Request, model: str, version: str | None, answer: Answer
    ) -> Reply:
        started_s = time.perf_counter()
        status, environment, endpoint = 500, "unknown", "unknown"
        tracing, broke = self._predictor.tracing, "MachineryError"
        trace = None if tracing is None else begin_http(tracing, request)
        try:
            caller = await self._check_may(request, Verb.PREDICT, model)
            body = await read_body(request)
            target = self._target(request, model, version)
            environment, endpoint = request.environment, model
            reply = await answer(request, body, target, caller, trace)
            status, broke = reply.status, ""
            return reply
        except SeamlineError as error:
            status, broke = status_of(error), type(error).__name__
            raise
        finally:
            seconds = time.perf_counter() - started_s
            self._metrics.count_request(environment, endpoint, status, seconds)
            if trace is not None:
                end_http(trace, status, broke)

    async def _infer(
        self,
        request: Request,
        body: bytes,
        target: Target,
        caller: Caller,
        trace: RequestTrace | None,
    ) -> Reply:
        inputs = target.spec.signature.inputs
        message, tensors = read_request(body, _header_length(request), inputs)
        is_plain = not message.outputs and not message.parameters
        wanted = [] if is_plain else wanted_outputs(message, target.spec.signature.outputs)
        timeout = message.parameters.get("timeout") if message.parameters else None
        patience = _patience(request, timeout)
        prediction = await self._predictor.predict(
            target, tensors, message.id, patience, trace, id_of_trace(request, trace),
            caller.principal,
        )  # fmt: skip
        if is_plain:
            plain = PlainReply.of(target).write(prediction, message.id)
            if plain is not None:
                return Reply(200, plain)
            wanted = wanted_outputs(message, target.spec.signature.outputs)
        text, json_length = write_reply(prediction, message.id, wanted)
        if json_length is None:
            return Reply(200, text)
        length = (b"inference-header-content-length", b"%d" % json_length)
        return Reply(200, text, b"application/octet-stream", (length,))

    async def _infer_probe(self, request: Request, model: str, probe: bytes) -> Reply:
        """A gate's question: the control plane signed which release it is for."""
        status = 500
        try:
            body = await read_body(request)
            now = self._predictor.clock.now()
            target = self._plane.find_probed(probe, model, request.environment, now)
            inputs = target.spec.signature.inputs
            message, tensors = read_request(body, _header_length(request), inputs)
            wanted = wanted_outputs(message, target.spec.signature.outputs)
            prediction = await self._predictor.answer_probe(target, tensors)
            text, _ = write_reply(prediction, message.id, wanted)
            status = 200
        except SeamlineError as error:
            status = status_of(error)
            raise
        finally:
            labels = (("endpoint", model if status == 200 else "unknown"), ("status", str(status)))
            self._metrics.add("seamline_probe_requests_total", labels)
        return Reply(200, text)

    async def _predict(
        self,
        request: Request,
        body: bytes,
        target: Target,
        caller: Caller,
        trace: RequestTrace | None,
    ) -> Reply:
        tensors, request_id = read_records(body, target.spec)
        patience = _patience(request, None)
        prediction = await self._predictor.predict(
            target, tensors, request_id, patience, trace, id_of_trace(request, trace),
            caller.principal,
        )  # fmt: skip
        return Reply(200, write_records(prediction, request_id))

    async def _index(self, request: Request) -> Reply:
        need(request, "POST")
        caller = await self._caller(request)
        caller.check_enters(request.environment)
        only_ready = repository.read_index_request(await read_body(request))
        models = repository.list_models(self._plane, request.environment, only_ready)
        seen = [one for one in models if caller.sees(request.environment, one.name)]
        return json_reply(200, seen)

    async def _load_or_unload(self, request: Request, model: str, verb: str) -> Reply:
        need(request, "POST")
        await self._check_may(request, Verb.REQUEST_PROMOTION, model)
        repository.read_load_request(await read_body(request))
        move = self._steering.load if verb == "load" else self._steering.unload
        await move(request.environment, model)
        return json_reply(200, repository.state_of(self._target(request, model, None)))

    async def _feedback(self, request: Request, model: str | None, caller: Caller) -> Reply:
        need(request, "POST")
        self._plane.check_environment(request.environment)
        items = read_feedback_body(await read_body(request))
        rows = rows_of_feedback(
            items, request.environment, model, self._predictor.clock, caller.principal
        )
        await record_feedback(self._feedback_log, rows)
        return json_reply(200, {"accepted": len(rows), "received_id": rows[0].received_id})

    async def _snapshot(self, environment: str, query: bytes) -> Reply:
        """The control plane's question: is this version served yet? Waits up to `wait_s`; with
        `standbys`, until those are warm, too, or failed."""
        given = dict(parse_qsl(query.decode("latin-1")))
        try:
            version, wait_s = int(given.get("version", 0)), float(given.get("wait_s", 0))
        except ValueError:
            raise InvalidInput("version and wait_s are numbers.") from None
        wait_s = max(min(wait_s, MAX_WAIT_S), 0.0) if wait_s == wait_s else 0.0
        state = await self._steering.wait_for_snapshot(
            environment, version, wait_s, with_standbys="standbys" in given
        )
        return json_reply(200, state)

    async def _caller(self, request: Request) -> Caller:
        return await self._access.caller_of(request.text(b"authorization"))

    async def _check_may(self, request: Request, verb: Verb, model: str | None) -> Caller:
        """Before a body is read: whoever sends it."""
        if not self._access.is_required and b"authorization" not in request.headers:
            return ANYBODY  # who may
        caller = await self._caller(request)
        caller.check(verb, request.environment, model)
        return caller

    def _check_site(self, request: Request) -> None:
        """A page of another site must not feed a loopback server. What it sends bears no token."""
        if self._host_names is None or request.method == "GET":
            return
        headers = request.headers
        if self._access.is_required or b"authorization" in headers:
            return
        host = headers.get(b"host", b"")
        of_page = b"origin" in headers or b"sec-fetch-site" in headers
        if host in self._known_hosts and not of_page:
            return
        check_request_site(
            request.method,
            host.decode("latin-1"),
            request.text(b"origin"),
            request.text(b"sec-fetch-site"),
            self._host_names,
        )
        if len(self._known_hosts) < MAX_KNOWN_HOSTS:
            self._known_hosts.add(host)


def _no_such_path(path: str) -> SeamlineError:
    return errors.NotFound(
        f"There is nothing at {path}.",
        next_step="Paths: /v2, /v2/health/ready, /v2/models/NAME/infer, /v2/models/NAME/predict, "
        "/v2/feedback, /openapi.json, /metrics; /ENVIRONMENT/… for another environment than "
        "production.",
    )


def _header_length(request: Request) -> int | None:
    text = request.text(b"inference-header-content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"Inference-Header-Content-Length is {text!r}.")
    return int(text)


def _patience(request: Request, parameter: object) -> Patience:
    header = request.text(b"request-timeout")
    limit = LONGEST_WAIT_S if parameter is None and header is None else limit_of(parameter, header)
    return Patience(limit, request.watch)
