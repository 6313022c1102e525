"""What the prediction log costs: processor time of its thread per row made durable, and what a
request costs with the log and without.

python bench/prediction_log.py [--rows 500000] [--columns 13] [--request 1]

Requests are taken inside the process, without HTTP, and answered by a function that does nothing:
so the log's share of a request that is served is smaller than what is shown here.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, cast

from seamline.domain.clock import SystemClock, new_id
from seamline.serve.datatypes import Columns
from seamline.serve.flat_rows import FlatRows, Given, RowLayout
from seamline.serve.inputs.validate import Rows, Tensor
from seamline.serve.log import prediction_log
from seamline.serve.log.entries import Entry, PredictionEntry, pack_entry, place_of_entry
from seamline.serve.log.prediction_log import PredictionBatches
from seamline.serve.log.segment_log import SegmentLog
from seamline.serve.log.segments import Segment
from seamline.serve.metrics import Metrics
from seamline.serve.models.batching import Batcher
from seamline.serve.plane import Plane
from seamline.serve.predict import Predictor
from seamline.serve.routing import ServedModel, Target
from seamline.serve.snapshots.snapshot import Column, EndpointSpec, Signature

TARGET_ROWS_S = 50_000
#: As many as gather in one interval then.
COMMIT_ROWS = int(TARGET_ROWS_S * prediction_log.INTERVAL_S)
#: Of requests: so many callers, each with so many calls, in so many turns.
CALLERS, CALLS, TURNS = 32, 250, 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--columns", type=int, default=13)
    parser.add_argument("--request", type=int, default=1, help="rows per request")
    given = parser.parse_args()
    names = [f"x{place}" for place in range(given.columns)]
    show_writing(names, given.rows, given.request)
    show_answering(names, given.request)


def show_writing(names: Sequence[str], rows: int, request: int) -> None:
    make, count = entry_maker(names, request), COMMIT_ROWS // request
    batches = PredictionBatches(bytes(32))
    with tempfile.TemporaryDirectory() as folder:
        segment = Segment(Path(folder), prediction_log.SEGMENT_SCHEMA, SystemClock())
        commit(batches, segment, make, count)  # what is made once is made
        commits = [commit(batches, segment, make, count) for _ in range(rows // COMMIT_ROWS)]
        segment.close()
        written = sum(path.stat().st_size for path in Path(folder).iterdir())
    costs = sorted(one.encode_us + one.write_us for one in commits)
    parts = [
        median(getattr(one, name) for one in commits)
        for name in ("encode_us", "write_us", "pack_us")
    ]
    median_us, best_us = median(costs), costs[len(costs) // 20]
    print(
        "| columns | rows per request | the log's thread, µs per row: median (5 % need less than) "
        "| of it encoding, writing | at 50,000 rows/s | packing, by the request's thread, µs "
        "| bytes per row | commits |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {len(names)} | {request} | {median_us:.2f} ({best_us:.2f}) "
        f"| {parts[0]:.2f}, {parts[1]:.2f} "
        f"| {median_us * TARGET_ROWS_S / 1e6:.1%} ({best_us * TARGET_ROWS_S / 1e6:.1%}) "
        f"| {parts[2]:.2f} "
        f"| {written / (len(costs) + 1) / COMMIT_ROWS:.0f} | {len(costs)} |"
    )


@dataclass(frozen=True)
class Commit:
    """Processor time, the kernel's part of it too, per row. Packing is done by the request's
    thread, the rest by the log's."""

    pack_us: float
    encode_us: float
    write_us: float


def make_target(names: Sequence[str]) -> Target:
    spec = EndpointSpec(
        "bench", "bench", "1.0.0", "sha256:" + "0" * 64, "", "", "", "bench", "regression",
        Signature(tuple(Column(name, "FP64") for name in names), (Column("y", "FP64"),)), "python",
    )  # fmt: skip

    async def answer(given: Given, rows: int) -> Columns:
        return {"label": [1] * rows, "score": [0.123456789] * rows}

    # Nobody asks the engine behind it.
    model = ServedModel(None, Batcher(answer))  # type: ignore[arg-type]
    return Target("production", "sha256:" + "1" * 64, spec, model)


def entry_maker(names: Sequence[str], request: int) -> Callable[[int], PredictionEntry]:
    target = make_target(names)
    clock, at, layout = SystemClock(), datetime.now(UTC), RowLayout(names)

    def entry(number: int) -> PredictionEntry:
        cells = [number * 0.37 + one for one in range(request) for _ in names]
        rows = Rows(request, FlatRows(layout, cells), {}, None)
        outputs: Columns = {"label": [1] * request, "score": [0.123456789] * request}
        return PredictionEntry(target, new_id(clock), None, at, rows, dict(outputs), 250, 200)

    return entry


def commit(
    batches: PredictionBatches,
    segment: Segment,
    make: Callable[[int], PredictionEntry],
    count: int,
) -> Commit:
    """A request is packed as soon as it is there: so what making one takes is measured alone, and
    taken off."""
    before_ns = time.thread_time_ns()
    for number in range(count):
        make(number)
    made_ns = time.thread_time_ns() - before_ns
    started_ns = time.thread_time_ns() + made_ns
    packed = [pack_entry(*make(number)) for number in range(count)]
    packed_ns = time.thread_time_ns()
    made = batches(packed)
    encoded_ns = time.thread_time_ns()
    segment.write(made)
    written_ns = time.thread_time_ns()
    rows = sum(batch.num_rows for batch in made) * 1e3
    return Commit(
        (packed_ns - started_ns) / rows,
        (encoded_ns - packed_ns) / rows,
        (written_ns - encoded_ns) / rows,
    )


class NoLog:
    def append(self, entry: Entry, *, must_keep: bool = False) -> None: ...


def show_answering(names: Sequence[str], request: int) -> None:
    """In turns, so that both see the same machine."""
    costs: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(TURNS):
        for is_logged, measured in costs.items():
            measured.append(answering_us(names, request, is_logged=is_logged))
    without, logged = (median(costs[one]) for one in (False, True))
    print()
    print(
        "| µs of processor per request | without the log | with it, its thread included | turns |"
    )
    print("|---|---|---|---|")
    print(f"| {CALLERS} at a time | {without:.1f} | {logged:.1f} | {TURNS} |")


def answering_us(names: Sequence[str], request: int, *, is_logged: bool) -> float:
    clock, target = SystemClock(), make_target(names)
    tensors = [
        Tensor(name, "FP64", [request], [0.37 + place] * request)
        for place, name in enumerate(names)
    ]

    async def call(predictor: Predictor) -> None:
        for _ in range(CALLS):
            await predictor.predict(target, tensors, None)

    async def call_all(predictor: Predictor) -> None:
        await asyncio.gather(*(call(predictor) for _ in range(CALLERS)))

    with tempfile.TemporaryDirectory() as folder:
        log = SegmentLog(
            Path(folder), prediction_log.SEGMENT_SCHEMA, PredictionBatches(bytes(32)),
            place_of_entry, clock, interval_s=prediction_log.INTERVAL_S,
        )  # fmt: skip
        kept: Any = log if is_logged else NoLog()
        predictor = Predictor(cast(Plane, None), kept, Metrics(), clock)
        started_ns = time.process_time_ns()
        asyncio.run(call_all(predictor))
        log.close()
        used_ns = time.process_time_ns() - started_ns
    return used_ns / 1e3 / (CALLERS * CALLS)


if __name__ == "__main__":
    main()
