"""The work itself, passed by value, and what every peer's script shares. No framework here.

chain      N tasks in a row, each hands an int on          → salt + N
fan_out    N tasks that hand their item on, and a total    → sum of the items
scenarios  N × prepare → train → evaluate → register       → N models in a folder
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKLOADS = ("chain", "fan_out", "scenarios")


def noop(x: int) -> int:
    return x + 1


def ident(item: int) -> int:
    return item


def total(items: Sequence[int]) -> int:
    return int(sum(items))


def prepare(scenario: int) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(scenario)
    features = rng.normal(size=(400, 8))
    noise = rng.normal(scale=0.5, size=400)
    labels = (features @ rng.normal(size=8) + noise > 0).astype("int64")
    return features, labels


def train(data: tuple[Any, Any]) -> Any:
    from sklearn.linear_model import LogisticRegression

    features, labels = data
    return LogisticRegression(max_iter=200).fit(features[:300], labels[:300])


def evaluate(model: Any, data: tuple[Any, Any]) -> float:
    features, labels = data
    return float(model.score(features[300:], labels[300:]))


def register(folder: str, scenario: int, model: Any, accuracy: float) -> float:
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / f"{scenario}.pkl").write_bytes(pickle.dumps(model))
    facts = {"scenario": scenario, "accuracy": accuracy}
    (Path(folder) / f"{scenario}.json").write_text(json.dumps(facts))
    return accuracy


@dataclass(frozen=True)
class Job:
    workload: str
    n: int
    workers: int
    #: An empty folder of this job's own; the registry and result.json end up there.
    folder: Path
    mode: str

    @property
    def registry(self) -> str:
        return str(self.folder / "registry")

    @property
    def tasks(self) -> int:
        return {"chain": self.n, "fan_out": self.n + 1, "scenarios": 4 * self.n}[self.workload]


def read_job() -> Job:
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--mode", default="")
    return Job(**vars(parser.parse_args()))


def report(job: Job, seconds: float, result: object = None, **more: float) -> None:
    """Refuses to report what was not done. `seconds`: from submission until the result was there.

    `more` may correct `tasks`, where a peer needs some of its own.
    """
    if job.workload == "chain":
        assert result == job.n, (result, job.n)
    elif job.workload == "fan_out":
        assert result == sum(range(job.n)), result
    else:
        assert len(list(Path(job.registry).glob("*.pkl"))) == job.n
    found = {"tasks": job.tasks, "inner_s": seconds, **more}
    (job.folder / "result.json").write_text(json.dumps(found))
