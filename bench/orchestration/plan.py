"""Which peer does how much of what; the slow ones do less, since it is the price per task."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from bench.orchestration.measure import Sizes
from bench.orchestration.peer_runs import PeerRun


def floor_runs(sizes: Sizes) -> Iterator[PeerRun]:
    """Once; they are repeated between our own runs, so that both see the same machine."""
    for mode in ("fork", "pool"):
        yield PeerRun("floor", "floor", None, "chain", sizes.chain, mode)
        for n in sizes.fan_out:
            yield PeerRun("floor", "floor", None, "fan_out", n, mode)
        yield PeerRun("floor", "floor", None, "scenarios", sizes.scenarios, mode)


def peer_runs(sizes: Sizes) -> Iterator[PeerRun]:
    for subject, script, venv in (
        ("joblib", "joblib_loky", "joblib"),
        ("Dask", "dask_local", "dask"),
        ("Ray", "ray_local", "ray"),
    ):
        one = PeerRun(subject, script, venv, "chain", sizes.chain)
        yield one
        for n in sizes.fan_out[:-1]:
            yield dataclasses.replace(one, workload="fan_out", n=n)
        # What they are fast at, and what a target compares with them.
        largest = dataclasses.replace(one, repeat=sizes.runs)
        yield dataclasses.replace(largest, workload="fan_out", n=sizes.fan_out[-1])
        yield dataclasses.replace(largest, workload="scenarios", n=sizes.scenarios)
    kfp = PeerRun("kfp.local", "kfp_local", "kfp", "chain", sizes.chain, "best", sizes.runs)
    yield kfp
    yield dataclasses.replace(kfp, workload="fan_out", n=sizes.fan_out[0], repeat=1)
    yield dataclasses.replace(kfp, workload="scenarios", n=min(10, sizes.scenarios), repeat=1)
    yield dataclasses.replace(kfp, mode="default", repeat=1)
    yield dataclasses.replace(kfp, mode="default", workload="scenarios", n=2, repeat=1)
    yield dataclasses.replace(kfp, mode="venv", n=2, repeat=1)
    for subject, script, venv, mode, chain, fan, scenarios in (
        ("Metaflow", "metaflow_local", "metaflow", "", 20, 50, 5),
        ("Dagster", "dagster_job", "dagster", "multiprocess", 10, 12, 3),
        ("Dagster", "dagster_job", "dagster", "forkserver", 0, 12, 3),
        ("Airflow", "airflow_local", "airflow", "scheduler", 8, 20, 0),
        ("Airflow", "airflow_local", "airflow", "dags_test", 20, 0, 0),
    ):
        for workload, n in (("chain", chain), ("fan_out", fan), ("scenarios", scenarios)):
            if n:
                most = max(3, sizes.scenarios // 100) if sizes.runs == 1 else n
                yield PeerRun(subject, script, venv, workload, min(n, most), mode)


def select(runs: Iterator[PeerRun], names: str) -> list[PeerRun]:
    """Those of the peers that are named, by venv, separated by commas; all without names.

    >>> [one.workload for one in select(peer_runs(Sizes(fan_out=(5,))), "metaflow")]
    ['chain', 'fan_out', 'scenarios']
    """
    wanted = set(filter(None, names.split(",")))
    return [one for one in runs if not wanted or one.venv in wanted]
