"""Counters, gauges and histograms in plain dictionaries, rendered when they are scraped."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

Labels = tuple[tuple[str, str], ...]
LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0)


class Metric(NamedTuple):
    """What a scrape says of it. `labels`: of each series; `bounds`: of a histogram's buckets."""

    kind: str
    says: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


ENVIRONMENT = ("environment",)
ENDPOINT = (*ENVIRONMENT, "endpoint")

METRICS: dict[str, Metric] = {
    "seamline_requests_total": Metric(
        "counter", "Inference requests by endpoint and status.", (*ENDPOINT, "status")
    ),
    "seamline_probe_requests_total": Metric(
        "counter",
        "Requests of gates, which are no predictions, by endpoint and status.",
        ("endpoint", "status"),
    ),
    "seamline_request_seconds": Metric(
        "histogram", "Time from request to answer.", ENDPOINT, LATENCY_S
    ),
    "seamline_batch_rows": Metric("histogram", "Rows per model call.", ENDPOINT, BATCH_ROWS),
    "seamline_log_rows_total": Metric(
        "counter", "Rows made durable in the log.", ("log", *ENVIRONMENT)
    ),
    "seamline_log_lost_rows_total": Metric(
        "counter", "Rows that are not in the log, by why.", ("log", *ENVIRONMENT, "why")
    ),
    "seamline_log_waiting_rows": Metric(
        "gauge", "Rows that wait to be written to the log.", ("log", *ENVIRONMENT)
    ),
    "seamline_log_lag_seconds": Metric(
        "gauge",
        "How long the oldest of the rows written last had waited, or has waited where none are.",
        ("log", *ENVIRONMENT),
    ),
    "seamline_log_stalled": Metric(
        "gauge", "1 while rows cannot be written to the log.", ("log", *ENVIRONMENT)
    ),
    "seamline_contract_breaches_total": Metric(
        "counter",
        "Input values that break the contract of the training data.",
        (*ENDPOINT, "column", "rule"),
    ),
    "seamline_snapshot_version": Metric(
        "gauge", "Version of the snapshot being served.", ENVIRONMENT
    ),
    "seamline_load_failures_total": Metric(
        "counter", "Snapshots that were not taken.", ENVIRONMENT
    ),
    "seamline_access_list_version": Metric("gauge", "Version of the access list that holds."),
    "seamline_access_list_failures_total": Metric("counter", "Access lists that were not taken."),
    "seamline_standby_releases": Metric(
        "gauge", "Releases kept warm beside the served one.", ENVIRONMENT
    ),
    "seamline_standby_failures_total": Metric(
        "counter", "Standbys that did not load.", ENVIRONMENT
    ),
    "seamline_models_loaded": Metric(
        "gauge",
        "Models in memory behind a many-model endpoint, of releases that stand by, too.",
        ENDPOINT,
    ),
    "seamline_models_memory_bytes": Metric(
        "gauge",
        "What the processes of a many-model endpoint occupied when one was loaded last.",
        ENDPOINT,
    ),
    "seamline_model_loads_total": Metric(
        "counter", "Models loaded when they were asked for, or before a swap.", ENDPOINT
    ),
    "seamline_model_evictions_total": Metric(
        "counter", "Models that made room for others.", ENDPOINT
    ),
    "seamline_endpoint_twin": Metric(
        "gauge",
        "1 where the ONNX twin that was loaded last answers, 0 where a worker does.",
        ENDPOINT,
    ),
    "seamline_twin_refusals_total": Metric(
        "counter", "ONNX twins that did not load, or did not say what their model says.", ENDPOINT
    ),
    "seamline_trace_spans_total": Metric(
        "counter",
        "Spans by outcome: made, then sent or lost, or dropped where too many waited.",
        ("outcome",),
    ),
    "seamline_worker_restarts_total": Metric("counter", "Workers that ended unasked.", ENDPOINT),
    "seamline_origin_contact_timestamp_seconds": Metric(
        "gauge", "When the control plane that is followed answered last, in seconds since 1970."
    ),
    "seamline_origin_refused": Metric(
        "gauge", "1 while what the control plane that is followed offers is not taken."
    ),
    "seamline_packages_awaited": Metric(
        "gauge",
        "Packages of many-model endpoints that still come from the control plane that is followed.",
    ),
    "seamline_log_segments": Metric(
        "gauge", "Parts of the logs that the control plane that is followed has not taken yet."
    ),
    "seamline_planes": Metric(
        "gauge", "Processes that answer on the shared port, with `--workers` above 1."
    ),
    "seamline_plane_requests_total": Metric(
        "counter", "Inference requests by process.", ("plane",)
    ),
    "seamline_plane_restarts_total": Metric("counter", "Processes that ended unasked.", ("plane",)),
}


class Metrics:
    def __init__(self) -> None:
        self.values: dict[tuple[str, Labels], float] = {}
        self.histograms: dict[tuple[str, Labels], list[float]] = {}
        #: What the requests of an environment, endpoint and status are counted as.
        self._request_labels: dict[tuple[str, str, int], tuple[Labels, Labels]] = {}

    def add(self, name: str, labels: Labels = (), amount: float = 1.0) -> None:
        key = (name, labels)
        self.values[key] = self.values.get(key, 0.0) + amount

    def put(self, name: str, labels: Labels, value: float) -> None:
        self.values[name, labels] = value

    def observe(self, name: str, labels: Labels, value: float) -> None:
        """Kept per histogram: one count per bucket, one for beyond, and the sum."""
        bounds = METRICS[name].bounds
        kept = self.histograms.get((name, labels))
        if kept is None:
            kept = self.histograms[name, labels] = [0.0] * (len(bounds) + 2)
        kept[bisect_left(bounds, value)] += 1
        kept[-1] += value

    def add_all(self, other: Metrics, wanted: Callable[[str], bool]) -> None:
        for (name, labels), value in other.values.items():
            if wanted(name):
                self.add(name, labels, value)
        for key, kept in other.histograms.items():
            if wanted(key[0]):
                before = self.histograms.get(key, [0.0] * len(kept))
                self.histograms[key] = [a + b for a, b in zip(before, kept, strict=True)]

    def count_request(self, environment: str, endpoint: str, status: int, seconds: float) -> None:
        """`endpoint` and `environment` are names that are served, or "unknown": a stranger's
        spelling must not make a series."""
        place = (environment, endpoint, status)
        found = self._request_labels.get(place)
        if found is None:
            labels = (("environment", environment), ("endpoint", endpoint))
            found = self._request_labels[place] = (labels, (*labels, ("status", str(status))))
        self.add("seamline_requests_total", found[1])
        self.observe("seamline_request_seconds", found[0], seconds)

    def render(self) -> str:
        """Prometheus' text format 0.0.4."""
        lines: list[str] = []
        for name, (kind, text, _, bounds) in METRICS.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            for (series, labels), value in sorted(self.values.items()):
                if series == name:
                    lines.append(f"{name}{_labels(labels)} {value:.10g}")
            for (series, labels), kept in sorted(self.histograms.items()):
                if series == name:
                    lines += _histogram(name, labels, bounds, kept)
        return "\n".join(lines) + "\n"


def _histogram(
    name: str, labels: Labels, bounds: tuple[float, ...], kept: list[float]
) -> list[str]:
    lines, total = [], 0.0
    for bound, count in zip([*map(str, bounds), "+Inf"], kept[:-1], strict=True):
        total += count
        lines.append(f"{name}_bucket{_labels((*labels, ('le', bound)))} {total:.10g}")
    lines.append(f"{name}_sum{_labels(labels)} {kept[-1]:.10g}")
    lines.append(f"{name}_count{_labels(labels)} {total:.10g}")
    return lines


def _labels(labels: Labels) -> str:
    r"""
    >>> _labels((("endpoint", 'a"b'),))
    '{endpoint="a\\"b"}'
    """
    if not labels:
        return ""
    escaped = (
        (key, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for key, value in labels
    )
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped) + "}"
