"""Milliseconds per task that does nothing, through the runtime: forked, and in reused workers."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from seamline.domain.clock import SystemClock
from seamline.runtime.environments import EnvironmentCache, PythonEnvironment
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.tasks import TaskIsolation, TaskKind, TaskRunner, TaskSpec

_SLOTS = 2


def make_spec(
    folder: Path, name: str, environment: PythonEnvironment, isolation: TaskIsolation
) -> TaskSpec:
    work = folder / name
    work.mkdir()
    (work / "script.py").write_text("def main(payload):\n    return payload\n")
    (work / "input.json").write_text(json.dumps({"name": name}))
    return TaskSpec(
        task_id=name,
        kind=TaskKind.SCRIPT,
        source=work / "script.py",
        input_path=work / "input.json",
        output_path=work / "output.json",
        work_dir=work / "work",
        log_path=work / "log.txt",
        environment=environment,
        isolation=isolation,
    )


def interpreter_s() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def run_one_by_one(runner: TaskRunner, specs: list[TaskSpec]) -> float:
    """The median."""
    taken_s = []
    for spec in specs:
        began = time.perf_counter()
        assert runner.start(spec).result().succeeded
        taken_s.append(time.perf_counter() - began)
    return statistics.median(taken_s)


def run_together(runner: TaskRunner, specs: list[TaskSpec]) -> float:
    """The mean, with as many at a time as there are slots, as the engine does it."""
    slots = threading.Semaphore(_SLOTS)
    futures = []
    began = time.perf_counter()
    for spec in specs:
        slots.acquire()
        futures.append(runner.start(spec))
        futures[-1].add_done_callback(lambda _: slots.release())
    assert all(future.result().succeeded for future in futures)
    return (time.perf_counter() - began) / len(specs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    count = parser.parse_args().count
    floor_s = statistics.median(interpreter_s() for _ in range(11))
    rows = [("`python -c pass`", floor_s, 11)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cache = EnvironmentCache(folder / "environments", Path(sys.executable))
        environment = cache.ensure(RequirementSet.of())
        for isolation in TaskIsolation:
            specs = [
                make_spec(folder, f"{isolation}-{number}", environment, isolation)
                for number in range(2 * count + 1)
            ]
            with TaskRunner(SystemClock(), folder / "run") as runner:
                first_s = run_one_by_one(runner, specs[:1])
                chain_s = run_one_by_one(runner, specs[1 : count + 1])
                together_s = run_together(runner, specs[count + 1 :])
            rows += [
                (f"{isolation}: the first task, zygote included", first_s, 1),
                (f"{isolation}: one after another (median)", chain_s, count),
                (f"{isolation}: {_SLOTS} at a time (mean)", together_s, count),
            ]
    print("| what | ms | n | to `python -c pass` |\n|---|---|---|---|")
    for name, seconds, n in rows:
        print(f"| {name} | {seconds * 1000:.1f} | {n} | {seconds / floor_s:.2f} × |")


if __name__ == "__main__":
    main()
