"""A request's span, named and described as OpenTelemetry's conventions say for its protocol."""

from __future__ import annotations

from collections.abc import Iterable

from seamline.protocols.oip_http import Request
from seamline.serve.routing import DEFAULT_ENVIRONMENT
from seamline.serve.tracing import RequestTrace, Tracing, trace_id_of

TRACEPARENT = b"traceparent"
RPC = "inference.GRPCInferenceService"


def begin_http(tracing: Tracing, request: Request) -> RequestTrace | None:
    """The route, not the path, names it: a stranger's spelling must not make a name."""
    prefix = "" if request.environment == DEFAULT_ENVIRONMENT else "/{environment}"
    route = f"{prefix}/v2/models/{{model}}/{request.parts[-1]}"
    carried = {
        name: value for name in tracing.fields if (value := request.text(name.encode())) is not None
    }
    return tracing.begin(
        f"{request.method} {route}",
        carried,
        {"http.request.method": request.method, "http.route": route},
    )


def end_http(trace: RequestTrace, status: int, error: str) -> None:
    trace.end(status, {"http.response.status_code": status}, error)


def id_of_trace(request: Request, trace: RequestTrace | None) -> str | None:
    """What the log has: the caller's, where the request is not traced here."""
    if trace is not None:
        return trace.trace_id
    return trace_id_of(request.text(TRACEPARENT)) if TRACEPARENT in request.headers else None


def begin_grpc(
    tracing: Tracing, method: str, metadata: Iterable[tuple[str, str | bytes]]
) -> RequestTrace | None:
    carried = {key: str(value) for key, value in metadata if key in tracing.fields}
    attributes = {"rpc.system": "grpc", "rpc.service": RPC, "rpc.method": method}
    return tracing.begin(f"{RPC}/{method}", carried, attributes)


def id_of_call(
    metadata: Iterable[tuple[str, str | bytes]], trace: RequestTrace | None
) -> str | None:
    """As `id_of_trace`."""
    if trace is not None:
        return trace.trace_id
    named = (str(value) for key, value in metadata if key == TRACEPARENT.decode())
    return trace_id_of(next(named, None))


def end_grpc(trace: RequestTrace, status: int, code: int, error: str) -> None:
    """`status`: what HTTP would answer; `code`: what gRPC does."""
    trace.end(status, {"rpc.grpc.status_code": code}, error)
