"""What the prediction log costs: processor time of its thread per row made durable.

python bench/prediction_log.py [--rows 500000] [--columns 13] [--request 1]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from seamline.domain.clock import SystemClock, new_id
from seamline.serve import prediction_log
from seamline.serve.batching import Batcher
from seamline.serve.prediction_log import PredictionBatches, PredictionEntry
from seamline.serve.routing import ServedModel, Target
from seamline.serve.segments import Segment
from seamline.serve.snapshot import Column, EndpointSpec, Signature
from seamline.serve.validate import Rows

TARGET_ROWS_S = 50_000
#: As many as gather in one interval then.
COMMIT_ROWS = int(TARGET_ROWS_S * prediction_log.INTERVAL_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--columns", type=int, default=13)
    parser.add_argument("--request", type=int, default=1, help="rows per request")
    given = parser.parse_args()
    names = [f"x{place}" for place in range(given.columns)]
    entries = make_entries(names, given.request)
    batches = PredictionBatches(bytes(32))
    with tempfile.TemporaryDirectory() as folder:
        segment = Segment(Path(folder), prediction_log.SCHEMA, SystemClock())
        commit(batches, segment, entries)  # what is made once is made
        commits = [commit(batches, segment, entries) for _ in range(given.rows // COMMIT_ROWS)]
        segment.close()
        written = sum(path.stat().st_size for path in Path(folder).iterdir())
    costs = sorted(one.encode_us + one.write_us for one in commits)
    writes = median(one.write_us for one in commits)
    median_us, best_us = median(costs), costs[len(costs) // 20]
    print(
        "| columns | rows per request | µs of a core per row, median (5 % need less than) "
        "| of it writing | at 50,000 rows/s | bytes per row | commits |"
    )
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {given.columns} | {given.request} | {median_us:.2f} ({best_us:.2f}) | {writes:.2f} "
        f"| {median_us * TARGET_ROWS_S / 1e6:.1%} ({best_us * TARGET_ROWS_S / 1e6:.1%}) "
        f"| {written / (len(costs) + 1) / COMMIT_ROWS:.0f} | {len(costs)} |"
    )


@dataclass(frozen=True)
class Commit:
    """Processor time of the thread, the kernel's part of it too, per row."""

    encode_us: float
    write_us: float


def make_entries(names: Sequence[str], request: int) -> list[PredictionEntry]:
    spec = EndpointSpec(
        "bench", "bench", "1.0.0", "sha256:" + "0" * 64, "", "", "", "bench", "regression",
        Signature(tuple(Column(name, "FP64") for name in names), (Column("y", "FP64"),)), "python",
    )  # fmt: skip
    # The log never asks it.
    model = ServedModel(None, Batcher(None))  # type: ignore[arg-type]
    target = Target("production", "sha256:" + "1" * 64, spec, model)
    clock, at = SystemClock(), datetime.now(UTC)

    def entry(number: int) -> PredictionEntry:
        columns = {name: [number * 0.37 + one for one in range(request)] for name in names}
        rows = Rows(request, dict(columns), {}, None)
        outputs = {"label": [1] * request, "score": [0.123456789] * request}
        return PredictionEntry(target, new_id(clock), None, at, rows, dict(outputs), 250, 200)

    return [entry(number) for number in range(COMMIT_ROWS // request)]


def commit(
    batches: PredictionBatches, segment: Segment, entries: Sequence[PredictionEntry]
) -> Commit:
    started_ns = time.thread_time_ns()
    made = batches(entries)
    encoded_ns = time.thread_time_ns()
    segment.write(made)
    written_ns = time.thread_time_ns()
    rows = sum(batch.num_rows for batch in made) * 1e3
    return Commit((encoded_ns - started_ns) / rows, (written_ns - encoded_ns) / rows)


if __name__ == "__main__":
    main()
