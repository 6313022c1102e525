"""Milliseconds per task that does nothing, through the runtime: a fork of a warm zygote."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from seamline.domain.clock import SystemClock
from seamline.runtime.environments import EnvironmentCache, PythonEnvironment
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.tasks import TaskKind, TaskRunner, TaskSpec


def make_spec(folder: Path, name: str, environment: PythonEnvironment) -> TaskSpec:
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
    )


def interpreter_s() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    count = parser.parse_args().count
    floor_s = statistics.median(interpreter_s() for _ in range(11))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cache = EnvironmentCache(folder / "environments", Path(sys.executable))
        environment = cache.ensure(RequirementSet.of())
        specs = [make_spec(folder, f"task-{number}", environment) for number in range(2 * count)]
        with TaskRunner(SystemClock(), folder / "run") as runner:
            first = make_spec(folder, "first", environment)
            began = time.perf_counter()
            assert runner.start(first).result().succeeded
            first_s = time.perf_counter() - began
            one_by_one = []
            for spec in specs[:count]:
                began = time.perf_counter()
                assert runner.start(spec).result().succeeded
                one_by_one.append(time.perf_counter() - began)
            began = time.perf_counter()
            futures = [runner.start(spec) for spec in specs[count:]]
            assert all(future.result().succeeded for future in futures)
            together_s = (time.perf_counter() - began) / count
    print("| what | ms | n | to `python -c pass` |\n|---|---|---|---|")
    for name, seconds, n in (
        ("`python -c pass`", floor_s, 11),
        ("the first task, zygote included", first_s, 1),
        ("a task, one after another (median)", statistics.median(one_by_one), count),
        ("a task, all started at once (mean)", together_s, count),
    ):
        print(f"| {name} | {seconds * 1000:.1f} | {n} | {seconds / floor_s:.2f} × |")


if __name__ == "__main__":
    main()
