"""The metrics of several planes as those of one.

Counters and histograms are summed, also over processes that have ended: a sum never falls, or it
would look like a restart of everything. What gauges become is said by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from seamline.serve.metrics import METRICS, Labels, Metrics

#: Of what all of them say: how many together, what all have come to, or how bad it is anywhere.
GAUGES: dict[str, Callable[[Iterable[float]], float]] = {
    "seamline_snapshot_version": min,
    "seamline_access_list_version": min,
    "seamline_standby_releases": min,
    "seamline_models_loaded": sum,
    "seamline_models_memory_bytes": sum,
    "seamline_endpoint_twin": min,
    "seamline_log_waiting_rows": sum,
    "seamline_log_lag_seconds": max,
    "seamline_log_stalled": max,
}
REQUESTS = "seamline_requests_total"


class PlaneCounts:
    """What the processes in one place of the group have counted, the one that is there now and
    those before it."""

    def __init__(self) -> None:
        self._ended = Metrics()
        self._latest = Metrics()

    def told(self, dump: dict[str, Any]) -> None:
        self._latest = read_dump(dump)

    def end(self) -> None:
        """The process has gone; what it counted since it was asked last has gone with it."""
        self._ended.add_all(self._latest, is_counted)
        self._latest = Metrics()

    def counted(self) -> Metrics:
        found = Metrics()
        found.add_all(self._ended, is_counted)
        found.add_all(self._latest, is_counted)
        return found

    def gauges(self) -> dict[tuple[str, Labels], float]:
        values = self._latest.values.items()
        return {key: value for key, value in values if METRICS[key[0]].kind == "gauge"}


def is_counted(name: str) -> bool:
    return METRICS[name].kind != "gauge"


def merge(own: Metrics, planes: Sequence[tuple[int, PlaneCounts]]) -> Metrics:
    """`own`: the supervisor's; `planes`: those of each place, by number."""
    merged = Metrics()
    merged.add_all(own, lambda name: True)
    gauges: dict[tuple[str, Labels], list[float]] = {}
    for number, plane in planes:
        counted = plane.counted()
        merged.add_all(counted, is_counted)
        asked = sum(value for (name, _), value in counted.values.items() if name == REQUESTS)
        merged.put("seamline_plane_requests_total", (("plane", str(number)),), asked)
        for key, value in plane.gauges().items():
            gauges.setdefault(key, []).append(value)
    for (name, labels), values in gauges.items():
        merged.put(name, labels, GAUGES[name](values))
    return merged


def write_dump(metrics: Metrics) -> dict[str, Any]:
    return {
        "values": [[name, labels, value] for (name, labels), value in metrics.values.items()],
        "histograms": [[name, labels, kept] for (name, labels), kept in metrics.histograms.items()],
    }


def read_dump(dump: dict[str, Any]) -> Metrics:
    """
    >>> metrics = Metrics()
    >>> metrics.count_request("production", "a", 200, 0.004)
    >>> read_dump(write_dump(metrics)).render() == metrics.render()
    True
    """
    metrics = Metrics()
    for name, labels, value in dump["values"]:
        metrics.values[name, _labels(labels)] = float(value)
    for name, labels, kept in dump["histograms"]:
        metrics.histograms[name, _labels(labels)] = list(kept)
    return metrics


def _labels(pairs: Iterable[Sequence[str]]) -> Labels:
    return tuple((str(key), str(value)) for key, value in pairs)
