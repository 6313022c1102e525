"""What the prediction log costs: processor time of its thread per row made durable.

python bench/prediction_log.py [--rows 500000] [--columns 13] [--request 1]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from seamline.domain.clock import SystemClock, new_id
from seamline.serve import prediction_log
from seamline.serve.batching import Batcher
from seamline.serve.prediction_log import PredictionBatches, PredictionEntry
from seamline.serve.routing import ServedModel, Target
from seamline.serve.segments import Segment
from seamline.serve.snapshot import Column, EndpointSpec, Signature
from seamline.serve.validate import Rows

#: As many as gather in one interval at 50,000 rows a second.
COMMIT_ROWS = 5_000
TARGET_ROWS_S = 50_000


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
        used_s, wall_s, rows = time.thread_time(), time.monotonic(), 0
        while rows < given.rows:
            rows += commit(batches, segment, entries)
        used_s, wall_s = time.thread_time() - used_s, time.monotonic() - wall_s
        segment.close()
        written = sum(path.stat().st_size for path in Path(folder).iterdir())
    share = used_s / rows * TARGET_ROWS_S
    print("| columns | rows per request | µs of a core per row | at 50,000 rows/s | rows/s | MB |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {given.columns} | {given.request} | {1e6 * used_s / rows:.2f} | {share:.1%} "
        f"| {rows / wall_s:,.0f} | {written / 1e6:.0f} |"
    )


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


def commit(batches: PredictionBatches, segment: Segment, entries: Sequence[PredictionEntry]) -> int:
    made: list[pa.RecordBatch] = batches(entries)["production"]
    segment.write(made)
    return sum(batch.num_rows for batch in made)


if __name__ == "__main__":
    main()
