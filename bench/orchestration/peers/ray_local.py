"""Ray core on one node: worker processes that are used again; mode `fresh`: one per task."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import work

_INSIDE = "BENCH_RAY_INSIDE"


def keep_to_loopback() -> None:
    """Ray listens on the host's address: where it can be had, a network of its own stops that."""
    if os.geteuid() != 0 or os.environ.get(_INSIDE) or not shutil.which("unshare"):
        return
    os.environ[_INSIDE] = "1"
    then = 'ip link set lo up; exec "$0" "$@"'
    os.execvp("unshare", ["unshare", "-n", "sh", "-c", then, sys.executable, *sys.argv])


def carry_out(job: work.Job, ray: Any) -> object:
    options = {"num_cpus": 1, **({"max_calls": 1} if job.mode == "fresh" else {})}

    def remote(function: Any) -> Any:
        return ray.remote(**options)(function)

    if job.workload == "chain":
        noop, value = remote(work.noop), 0
        for _ in range(job.n):
            value = noop.remote(value)
        return ray.get(value)
    if job.workload == "fan_out":
        ident = remote(work.ident)
        collect = remote(lambda *items: work.total(items))
        return ray.get(collect.remote(*[ident.remote(item) for item in range(job.n)]))
    prepare, train = remote(work.prepare), remote(work.train)
    evaluate, register = remote(work.evaluate), remote(work.register)
    last = []
    for scenario in range(job.n):
        data = prepare.remote(scenario)
        model = train.remote(data)
        accuracy = evaluate.remote(model, data)
        last.append(register.remote(job.registry, scenario, model, accuracy))
    ray.get(last)
    return None


def main() -> None:
    keep_to_loopback()
    job = work.read_job()
    began = time.perf_counter()
    import ray

    ray.init(
        address="local",
        num_cpus=job.workers,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        object_store_memory=300 * 2**20,
        _node_ip_address="127.0.0.1",
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(work.__file__).parent)}},
    )
    ready = time.perf_counter()
    result = carry_out(job, ray)
    work.report(job, time.perf_counter() - ready, result, start_s=ready - began)
    ray.shutdown()


if __name__ == "__main__":
    main()
