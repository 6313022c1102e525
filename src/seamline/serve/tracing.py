"""Traces of requests by OpenTelemetry, for whoever sets its standard variables.

`OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) turns them on; samplers, headers, time-outs,
queues and resource attributes are OpenTelemetry's own variables, read by its SDK. Nothing of it is
imported otherwise. Tracing never stands in the way of an answer: what cannot be sent is counted.

No span holds what was sent or answered: those may be private.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from seamline import __version__
from seamline.domain.clock import SystemClock, new_id
from seamline.serve.metrics import Metrics
from seamline.serve.models.batching import Timing
from seamline.serve.routing import Target

LOG = logging.getLogger(__name__)
SERVICE = "seamline-dataplane"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
#: What was not sent by then is lost: a collector that is gone must not hold up an end.
CLOSE_S = 3.0
SPANS = "seamline_trace_spans_total"
BROKEN = 500
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)")
_NO_TRACE = "0" * 32


@dataclass(frozen=True)
class Tracing:
    """`fields`: the headers that carry a caller's context."""

    provider: Any
    tracer: Any
    propagator: Any
    api: Any
    fields: tuple[str, ...]
    count: Callable[[str, int], None]

    def begin(
        self, name: str, carried: Mapping[str, str], attributes: Mapping[str, Any]
    ) -> RequestTrace | None:
        """None where the sampler leaves this request out."""
        span = self.tracer.start_span(
            name,
            context=self.propagator.extract(carried),
            kind=self.api.SpanKind.SERVER,
            attributes=attributes,
        )
        return RequestTrace(self, span) if span.is_recording() else None

    def close(self) -> None:
        """Sends what waits."""
        ending = threading.Thread(target=self.provider.shutdown, name="end-traces", daemon=True)
        ending.start()
        ending.join(CLOSE_S)


@dataclass(frozen=True)
class RequestTrace:
    """One request's span, with what it waited for below it."""

    tracing: Tracing
    span: Any

    @property
    def trace_id(self) -> str:
        return f"{self.span.get_span_context().trace_id:032x}"

    def tell(self, target: Target, prediction_id: str, rows: int, timing: Timing) -> None:
        """Of a request that came to the model's queue, once it has left it."""
        spec = target.spec
        self.span.set_attributes(
            {
                "seamline.environment": target.environment,
                "seamline.endpoint": spec.endpoint,
                "seamline.model": spec.model,
                "seamline.model_version": spec.model_version,
                "seamline.release": target.release,
                "seamline.route": target.route,
                "seamline.prediction_id": prediction_id,
                "seamline.rows": rows,
            }
        )
        left_ns = timing.left_ns
        if not timing.asked_ns:  # it left before its turn, or many models answer it
            self._below("wait", timing.came_ns, left_ns, {})
            return
        self._below("queue", timing.came_ns, timing.asked_ns, {})
        batch = {"seamline.batch.rows": timing.batch_rows}
        self._below("model", timing.asked_ns, timing.answered_ns or left_ns, batch)

    def end(self, status: int, attributes: Mapping[str, Any], error: str) -> None:
        """`status` as HTTP has it; `error`: the kind of it."""
        self.span.set_attributes(dict(attributes))
        if error:
            self.span.set_attribute("error.type", error)
        if status >= BROKEN:
            self.span.set_status(self.tracing.api.StatusCode.ERROR)
        self._finish(self.span)

    def _below(self, name: str, began_ns: int, ended_ns: int, attributes: dict[str, Any]) -> None:
        context = self.tracing.api.set_span_in_context(self.span)
        span = self.tracing.tracer.start_span(
            name, context=context, start_time=began_ns, attributes=attributes
        )
        self._finish(span, ended_ns)

    def _finish(self, span: Any, ended_ns: int | None = None) -> None:
        span.end(ended_ns)
        self.tracing.count("made", 1)


def trace_id_of(traceparent: str | None) -> str | None:
    """Of W3C's header, which a caller may send whether anybody traces here or not.

    >>> trace_id_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    '4bf92f3577b34da6a3ce929d0e0e4736'
    >>> trace_id_of("00-" + "0" * 32 + "-00f067aa0ba902b7-01"), trace_id_of("soon")
    (None, None)
    """
    found = _TRACEPARENT.match(traceparent or "")
    return None if found is None or found[1] == _NO_TRACE else found[1]


def start_tracing(environ: Mapping[str, str], metrics: Metrics) -> Tracing | None:
    """None where nobody asks for traces; or asks in vain, which the log says."""
    if not is_asked_for(environ):
        return None
    protocol = next((environ[name] for name in PROTOCOLS if environ.get(name)), PROTOCOL)
    if protocol != PROTOCOL:
        LOG.error("No traces are sent: OTLP over %s is not known here, %s is.", protocol, PROTOCOL)
        return None
    try:
        return _start(environ, metrics)
    except ImportError as error:
        LOG.error("No traces are sent: %s. pip install 'seamline[otel]'", error)
    except Exception:
        LOG.exception("No traces are sent: OpenTelemetry did not start with its variables as set.")
    return None


def is_asked_for(environ: Mapping[str, str]) -> bool:
    """
    >>> is_asked_for({}), is_asked_for({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"})
    (False, True)
    >>> is_asked_for({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"})
    False
    """
    is_off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    wanted = "otlp" in exporter.split(",")
    return wanted and not is_off and any(environ.get(name) for name in ENDPOINTS)


def _start(environ: Mapping[str, str], metrics: Metrics) -> Tracing:
    api = import_module("opentelemetry.trace")
    sdk = import_module("opentelemetry.sdk.trace")
    export = import_module("opentelemetry.sdk.trace.export")
    resources = import_module("opentelemetry.sdk.resources")
    otlp = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    propagator = import_module("opentelemetry.propagate").get_global_textmap()
    for outcome in ("made", "sent", "lost"):  # their series are there before another thread counts
        metrics.add(SPANS, (("outcome", outcome),), 0)

    def count(outcome: str, spans: int) -> None:
        metrics.add(SPANS, (("outcome", outcome),), spans)

    attributes = {"service.version": __version__, "service.instance.id": new_id(SystemClock())}
    if "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes["service.name"] = environ.get("OTEL_SERVICE_NAME") or SERVICE
    provider = sdk.TracerProvider(
        resource=resources.Resource.create(attributes), shutdown_on_exit=False
    )
    success = export.SpanExportResult.SUCCESS
    sender = CountedExporter(otlp.OTLPSpanExporter(), success, count)
    provider.add_span_processor(export.BatchSpanProcessor(sender))
    tracer = provider.get_tracer("seamline.dataplane", __version__)
    LOG.info("Traces are sent to %s", next(environ[one] for one in ENDPOINTS if environ.get(one)))
    return Tracing(provider, tracer, propagator, api, tuple(sorted(propagator.fields)), count)


@dataclass(frozen=True)
class CountedExporter:
    """An exporter by its three methods: `inner`, with its batches counted as sent or lost."""

    inner: Any
    success: Any
    count: Callable[[str, int], None]

    def export(self, spans: Sequence[Any]) -> Any:
        outcome = "lost"
        try:
            result = self.inner.export(spans)
            outcome = "sent" if result == self.success else "lost"
            return result
        finally:
            self.count(outcome, len(spans))

    def shutdown(self) -> None:
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self.inner.force_flush(timeout_millis))
