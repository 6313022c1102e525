"""Traces as an OpenTelemetry collector receives them: OTLP over HTTP, read by its own messages."""

from __future__ import annotations

import gzip
import os
import re
import runpy
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tritonclient.grpc
import tritonclient.http
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from tests.waiting import wait_until

from seamline.serve.log.tables import read_segments

serve = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["_serve"]
PATIENCE_S = 120.0
CALLER = "00f067aa0ba902b7"

PREDICT = "/v2/models/sums/predict"
SPAN_KIND = trace_pb2.Span.SpanKind


class Collector:
    """What was exported, by trace."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.came = threading.Condition()

    def take(self, body: bytes) -> None:
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        with self.came:
            for resource in request.resource_spans:
                self.services.add(attributes(resource.resource)["service.name"])
                for scope in resource.scope_spans:
                    self.spans += scope.spans
            self.came.notify_all()

    def trace(self, trace_id: str) -> dict[str, Any]:
        """Name → span, once the request's own has come: it ends last."""
        with self.came:
            ended = lambda: self._of(trace_id, SPAN_KIND.SPAN_KIND_SERVER)  # noqa: E731
            assert self.came.wait_for(ended, PATIENCE_S)
            return {span.name: span for span in self._of(trace_id)}

    def _of(self, trace_id: str, kind: int | None = None) -> list[Any]:
        mine = [span for span in self.spans if span.trace_id.hex() == trace_id]
        return [span for span in mine if kind is None or span.kind == kind]


def attributes(of: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            zipped = self.headers.get("content-encoding") == "gzip"
            found.take(gzip.decompress(body) if zipped else body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def traced(root: Path, url: str, **variables: str) -> Iterator[Any]:
    """A data plane as an operator starts it who wants traces."""
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root), "--grpc-port", "0"]
    with ExitStack() as ending:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
            for name, value in variables.items():
                patch.setenv(name, value)
            plane = ending.enter_context(serve(root, command))
        yield plane


@pytest.fixture(scope="module")
def traced_plane(collector: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with traced(
        tmp_path_factory.mktemp("traced"), collector.url, OTEL_EXPORTER_OTLP_COMPRESSION="gzip"
    ) as plane:
        yield plane


@pytest.fixture
def trace_id() -> str:
    return os.urandom(16).hex()


def until_logged(plane: Any, prediction_id: str) -> Any:
    """The trace that the log has for it, once it is there."""
    mine = pl.col("prediction_id") == prediction_id
    found = pl.DataFrame()

    def is_there() -> bool:
        nonlocal found
        folder = plane.root / "logs" / "predictions" / "production"
        found = read_segments(folder).filter(mine)
        return found.height > 0

    wait_until(is_there)
    return found["trace_id"][0]


def parent(trace_id: str, flags: str = "01") -> str:
    return f"00-{trace_id}-{CALLER}-{flags}"


def sums(kind: Any) -> list[Any]:
    made = []
    for name in ("a", "b"):
        made.append(kind.InferInput(name, [2], "FP64"))
        made[-1].set_data_from_numpy(np.array([1.5, 2.5]))
    return made


def test_a_callers_trace_goes_on_through_queue_and_model(
    traced_plane: Any, collector: Any, trace_id: str
) -> None:
    with tritonclient.http.InferenceServerClient(traced_plane.http) as client:
        answer = client.infer(
            "sums", sums(tritonclient.http), headers={"traceparent": parent(trace_id)}
        )
    made = answer.get_response()["parameters"]["prediction_id"]
    spans = collector.trace(trace_id)
    assert until_logged(traced_plane, made) == trace_id
    assert set(spans) == {"POST /v2/models/{model}/infer", "queue", "model"}
    request = spans["POST /v2/models/{model}/infer"]
    assert request.parent_span_id.hex() == CALLER
    said = attributes(request)
    assert said["seamline.prediction_id"] == made
    assert (said["http.response.status_code"], said["seamline.rows"]) == (200, 2)
    assert (said["seamline.endpoint"], said["seamline.model_version"]) == ("sums", "1.0.0")
    assert said["seamline.environment"] == "production"
    assert request.status.code == trace_pb2.Status.STATUS_CODE_UNSET
    queue, model = spans["queue"], spans["model"]
    assert {queue.parent_span_id, model.parent_span_id} == {request.span_id}
    assert attributes(model) == {"seamline.batch.rows": 2}
    times = [
        request.start_time_unix_nano, queue.start_time_unix_nano, queue.end_time_unix_nano,
        model.start_time_unix_nano, model.end_time_unix_nano, request.end_time_unix_nano,
    ]  # fmt: skip
    assert times == sorted(times) and queue.end_time_unix_nano == model.start_time_unix_nano
    assert collector.services == {"seamline-dataplane"}


def test_metadata_of_grpc_carries_it_too(traced_plane: Any, collector: Any, trace_id: str) -> None:
    client = tritonclient.grpc.InferenceServerClient(traced_plane.grpc)
    headers = {"traceparent": parent(trace_id), "seamline-environment": "staging"}
    client.infer("sums", sums(tritonclient.grpc), headers=headers)
    client.close()
    spans = collector.trace(trace_id)
    assert set(spans) == {"inference.GRPCInferenceService/ModelInfer", "queue", "model"}
    request = spans["inference.GRPCInferenceService/ModelInfer"]
    said = attributes(request)
    assert request.parent_span_id.hex() == CALLER
    assert (said["rpc.system"], said["rpc.grpc.status_code"]) == ("grpc", 0)
    assert said["seamline.environment"] == "staging"


def test_a_refused_request_is_a_trace_without_what_was_sent(
    traced_plane: Any, collector: Any, trace_id: str
) -> None:
    body = [{"a": 1.0, "b": "very-private"}]
    status, said, _ = traced_plane.ask("POST", PREDICT, body, traceparent=parent(trace_id))
    assert status == 400 and "very-private" in said["error"]
    spans = collector.trace(trace_id)
    assert set(spans) == {"POST /v2/models/{model}/predict"}
    request = spans["POST /v2/models/{model}/predict"]
    assert attributes(request)["error.type"] == "InvalidInput"
    assert attributes(request)["http.response.status_code"] == 400
    assert request.status.code == trace_pb2.Status.STATUS_CODE_UNSET
    assert b"very-private" not in request.SerializeToString()


@pytest.mark.parametrize(
    "header", ["", "00-zz-yy-01", f"00-{'0' * 32}-{CALLER}-01", "ff" * 5000, "\xff\xfe"]
)
def test_a_broken_header_begins_a_trace_of_its_own(
    traced_plane: Any, collector: Any, header: str
) -> None:
    status, said, _ = traced_plane.ask("POST", PREDICT, [{"a": 1.0}], traceparent=header)
    assert status == 200
    made = said["prediction_id"]

    def mine() -> list[Any]:
        return [one for one in collector.spans if prediction_of(one) == made]

    with collector.came:
        assert collector.came.wait_for(mine, PATIENCE_S)
    assert mine()[0].parent_span_id == b""


def prediction_of(span: Any) -> Any:
    return attributes(span).get("seamline.prediction_id")


def test_what_the_caller_does_not_sample_is_not_sent(
    traced_plane: Any, collector: Any, trace_id: str
) -> None:
    left_out = os.urandom(16).hex()
    _, said, _ = traced_plane.ask(
        "POST", PREDICT, [{"a": 1.0}], traceparent=parent(left_out, flags="00")
    )
    traced_plane.ask("POST", PREDICT, [{"a": 1.0}], traceparent=parent(trace_id))
    collector.trace(trace_id)
    assert left_out not in {span.trace_id.hex() for span in collector.spans}
    assert until_logged(traced_plane, said["prediction_id"]) == left_out


def test_a_collector_that_is_gone_costs_no_answer_and_is_counted(
    tmp_path: Path,
) -> None:
    with socket.socket() as nobody:  # bound and not listening: refused, and nobody else's
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with traced(tmp_path, url, OTEL_EXPORTER_OTLP_TIMEOUT="1") as plane:
            for _ in range(20):
                assert plane.ask("POST", PREDICT, [{"a": 1.0}])[0] == 200
            lost = re.compile(r'^seamline_trace_spans_total{outcome="lost"} [1-9]', re.MULTILINE)
            wait_until(lambda: lost.search(plane.ask("GET", "/metrics")[1].decode()))
            assert plane.ask("POST", PREDICT, [{"a": 1.0}])[0] == 200
