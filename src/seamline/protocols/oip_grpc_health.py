"""The standard health service of gRPC, which orchestrators and load balancers ask.

A `service` is an environment; none, and the inference service's name, are production: whoever
probes can send no metadata. It tells of readiness, as `ServerReady` does, and nothing else: what
else could be asked (`Watch`, `List`) is not served.
"""

from __future__ import annotations

from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.protocols.oip_messages import SERVICE, load_messages, reader_of
from seamline.serve.plane import Plane
from seamline.serve.routing import DEFAULT_ENVIRONMENT

HEALTH = "grpc.health.v1"
MESSAGES = {"HealthCheckRequest": ("string service",), "HealthCheckResponse": ("int32 status",)}
SERVING, NOT_SERVING = 1, 2


def health_service(grpc: Any, plane: Plane) -> Any:
    messages = load_messages(HEALTH, MESSAGES)
    read, response = reader_of(messages["HealthCheckRequest"]), messages["HealthCheckResponse"]

    async def check(body: bytes, context: Any) -> Any:
        try:
            asked = read(body).service
        except InvalidInput as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        environment = DEFAULT_ENVIRONMENT if asked in ("", SERVICE) else asked
        known = {DEFAULT_ENVIRONMENT, *plane.table.environments}
        if environment not in known:
            says = f"There is no served environment {environment!r}. {nearest(environment, known)}"
            await context.abort(grpc.StatusCode.NOT_FOUND, says)
        is_ready = plane.health(environment)["ready"]
        return response(status=SERVING if is_ready else NOT_SERVING)

    handler = grpc.unary_unary_rpc_method_handler(
        check, response_serializer=response.SerializeToString
    )
    return grpc.method_handlers_generic_handler(f"{HEALTH}.Health", {"Check": handler})
