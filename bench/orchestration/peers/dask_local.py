"""Dask distributed: a LocalCluster of worker processes with one thread each; nothing durable."""

from __future__ import annotations

import time

import work
from distributed import Client, LocalCluster


def carry_out(job: work.Job, client: Client) -> object:
    if job.workload == "chain":
        value = 0
        for _ in range(job.n):
            value = client.submit(work.noop, value, pure=False)
        return value.result()
    if job.workload == "fan_out":
        items = client.map(work.ident, range(job.n), pure=False)
        return client.submit(work.total, items, pure=False).result()
    last = []
    for scenario in range(job.n):
        data = client.submit(work.prepare, scenario, pure=False)
        model = client.submit(work.train, data, pure=False)
        accuracy = client.submit(work.evaluate, model, data, pure=False)
        last.append(
            client.submit(work.register, job.registry, scenario, model, accuracy, pure=False)
        )
    client.gather(last)
    return None


def main() -> None:
    job = work.read_job()
    began = time.perf_counter()
    cluster = LocalCluster(
        n_workers=job.workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        host="127.0.0.1",
    )
    with cluster, Client(cluster) as client:
        ready = time.perf_counter()
        result = carry_out(job, client)
        work.report(job, time.perf_counter() - ready, result, start_s=ready - began)


if __name__ == "__main__":
    main()
