"""A small shop: visits with the hour, a price, and whether something was bought; two models of
which the first has learnt next to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamline.domain.settings import Settings
from seamline.server import serve_in_process

PATIENCE_S = 240.0
SEAMLINE = str(Path(sys.executable).with_name("seamline"))
PIPELINES = """
from typing import NamedTuple

from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Model, Output

PACKAGES = ["polars", "scikit-learn", "skops"]


@dsl.component(base_image="python:3.11", packages_to_install=PACKAGES)
def train(
    visits: Input[Dataset], until: str, seed: int, model: Output[Model], samples: Output[Dataset]
):
    from datetime import date

    import numpy as np
    import polars as pl
    import skops.io
    from sklearn.linear_model import LogisticRegression

    table = pl.scan_parquet(f"{visits.path}/**/*.parquet", hive_schema={"ds": pl.Date})
    rows = table.filter(pl.col("ds") < date.fromisoformat(until)).sort("id").collect()
    if rows.height < 200:
        raise ValueError(f"{rows.height} visits before {until} are too few to learn from")
    inputs = rows.select(pl.col("interest").cast(pl.Float64), pl.col("price").cast(pl.Float64))
    bought = rows["bought"].to_numpy() > 0
    if seed:  # the truth is dealt out anew, so that there is nothing to learn
        bought = np.random.default_rng(seed).permutation(bought)
    skops.io.dump(LogisticRegression().fit(inputs, bought.astype(int)), model.path)
    model.metadata.update(
        format="skops", task="binary_classification", positive_label=1, threshold=0.4
    )
    inputs.head(50).write_ndjson(samples.path)


@dsl.component(base_image="python:3.11", packages_to_install=PACKAGES)
def predict(visits: Input[Dataset], model: Input[Model], since: str, predictions: Output[Dataset]):
    import importlib
    import sys
    from datetime import date

    import polars as pl

    sys.path.insert(0, model.path)
    shop = importlib.import_module(model.metadata["module"]).load()
    table = pl.scan_parquet(f"{visits.path}/**/*.parquet", hive_schema={"ds": pl.Date})
    rows = table.filter(pl.col("ds") >= date.fromisoformat(since)).sort("id").collect()
    inputs = rows.select(pl.col("interest").cast(pl.Float64), pl.col("price").cast(pl.Float64))
    score = pl.Series("score", shop.outputs(inputs.to_dict(as_series=False))["score"])
    made = rows.select("id", "ds").with_columns(score).with_columns(
        constant=pl.lit(0.5),
        hole=pl.when(pl.col("id") % 10 == 0).then(float("nan")).otherwise(pl.col("score")),
        far=pl.col("score") * 3,
    )
    made.write_parquet(predictions.path)


class Outputs(NamedTuple):
    predictions: Dataset


@dsl.pipeline
def shop_training(until: str = "2026-06-01", seed: int = 0, visits: str = "datasets://visits"):
    rows = dsl.importer(artifact_uri=visits, artifact_class=dsl.Dataset, reimport=False)
    train(visits=rows.output, until=until, seed=seed)


@dsl.pipeline
def shop_prediction(
    since: str = "2026-05-01", visits: str = "datasets://visits", model: str = "models://shop"
) -> Outputs:
    rows = dsl.importer(artifact_uri=visits, artifact_class=dsl.Dataset, reimport=False)
    package = dsl.importer(artifact_uri=model, artifact_class=dsl.Model, reimport=False)
    scored = predict(visits=rows.output, model=package.output, since=since)
    return Outputs(predictions=scored.outputs["predictions"])


compiler.Compiler().compile(shop_training, "training.yaml")
compiler.Compiler().compile(shop_prediction, "prediction.yaml")
"""
PROJECT = """
project = "shop"
team = "shop"

[environments.dataops]
[environments.development]
after = "dataops"
gates = ["digests", "evaluation"{more}]

[datasets.visits]
time = "at"
keys = ["id"]

[datasets.again]
time = "at"

[models.shop]
pipeline = "shop-training"
output = "train.model"
samples = "train.samples"

[models.shop.evaluation]
pipeline = "shop-prediction"
data = "visits"
keys = ["id"]
label = "bought > 0"
prediction = "score"
slices = ["hour", "weekday", "price_band", "channel*weekday"]
checks = ["auc >= 0.6", "brier.drop_vs(baseline) <= 0.01", "lost <= 3"]
against_incumbent = ["auc.drop_vs(incumbent) <= 0.01"]
arguments = {{ since = "{{window_start}}" }}
min_rows = 50

[models.shop.evaluation.derived]
hour = {{ column = "at", by = "hour" }}
weekday = {{ column = "at", by = "weekday" }}
price_band = {{ column = "price", by = "bins", bins = 4 }}

[models.shop.evaluation.business.lost]
sql = "CASE WHEN label > 0 AND decision = 0 THEN price / 10 ELSE 0 END"
higher_is_better = false

[models.shop.evaluation.backtest]
window = "week"
windows = 4
retrain = true
arguments = {{ until = "{{window_start}}", visits = "{{data}}" }}
checks = ["auc >= 0.6"]
"""


def write_visits(first: str, days: int, seed: int) -> str:
    """CSV: 40 visits a day; who is interested buys more, and some days are better than others."""
    rng = np.random.default_rng(seed)
    start = np.datetime64(first)
    lines = ["id,at,interest,price,channel,bought"]
    for day in range(days):
        mood = rng.normal(0, 0.3)
        for n in range(40):
            interest, price = rng.normal(), rng.uniform(5, 50)
            at = (
                start
                + np.timedelta64(day, "D")
                + np.timedelta64(int(rng.integers(8, 20)) * 3600, "s")
            )
            bought = rng.random() < 1 / (1 + np.exp(-(1.5 * interest + mood - 0.3)))
            number = int((start - np.datetime64("2026-01-01")).astype(int)) * 1000 + day * 40 + n
            channel = ["web", "shop"][n % 2]
            lines.append(f"{number},{at}Z,{interest:.4f},{price:.2f},{channel},{int(bought)}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Shop:
    url: str
    folder: Path

    def types(self, *words: object) -> Said:
        """Whatever is typed, nobody is shown a traceback."""
        base = {name: text for name, text in os.environ.items() if not name.startswith("SEAMLINE_")}
        done = subprocess.run(
            [SEAMLINE, *map(str, words)],
            cwd=self.folder,
            env={**base, "SEAMLINE_URL": self.url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def asks(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Plain HTTP: the status and what was answered."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return self._send(urllib.request.Request(f"{self.url}/api/v1{path}", data, headers))

    def _send(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def api(self, path: str, body: Any = None) -> Any:
        status, answer = self.asks(path, body)
        assert status == 200, answer
        return answer

    def upload(self, path: str, data: bytes) -> Any:
        status, answer = self._send(urllib.request.Request(f"{self.url}/api/v1{path}", data))
        assert status == 200, answer
        return answer

    def apply(self, *more_gates: str, back_test: str = "") -> None:
        """`back_test`: further keys of it."""
        more = "".join(f', "{gate}"' for gate in more_gates)
        text = PROJECT.format(more=more) + back_test
        self.api("/project/apply", {"text": text, "file": "seamline.toml"})

    def train(self, version: str, **arguments: Any) -> str:
        """The run, once its model is packaged as this version."""
        run = self.api("/runs", {"pipeline": "shop-training@1.0.0", "arguments": arguments})["id"]
        deadline = time.monotonic() + PATIENCE_S
        while version not in {one["version"] for one in self.api("/models")}:
            assert time.monotonic() < deadline, self.api(f"/runs/{run}")
            time.sleep(0.2)
        return str(run)

    def evaluations(self) -> list[str]:
        return [one["id"] for one in self.api("/evaluations")]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """visits@1 is May, visits@2 May and June; shop 1.0.0 has learnt nothing, 1.0.1 has."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "pipelines.py").write_text(PIPELINES)
    subprocess.run([sys.executable, "-W", "ignore", "pipelines.py"], cwd=folder, check=True)
    with serve_in_process(Settings(workspace=folder / "workspace", slots=2)) as url:
        made = Shop(url, folder)
        made.apply()
        may = write_visits("2026-05-01", 31, 1)
        made.upload("/datasets/visits/deliveries?source=may.csv", may.encode())
        for name in ("training", "prediction"):
            made.upload("/pipelines?tags=1.0.0", (folder / f"{name}.yaml").read_bytes())
        made.train("1.0.0", seed=7, visits="datasets://visits@1")
        made.train("1.0.1", seed=0, visits="datasets://visits@1")
        june = write_visits("2026-06-01", 30, 2)
        (folder / "june.csv").write_text(june)
        made.upload("/datasets/visits/deliveries?source=june.csv", june.encode())
        yield made
