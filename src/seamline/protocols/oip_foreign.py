"""What clients of Triton can ask for beyond the protocol, and is not served here: it is refused by
its name, with what there is instead. To pass over it would be to answer something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from seamline.domain.errors import InvalidInput, NotFound

#: Whose it is → what there is instead.
INSTEAD = {
    "model configuration": "Inputs and outputs: the model's metadata.",
    "statistics": "Counts and latencies: /metrics.",
    "trace settings": "Traces: OTEL_EXPORTER_OTLP_ENDPOINT, when the data plane is started.",
    "log settings": "What it logs goes to its standard error.",
    "shared memory": "Send and receive tensors in binary.",
    "classification": "Ask for the output itself.",
    "generate": "Ask for infer.",
    "streaming": "Ask for ModelInfer.",
}
_PATHS = re.compile(
    r"(?:/[^/]+)?/v2/(?:"
    r"(?P<statistics>models/stats|models/[^/]+(?:/versions/[^/]+)?/stats)"
    r"|(?P<model_configuration>models/[^/]+(?:/versions/[^/]+)?/config)"
    r"|(?P<generate>models/[^/]+(?:/versions/[^/]+)?/generate(?:_stream)?)"
    r"|(?P<trace_settings>(?:models/[^/]+/)?trace/setting)"
    r"|(?P<log_settings>logging)"
    r"|(?P<shared_memory>(?:system|cuda)sharedmemory/.*))/?"
)
#: gRPC methods, by what their names hold.
_METHODS = {
    "ModelConfig": "model configuration",
    "Statistics": "statistics",
    "Trace": "trace settings",
    "LogSettings": "log settings",
    "SharedMemory": "shared memory",
    "Stream": "streaming",
}
_PARAMETERS = {"shared_memory_region": "shared memory", "classification": "classification"}


def explain_path(path: str) -> NotFound | None:
    """For a path at which nothing was found.

    >>> explain_path("/staging/v2/models/m/config").next_step
    "Inputs and outputs: the model's metadata."
    >>> explain_path("/v2/models/m/infer") is None
    True
    """
    found = _PATHS.fullmatch(path)
    if found is None:
        return None
    what = str(found.lastgroup).replace("_", " ")
    return NotFound(f"Triton's {what}: not served here ({path}).", next_step=INSTEAD[what])


def explain_method(method: str, served: Iterable[str]) -> str:
    """For a gRPC method that is not served.

    >>> explain_method("/inference.GRPCInferenceService/ModelStreamInfer", [])
    "Triton's streaming: not served here (ModelStreamInfer). Ask for ModelInfer."
    """
    name = method.rpartition("/")[2]
    for part, what in _METHODS.items():
        if part in name:
            return f"Triton's {what}: not served here ({name}). {INSTEAD[what]}"
    return f"There is no method {method}. Known: {', '.join(sorted(served))}."


def check_parameters(tensor: str, names: Iterable[str]) -> None:
    """Of an input or of a requested output: what they would do to it, nobody would see undone."""
    for name in names:
        what = _PARAMETERS.get(name)
        if what is not None:
            raise InvalidInput(
                f"{tensor} has the parameter {name!r}; Triton's {what} is not served here.",
                next_step=INSTEAD[what],
            )


def make_refuser(grpc: Any, served: Iterable[str]) -> Any:
    """What is asked last: it says why any other method is not served."""

    class Refuser(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            says = explain_method(details.method, served)

            async def refuse(_requests: Any, context: Any) -> None:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, says)

            # A call with one message each way is one with streams, to the server.
            return grpc.stream_stream_rpc_method_handler(refuse)

    return Refuser()
