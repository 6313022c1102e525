"""joblib's loky executor: worker processes that are used again; nothing durable."""

from __future__ import annotations

import time

import work
from joblib.externals.loky import get_reusable_executor


def main() -> None:
    job = work.read_job()
    began = time.perf_counter()
    executor = get_reusable_executor(max_workers=job.workers)
    result = None
    if job.workload == "chain":
        result = 0
        for _ in range(job.n):
            result = executor.submit(work.noop, result).result()
    elif job.workload == "fan_out":
        items = [executor.submit(work.ident, item) for item in range(job.n)]
        result = executor.submit(work.total, [item.result() for item in items]).result()
    else:
        scenarios = range(job.n)
        data = [one.result() for one in [executor.submit(work.prepare, s) for s in scenarios]]
        models = [one.result() for one in [executor.submit(work.train, d) for d in data]]
        pairs = zip(models, data, strict=True)
        accuracies = [executor.submit(work.evaluate, m, d) for m, d in pairs]
        last = [
            executor.submit(work.register, job.registry, s, models[s], accuracies[s].result())
            for s in scenarios
        ]
        for one in last:
            one.result()
    work.report(job, time.perf_counter() - began, result)


if __name__ == "__main__":
    main()
