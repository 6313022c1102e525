"""Dagster: a job with a SQLite instance. Modes: `multiprocess` (its default executor),
`forkserver` (the same, processes forked from one that has this module), `in_process`.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from pathlib import Path
from typing import Any

import work
from dagster import (
    DagsterInstance,
    DynamicOut,
    DynamicOutput,
    execute_job,
    job,
    op,
    reconstructable,
)

# What the job is made from is read again in every process that Dagster starts.
WORKLOAD = os.environ.get("BENCH_WORKLOAD", "chain")
N = int(os.environ.get("BENCH_N", "1"))
REGISTRY = os.environ.get("BENCH_REGISTRY", "")
RESULT = os.environ.get("BENCH_RESULT", "")


@op
def first():
    return work.noop(0)


@op
def step(x):
    return work.noop(x)


@op
def last(x):
    Path(RESULT).write_text(str(work.noop(x)))


@op(out=DynamicOut())
def fan():
    for item in range(N):
        yield DynamicOutput(item, mapping_key=f"item_{item}")


@op
def ident(item):
    return work.ident(item)


@op
def collect(items):
    Path(RESULT).write_text(str(work.total(items)))


@op
def prepare(scenario):
    return scenario, work.prepare(scenario)


@op
def train(prepared):
    return work.train(prepared[1])


@op
def evaluate(model, prepared):
    return work.evaluate(model, prepared[1])


@op
def register(prepared, model, accuracy):
    return work.register(REGISTRY, prepared[0], model, accuracy)


def one_scenario(scenario):
    prepared = prepare(scenario)
    model = train(prepared)
    return register(prepared, model, evaluate(model, prepared))


@job
def bench():
    if WORKLOAD == "chain":
        x = first()
        for _ in range(N - 2):
            x = step(x)
        last(x)
    elif WORKLOAD == "fan_out":
        collect(fan().map(ident).collect())
    else:
        fan().map(one_scenario)


def config_of(mode: str, workers: int) -> dict[str, Any]:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if mode == "in_process":
        return {**quiet, "execution": {"config": {"in_process": {}}}}
    executor: dict[str, Any] = {"max_concurrent": workers}
    if mode == "forkserver":
        preload = ["dagster_job", *(["sklearn.linear_model"] if WORKLOAD == "scenarios" else [])]
        executor["start_method"] = {"forkserver": {"preload_modules": preload}}
    return {**quiet, "execution": {"config": {"multiprocess": executor}}}


def main() -> None:
    """Runs as the module `dagster_job`, which other processes can import by that name."""
    wanted = work.read_job()
    home, result = wanted.folder / "home", wanted.folder / "result.txt"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    os.environ.update(
        BENCH_WORKLOAD=wanted.workload,
        BENCH_N=str(wanted.n),
        BENCH_REGISTRY=wanted.registry,
        BENCH_RESULT=str(result),
        DAGSTER_HOME=str(home),
        DAGSTER_DISABLE_TELEMETRY="1",
    )
    logging.disable(logging.CRITICAL)
    module = importlib.import_module("dagster_job")
    began = time.perf_counter()
    with DagsterInstance.get() as instance:
        done = execute_job(
            reconstructable(module.bench),
            instance=instance,
            run_config=module.config_of(wanted.mode, wanted.workers),
        )
    seconds = time.perf_counter() - began
    assert done.success
    fans = 0 if wanted.workload == "chain" else 1
    found = int(result.read_text()) if result.exists() else None
    work.report(wanted, seconds, found, tasks=wanted.tasks + fans)


if __name__ == "__main__":
    main()
