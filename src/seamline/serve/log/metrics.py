"""What becomes of the rows of a log, as metrics."""

from __future__ import annotations

from dataclasses import dataclass

from seamline.serve.log.segment_log import Lost
from seamline.serve.metrics import Labels, Metrics


@dataclass(frozen=True)
class LogMetrics:
    """Each series is added to by one thread only: by the writer's, or, of rows that there was no
    room for, by the one that appends."""

    metrics: Metrics
    log: str

    def count_rows(self, environment: str, rows: int) -> None:
        self.metrics.add("seamline_log_rows_total", self._labels(environment), rows)

    def count_lost(self, environment: str, rows: int, why: Lost) -> None:
        labels = (*self._labels(environment), ("why", why.value))
        self.metrics.add("seamline_log_lost_rows_total", labels, rows)

    def put_state(self, environment: str, waiting: int, lag_s: float, stalled: bool) -> None:
        labels = self._labels(environment)
        self.metrics.put("seamline_log_waiting_rows", labels, waiting)
        self.metrics.put("seamline_log_lag_seconds", labels, lag_s)
        self.metrics.put("seamline_log_stalled", labels, stalled)

    def _labels(self, environment: str) -> Labels:
        return (("log", self.log), ("environment", environment))
