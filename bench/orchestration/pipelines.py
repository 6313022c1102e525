"""The same work as KFP pipelines: for Seamline, for kfp.local, for the unmodified `kfp.Client`.

`salt` makes the inputs of one repetition differ from those of the next, so that a cache that is
on by default finds nothing of the last one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Model, Output

IMAGE = "python:3.11"
NUMERICS = ("numpy", "scikit-learn")


def noop(x: int) -> int:
    return x + 1


def ident(item: int, salt: int) -> int:
    return item + salt


def total(items: list) -> int:
    return int(sum(items))


def prepare(scenario: int, salt: int, data: Output[Dataset]):
    import pickle
    from pathlib import Path

    import numpy as np

    rng = np.random.default_rng([scenario, salt])
    features = rng.normal(size=(400, 8))
    noise = rng.normal(scale=0.5, size=400)
    labels = (features @ rng.normal(size=8) + noise > 0).astype("int64")
    Path(data.path).write_bytes(pickle.dumps((features, labels)))


def train(data: Input[Dataset], model: Output[Model]):
    import pickle
    from pathlib import Path

    from sklearn.linear_model import LogisticRegression

    features, labels = pickle.loads(Path(data.path).read_bytes())
    fitted = LogisticRegression(max_iter=200).fit(features[:300], labels[:300])
    Path(model.path).write_bytes(pickle.dumps(fitted))


def evaluate(data: Input[Dataset], model: Input[Model]) -> float:
    import pickle
    from pathlib import Path

    features, labels = pickle.loads(Path(data.path).read_bytes())
    fitted = pickle.loads(Path(model.path).read_bytes())
    return float(fitted.score(features[300:], labels[300:]))


def register(scenario: int, folder: str, model: Input[Model], accuracy: float) -> float:
    import json
    import shutil
    from pathlib import Path

    Path(folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(model.path, f"{folder}/{scenario}.pkl")
    facts = {"scenario": scenario, "accuracy": accuracy}
    Path(f"{folder}/{scenario}.json").write_text(json.dumps(facts))
    return accuracy


def mark(item: int, journal: str) -> int:
    """Leaves a line when it starts, then takes 20 ms."""
    import time
    from pathlib import Path

    with Path(journal).open("a") as file:
        file.write(f"{item} {time.time()}\n")
    time.sleep(0.02)
    return item


def now(salt: int) -> float:
    import time

    return time.time()


@dataclass(frozen=True)
class Kind:
    """How components are declared; the default is what the SDK does by default."""

    install_kfp_package: bool = True
    #: Scenarios say that they need numpy and scikit-learn.
    names_requirements: bool = True
    parallelism: int | None = None

    def component(self, function: Callable[..., Any], *requirements: str) -> Callable[..., Any]:
        return dsl.component(
            function,
            base_image=IMAGE,
            install_kfp_package=self.install_kfp_package,
            packages_to_install=list(requirements) if self.names_requirements else None,
        )

    def loop(self, n: int) -> dsl.ParallelFor:
        return dsl.ParallelFor(list(range(n)), parallelism=self.parallelism)


DEFAULT = Kind()


def chain(n: int, kind: Kind = DEFAULT) -> Callable[..., Any]:
    step = kind.component(noop)

    @dsl.pipeline(name="chain")
    def pipeline(salt: int = 0) -> int:
        task = step(x=salt)
        for _ in range(n - 1):
            task = step(x=task.output)
        return task.output

    return pipeline


def fan_out(n: int, kind: Kind = DEFAULT) -> Callable[..., Any]:
    one, collect = kind.component(ident), kind.component(total)

    @dsl.pipeline(name="fan-out")
    def pipeline(salt: int = 0) -> int:
        with kind.loop(n) as item:
            task = one(item=item, salt=salt)
        return collect(items=dsl.Collected(task.output)).output

    return pipeline


def scenarios(n: int, kind: Kind = DEFAULT) -> Callable[..., Any]:
    steps = [kind.component(step, *NUMERICS) for step in (prepare, train, evaluate, register)]

    @dsl.pipeline(name="scenarios")
    def pipeline(folder: str, salt: int = 0):
        with kind.loop(n) as scenario:
            data = steps[0](scenario=scenario, salt=salt).outputs["data"]
            model = steps[1](data=data).outputs["model"]
            accuracy = steps[2](data=data, model=model).output
            steps[3](scenario=scenario, folder=folder, model=model, accuracy=accuracy)

    return pipeline


def marks(n: int) -> Callable[..., Any]:
    """For what is killed in the middle: who ran, when, how often."""
    one, collect = DEFAULT.component(mark), DEFAULT.component(total)

    @dsl.pipeline(name="marks")
    def pipeline(journal: str) -> int:
        with DEFAULT.loop(n) as item:
            task = one(item=item, journal=journal)
        return collect(items=dsl.Collected(task.output)).output

    return pipeline


def clock() -> Callable[..., Any]:
    """One task that tells when its first line ran."""
    read = DEFAULT.component(now)

    @dsl.pipeline(name="clock")
    def pipeline(salt: int) -> float:
        return read(salt=salt).output

    return pipeline


WORKLOADS: Mapping[str, Callable[..., Callable[..., Any]]] = {
    "chain": chain,
    "fan_out": fan_out,
    "scenarios": scenarios,
}


def compiled(pipeline: Callable[..., Any], path: str) -> str:
    """IR as YAML."""
    compiler.Compiler().compile(pipeline, path)
    return Path(path).read_text()
