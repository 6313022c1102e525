"""What a kill -9 of the server costs: how soon its run goes on, and what is done again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.orchestration import pipelines
from bench.orchestration.measure import SUBJECT, Bench, Row
from bench.orchestration.server import epoch_of

#: The kill comes when this share of the tasks has been seen.
_WHEN = 0.4
_LOOK_S = 0.002
_PATIENCE_S = 120.0


def kill_marks(bench: Bench) -> Iterator[Row]:
    """Tasks of 20 ms that leave a line when they start: the lines are the witness."""
    n, journal = bench.sizes.marks, bench.folder / f"journal-{time.time_ns()}.txt"
    journal.touch()
    ir = bench.ir(pipelines.marks(n))
    run_id = bench.server.submit(ir, {"journal": str(journal)}, {})
    _until(lambda: len(_lines(journal)) >= _WHEN * n)
    bench.server.kill()
    at, began_with = time.time(), len(_lines(journal))
    ready_s = bench.server.start()
    shown = bench.server.wait(run_id)
    (output,) = shown["outputs"]["parameters"].values()
    assert (shown["state"], output) == ("succeeded", sum(range(n))), shown["sentence"]
    lines = _lines(journal)
    counts = Counter(item for item, _ in lines)
    assert set(counts) == set(range(n))
    yield {
        "subject": SUBJECT,
        "mode": "no-ops",
        "workload": "resume",
        "n": n,
        "seen_before": began_with,
        "ready_s": ready_s,
        "inner_s": min(when for _, when in lines if when > at) - at,
        "ran_again": sorted(item for item, count in counts.items() if count > 1),
    }


def kill_scenarios(bench: Bench) -> Iterator[Row]:
    """Where a task needs scikit-learn, whoever forks it has to import that again first."""
    n, registry = bench.sizes.killed, bench.folder / f"registry-{time.time_ns()}"
    salt = int(time.time())
    ir = bench.ir(pipelines.scenarios(n))
    run_id = bench.server.submit(ir, {"folder": str(registry), "salt": salt}, {})
    _until(lambda: len(list(registry.glob("*.pkl"))) >= _WHEN * n)
    bench.server.kill()
    at = time.time()
    ready_s = bench.server.start()
    shown = bench.server.wait(run_id)
    assert shown["state"] == "succeeded", shown["sentence"]
    assert len(list(registry.glob("*.pkl"))) == n
    tasks = [task for task in shown["tasks"] if task["pid"] is not None]
    starts = [epoch_of(task["started_at"]) for task in tasks]
    ends = [epoch_of(task["ended_at"]) for task in tasks]
    yield {
        "subject": SUBJECT,
        "mode": "scenarios",
        "workload": "resume",
        "n": n,
        "ready_s": ready_s,
        "inner_s": min(start for start in starts if start > at) - at,
        "first_end_s": min(end for end in ends if end > at) - at,
        "ran_again": sorted(task["name"] for task in tasks if task["attempt"] > 1),
    }


def _lines(journal: Path) -> list[tuple[int, float]]:
    """(item, when it started)"""
    found = (line.split() for line in journal.read_text().splitlines())
    return [(int(item), float(when)) for item, when in found]


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"The run has not come far enough to be killed in {_PATIENCE_S} s.")
        time.sleep(_LOOK_S)
