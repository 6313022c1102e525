"""Open Inference Protocol v2 over gRPC: the same predictions as over HTTP, for clients that speak
nothing else. The environment is named by the metadata `seamline-environment`, the token by
`authorization`.

What came raw is answered raw, what came typed is answered typed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from seamline.domain import errors
from seamline.domain.errors import InvalidInput, SeamlineError
from seamline.protocols import oip_repository as repository
from seamline.protocols.oip_foreign import check_parameters, make_refuser
from seamline.protocols.oip_grpc_health import health_service
from seamline.protocols.oip_http import LONGEST_ERROR, status_of
from seamline.protocols.oip_messages import SERVICE, import_extra, load_messages, reader_of
from seamline.protocols.oip_metadata import SERVER, find_versioned, model_metadata
from seamline.protocols.oip_packed import MAX_BODY_BYTES
from seamline.protocols.oip_raw import HALF_OF_FP32, raw_tensor, to_raw
from seamline.protocols.oip_traces import begin_grpc, end_grpc, id_of_call
from seamline.serve.callers.access import Access, Caller
from seamline.serve.datatypes import DATATYPES, TEXT, to_list
from seamline.serve.inputs.validate import Tensor, TooLarge
from seamline.serve.patience import ClientGone, Patience, TookTooLong, limit_of
from seamline.serve.predict import Prediction, Predictor
from seamline.serve.routing import DEFAULT_ENVIRONMENT
from seamline.serve.snapshots.snapshot import Column
from seamline.serve.steering import Steering
from seamline.trust.roles import Verb

LOG = logging.getLogger(__name__)
ENVIRONMENT_KEY = "seamline-environment"
DRAIN_S = 10.0
#: The first that fits counts.
CODES: tuple[tuple[type[SeamlineError], str], ...] = (
    (TooLarge, "RESOURCE_EXHAUSTED"),
    (TookTooLong, "DEADLINE_EXCEEDED"),
    (ClientGone, "CANCELLED"),
    (errors.InvalidInput, "INVALID_ARGUMENT"),
    (errors.NotFound, "NOT_FOUND"),
    (errors.Unauthenticated, "UNAUTHENTICATED"),
    (errors.Forbidden, "PERMISSION_DENIED"),
    (errors.Refused, "FAILED_PRECONDITION"),
    (errors.Conflict, "FAILED_PRECONDITION"),
    (errors.DigestMismatch, "DATA_LOSS"),
    (errors.Unavailable, "UNAVAILABLE"),
    (SeamlineError, "INTERNAL"),
)
#: Datatype → the field of `contents` that holds it; FP16 has none and always travels raw.
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    TEXT: "bytes_contents",
}


@dataclass(frozen=True)
class GrpcServer:
    server: Any
    port: int

    async def close(self) -> None:
        await self.server.stop(DRAIN_S)


async def start_grpc(
    predictor: Predictor,
    access: Access,
    steering: Steering,
    host: str,
    port: int,
    *,
    shared: bool = False,
) -> GrpcServer:
    """Listens when it returns. Unavailable without the extra, Conflict where the port is taken.

    `shared`: with other processes of this data plane.
    """
    # Workers are started by fork and exec: nothing of gRPC lives on in them that it had to mend.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    grpc = import_extra("grpc")
    aio = import_extra("grpc.aio")
    service = GrpcService(predictor, access, steering, load_messages(), grpc.StatusCode)
    limit = MAX_BODY_BYTES + (64 << 10)
    server = aio.server(
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", int(shared)),
        ]
    )
    served = service.handlers(grpc)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, served),
            health_service(grpc, predictor.plane),
            make_refuser(grpc, served),
        )
    )
    try:
        bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise errors.Conflict(
            f"gRPC cannot bind to {host}:{port}.", next_step="Choose another --grpc-port."
        ) from error
    await server.start()
    return GrpcServer(server, bound)


class GrpcService:
    """One method per call of the protocol, in its names."""

    def __init__(
        self,
        predictor: Predictor,
        access: Access,
        steering: Steering,
        messages: dict[str, Any],
        codes: Any,
    ) -> None:
        self._predictor, self._steering = predictor, steering
        self._plane = predictor.plane
        self._access = access
        self._messages = messages
        self._codes = codes

    def handlers(self, grpc: Any) -> dict[str, Any]:
        calls: dict[str, Callable[[Any, Any, str], Awaitable[Any]]] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ServerMetadata": self.server_metadata,
            "ModelReady": self.model_ready,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.model_infer,
            "RepositoryIndex": self.repository_index,
            "RepositoryModelLoad": self.repository_load,
            "RepositoryModelUnload": self.repository_unload,
        }
        return {
            name: grpc.unary_unary_rpc_method_handler(
                self._guarded(call, name, reader_of(self._messages[f"{name}Request"])),
                response_serializer=self._messages[f"{name}Response"].SerializeToString,
            )
            for name, call in calls.items()
        }

    def _guarded(
        self,
        call: Callable[[Any, Any, str], Awaitable[Any]],
        name: str,
        read: Callable[[bytes], Any],
    ) -> Any:
        async def answer(body: bytes, context: Any) -> Any:
            try:
                return await call(read(body), context, _environment_of(context))
            except SeamlineError as error:
                code, says = code_of(error), str(error)
            except Exception as error:
                LOG.exception("gRPC %s broke.", name)
                code, says = "INTERNAL", f"The data plane broke on this request: {error!r}."
            # Metadata travels in headers, which are short.
            return await context.abort(getattr(self._codes, code), says[: LONGEST_ERROR // 4])

        return answer

    async def _caller(self, context: Any) -> Caller:
        return await self._access.caller_of(_metadata(context, "authorization"))

    async def server_live(self, request: Any, context: Any, environment: str) -> Any:
        return self._messages["ServerLiveResponse"](live=True)

    async def server_ready(self, request: Any, context: Any, environment: str) -> Any:
        ready = self._plane.health(environment)["ready"]
        return self._messages["ServerReadyResponse"](ready=ready)

    async def server_metadata(self, request: Any, context: Any, environment: str) -> Any:
        return self._messages["ServerMetadataResponse"](**SERVER)

    async def model_ready(self, request: Any, context: Any, environment: str) -> Any:
        (await self._caller(context)).check_sees(environment, request.name)
        target = find_versioned(self._plane, environment, request.name, request.version or None)
        ready = repository.state_of(target).state == repository.READY
        return self._messages["ModelReadyResponse"](ready=ready)

    async def model_metadata(self, request: Any, context: Any, environment: str) -> Any:
        (await self._caller(context)).check_sees(environment, request.name)
        target = find_versioned(self._plane, environment, request.name, request.version or None)
        found = model_metadata(target)
        del found["parameters"]
        return self._messages["ModelMetadataResponse"](**found)

    async def model_infer(self, request: Any, context: Any, environment: str) -> Any:
        started_s = time.perf_counter()
        status, served, endpoint = 500, "unknown", "unknown"
        tracing, broke = self._predictor.tracing, "INTERNAL"
        metadata = context.invocation_metadata() or ()
        trace = None if tracing is None else begin_grpc(tracing, "ModelInfer", metadata)
        try:
            caller = await self._caller(context)
            caller.check(Verb.PREDICT, environment, request.model_name)
            version = request.model_version or None
            target = find_versioned(self._plane, environment, request.model_name, version)
            served, endpoint = environment, request.model_name
            tensors = _tensors(request)
            wanted = _wanted(request, target.spec.signature.outputs)
            timeout = _parameters(request.parameters).get("timeout")
            patience = Patience(limit_of(timeout, None))
            request_id = request.id or None
            prediction = await self._predictor.predict(
                target, tensors, request_id, patience, trace, id_of_call(metadata, trace),
                caller.principal,
            )  # fmt: skip
            status, broke = 200, ""
            return self._answer(prediction, request, wanted)
        except SeamlineError as error:
            status, broke = status_of(error), code_of(error)
            raise
        finally:
            seconds = time.perf_counter() - started_s
            self._predictor.metrics.count_request(served, endpoint, status, seconds)
            if trace is not None:
                code = getattr(self._codes, broke or "OK").value[0]
                end_grpc(trace, status, code, broke)

    def _answer(self, prediction: Prediction, request: Any, wanted: Sequence[Column]) -> Any:
        spec = prediction.target.spec
        reply = self._messages["ModelInferResponse"](
            model_name=spec.endpoint, model_version=spec.model_version, id=request.id
        )
        reply.parameters["prediction_id"].string_param = prediction.id
        reply.parameters["release"].string_param = prediction.target.release
        is_raw = bool(request.raw_input_contents)
        is_raw = is_raw or any(column.datatype not in CONTENTS for column in wanted)
        for column in wanted:
            values = prediction.outputs[column.name]
            shape = getattr(values, "shape", (len(values),))
            tensor = reply.outputs.add(name=column.name, datatype=column.datatype, shape=shape)
            if is_raw:
                reply.raw_output_contents.append(to_raw(values, column))
                continue
            plain = values.ravel().tolist() if hasattr(values, "ravel") else to_list(values)
            if column.datatype == TEXT:
                plain = [str(value).encode() for value in plain]
            getattr(tensor.contents, CONTENTS[column.datatype]).extend(plain)
        return reply

    async def repository_index(self, request: Any, context: Any, environment: str) -> Any:
        caller = await self._caller(context)
        caller.check_enters(environment)
        reply = self._messages["RepositoryIndexResponse"]()
        for one in repository.list_models(self._plane, environment, request.ready):
            if not caller.sees(environment, one.name):
                continue
            reply.models.add(name=one.name, version=one.version, state=one.state, reason=one.reason)
        return reply

    async def repository_load(self, request: Any, context: Any, environment: str) -> Any:
        name = request.model_name or request.repository_name
        (await self._caller(context)).check(Verb.REQUEST_PROMOTION, environment, name)
        repository.check_load_parameters(request.parameters)
        await self._steering.load(environment, name)
        return self._messages["RepositoryModelLoadResponse"](model_name=name, isLoaded=True)

    async def repository_unload(self, request: Any, context: Any, environment: str) -> Any:
        name = request.model_name or request.repository_name
        (await self._caller(context)).check(Verb.REQUEST_PROMOTION, environment, name)
        await self._steering.unload(environment, name)
        return self._messages["RepositoryModelUnloadResponse"](model_name=name, isUnloaded=True)


def code_of(error: SeamlineError) -> str:
    return next(code for kind, code in CODES if isinstance(error, kind))


def _environment_of(context: Any) -> str:
    return _metadata(context, ENVIRONMENT_KEY) or DEFAULT_ENVIRONMENT


def _metadata(context: Any, name: str) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return str(value)
    return None


def _parameters(found: Any) -> dict[str, Any]:
    """Whichever choice each of them holds."""
    return {
        name: getattr(one, chosen)
        for name, one in found.items()
        if (chosen := one.WhichOneof("parameter_choice")) is not None
    }


def _tensors(request: Any) -> list[Tensor]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInput(
            f"The request has {len(request.inputs)} inputs and {len(raw)} raw_input_contents.",
            next_step="Send all inputs raw, in their order, or none.",
        )
    found = []
    for at, one in enumerate(request.inputs):
        shape = list(one.shape)
        check_parameters(f"Input {one.name!r}", one.parameters)
        if any(extent < 0 for extent in shape):
            raise InvalidInput(f"Input {one.name!r} has the shape {shape[:8]}.")
        if raw:
            if one.HasField("contents"):
                raise InvalidInput(f"Input {one.name!r} is sent twice, typed and raw.")
            found.append(raw_tensor(one.name, one.datatype, shape, raw[at]))
        else:
            found.append(Tensor(one.name, one.datatype, shape, _typed(one)))
    return found


def _typed(one: Any) -> list[Any]:
    if one.datatype not in DATATYPES and one.datatype != HALF_OF_FP32:
        return []  # refused by name, where all protocols are
    field = CONTENTS.get(one.datatype)
    if field is None:
        raise InvalidInput(
            f"Input {one.name!r}: {one.datatype} has no typed contents.",
            next_step="Send it in raw_input_contents.",
        )
    values = list(getattr(one.contents, field))
    if one.datatype != TEXT:
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        raise InvalidInput(f"Input {one.name!r} holds bytes that are not UTF-8.") from None


def _wanted(request: Any, outputs: tuple[Column, ...]) -> list[Column]:
    known = {column.name: column for column in outputs}
    for one in request.outputs:
        if one.name not in known:
            raise InvalidInput(
                f"There is no output {one.name!r}.", next_step=errors.nearest(one.name, known)
            )
        check_parameters(f"Output {one.name!r}", one.parameters)
    return [known[one.name] for one in request.outputs] or list(outputs)
