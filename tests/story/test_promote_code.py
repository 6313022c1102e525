"""Production takes over code: it trains with its own parameters, what it trained passes the same
gates, somebody approves that, and only then it goes live. Nothing trained elsewhere does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.settings import Settings
from seamline.serve.snapshots.snapshot import read_snapshot, snapshot_path
from seamline.server import serve_in_process
from seamline.trust.keys import load_public_key

PATIENCE_S = 240.0
PIPELINES = """
from typing import NamedTuple

from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Model, Output

PACKAGES = ["polars", "scikit-learn", "skops"]


@dsl.component(base_image="python:3.11", packages_to_install=PACKAGES)
def train(sales: Input[Dataset], until: str, model: Output[Model], samples: Output[Dataset]):
    from datetime import date

    import polars as pl
    import skops.io
    from sklearn.linear_model import LinearRegression

    table = pl.scan_parquet(f"{sales.path}/**/*.parquet", hive_schema={"ds": pl.Date})
    rows = table.filter(pl.col("ds") <= date.fromisoformat(until)).collect()
    inputs = rows.select(pl.col("temperature").cast(pl.Float64), pl.col("weekend").cast(pl.Int64))
    estimator = LinearRegression().fit(inputs, rows["sold"].cast(pl.Float64).to_numpy())
    skops.io.dump(estimator, model.path)
    model.metadata["format"] = "skops"
    inputs.write_ndjson(samples.path)


@dsl.component(base_image="python:3.11", packages_to_install=PACKAGES)
def predict(sales: Input[Dataset], model: Input[Model], since: str, predictions: Output[Dataset]):
    import importlib
    import sys
    from datetime import date

    import polars as pl

    sys.path.insert(0, model.path)
    ice_cream = importlib.import_module(model.metadata["module"]).load()
    table = pl.scan_parquet(f"{sales.path}/**/*.parquet", hive_schema={"ds": pl.Date})
    rows = table.filter(pl.col("ds") >= date.fromisoformat(since)).sort("day").collect()
    inputs = rows.select(pl.col("temperature").cast(pl.Float64), pl.col("weekend").cast(pl.Int64))
    answers = ice_cream.outputs(inputs.to_dict(as_series=False))
    scored = rows.select("day", "ds").with_columns(pl.Series("prediction", answers["prediction"]))
    scored.write_parquet(predictions.path)


class Outputs(NamedTuple):
    predictions: Dataset


@dsl.pipeline
def sales_training(until: str, sales: str = "datasets://sales"):
    rows = dsl.importer(artifact_uri=sales, artifact_class=dsl.Dataset, reimport=False)
    train(sales=rows.output, until=until)


@dsl.pipeline
def sales_prediction(
    since: str, sales: str = "datasets://sales", model: str = "models://ice-cream"
) -> Outputs:
    rows = dsl.importer(artifact_uri=sales, artifact_class=dsl.Dataset, reimport=False)
    package = dsl.importer(artifact_uri=model, artifact_class=dsl.Model, reimport=False)
    scored = predict(sales=rows.output, model=package.output, since=since)
    return Outputs(predictions=scored.outputs["predictions"])


compiler.Compiler().compile(sales_training, "training.yaml")
compiler.Compiler().compile(sales_prediction, "prediction.yaml")
"""
PROJECT = """
project = "kiosk"
team = "kiosk"

[datasets.sales]
time = "day"
keys = ["day"]

[models.ice-cream]
pipeline = "sales-training"
output = "train.model"
samples = "train.samples"

[models.ice-cream.evaluation]
pipeline = "sales-prediction"
data = "sales"
keys = ["day"]
label = "sold"
prediction = "prediction"
checks = ["mae <= {worst}"]
arguments = {{ since = "{{window_start}}" }}

[deployments.ice-cream]
model = "ice-cream"
"""
PLATFORM = """
project = "platform"
team = "platform"

[environments.dataops]
parameters = { until = "2026-05-12" }

[environments.development]
after = "dataops"
gates = ["digests", "provenance"]

[environments.production]
after = "development"
gates = ["digests", "provenance", "evaluation"]
approvals = { count = 1 }
promotes = "code"
parameters = { until = "2026-05-20", since = "2026-05-21" }
"""


@dataclass
class Kiosk:
    url: str
    workspace: Path

    def api(self, path: str, body: Any = None, token: str = "") -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)

    def upload(self, path: str, data: bytes) -> Any:
        address = f"{self.url}/api/v1{path}"
        with urllib.request.urlopen(urllib.request.Request(address, data), timeout=600) as response:
            return json.load(response)

    def promote(self, release: str, environment: str) -> str:
        asked = self.api("/promotions", {"release": release, "environment": environment})
        assert "id" in asked, asked
        return str(asked["id"])

    def until(self, promotion_id: str, *phases: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = self.api(f"/promotions/{promotion_id}?wait_s=20")
            if found["phase"] in phases:
                return dict(found)
            assert time.monotonic() < deadline, found
            assert found["phase"] not in ("failed", "errored"), found

    def await_packaged(self, run_id: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.api(f"/runs/{run_id}?wait_s=20")["state"] != "succeeded":
            assert time.monotonic() < deadline, run_id
        while [one["state"] for one in self.api(f"/runs/{run_id}/models?wait_s=20")] != [
            "packaged"
        ]:
            assert time.monotonic() < deadline, run_id

    def live(self, environment: str) -> Any:
        found = self.api("/board")["environments"]
        return next(one["live"] for one in found if one["name"] == environment)

    def facts(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.api("/facts?limit=1000") if one["kind"] == kind]

    def apply(self, text: str, name: str) -> None:
        said = self.api("/project/apply", {"text": text, "file": name})
        assert "error" not in said, said

    def served(self) -> str:
        """The version that the data plane is told to serve in production, signed."""
        public = load_public_key(self.workspace / "keys" / "signing.pub")
        snapshot = read_snapshot(snapshot_path(self.workspace, "production"), public)
        return snapshot.endpoints[0].model_version


def _sold(day: int) -> int:
    """Nearly a straight line, so that a model is good and none is perfect."""
    return 60 + 6 * (day % 11) + day * 7 % 5


def rows() -> str:
    lines = [
        f"2026-05-{day:02d},{14 + day % 11}.5,{int(day % 7 in (2, 3))},{_sold(day)}"
        for day in range(1, 32)
    ]
    return "\n".join(["day,temperature,weekend,sold", *lines]) + "\n"


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kiosk]:
    """A model that was trained in dataops, in a release with its pipelines, live in development."""
    folder = tmp_path_factory.mktemp("kiosk")
    (folder / "pipelines.py").write_text(PIPELINES)
    subprocess.run([sys.executable, "pipelines.py"], cwd=folder, check=True)
    workspace = folder / "workspace"
    with serve_in_process(Settings(workspace=workspace, slots=1)) as url:
        made = Kiosk(url, workspace)
        made.apply(PROJECT.format(worst=30), "seamline.toml")
        made.apply(PLATFORM, "platform.toml")
        made.upload("/datasets/sales/deliveries?source=may.csv", rows().encode())
        for name in ("training", "prediction"):
            made.upload("/pipelines?tags=1.0.0", (folder / f"{name}.yaml").read_bytes())
        run = made.api("/runs", {"pipeline": "sales-training@1.0.0"})["id"]
        made.await_packaged(run)
        release(made, "code", "ice-cream@1.0.0", "sales-training@1.0.0", "sales-prediction@1.0.0")
        made.api("/principals", {"name": "bea", "roles": ["approver"]})
        yield made


def release(kiosk: Kiosk, alias: str, model: str, *pipelines: str) -> None:
    body = {"alias": alias, "models": [model], "pipelines": list(pipelines)}
    said = kiosk.api("/releases", body)
    assert "digest" in said, said
    kiosk.until(kiosk.promote(alias, "development"), "live")


def test_what_the_environment_trained_is_approved_and_goes_live(kiosk: Kiosk) -> None:
    bea = kiosk.api("/tokens", {"principal": "bea"})["token"]
    plan = kiosk.api("/promotions/plan", {"release": "code", "environment": "production"})
    said = {one["gate"]: one["sentence"] for one in plan["gates"]}
    assert said["code"] == "is asked of what is trained in production"
    first = kiosk.until(kiosk.promote("code", "production"), "awaiting_approval")
    assert kiosk.live("production") is None
    gates = {one["gate"]: one for one in first["gates"]}
    assert {one["verdict"] for one in gates.values()} == {"pass"}
    assert gates["code"]["evidence"]["release"] == first["retrained"] != first["release"]
    assert "ice-cream 1.0.1" in gates["evaluation"]["sentence"]
    # By the environment's own parameters, which no release holds.
    run = kiosk.api(f"/runs/{gates['code']['evidence']['runs'][0]}")
    assert run["environment"] == "production"
    assert run["arguments"]["until"] == "2026-05-20"
    trained = kiosk.api("/models/ice-cream?version=1.0.0")["document"]["lineage"]["arguments"]
    assert trained["until"] == "2026-05-12"
    assert "2026-05-20" not in json.dumps(kiosk.api(f"/releases/{first['retrained']}"))
    kiosk.api(f"/promotions/{first['id']}/approve", {}, bea)
    kiosk.until(first["id"], "live")
    approved = kiosk.facts("approval.given")[0]["body"]
    assert approved["release"] == first["retrained"]
    live = kiosk.live("production")
    assert [one["version"] for one in live["contents"]["packages"]] == ["1.0.1"]
    assert kiosk.served() == "1.0.1"
    # What was trained elsewhere is not what was asked for: it never was live there.
    assert live["digest"] == first["retrained"]
    # Again: another training, and back to what the first one made.
    second = kiosk.until(kiosk.promote("code", "production"), "awaiting_approval")
    kiosk.api(f"/promotions/{second['id']}/approve", {}, bea)
    kiosk.until(second["id"], "live")
    assert kiosk.served() == "1.0.2"
    back = kiosk.api("/rollbacks", {"environment": "production", "reason": "sold out"})
    kiosk.until(back["id"], "live")
    assert kiosk.served() == "1.0.1"
    assert kiosk.live("production")["digest"] == first["retrained"]
    assert len(kiosk.facts("code.retrained")) == 2
    assert kiosk.api("/audit/verify")["broken"] is None


def test_what_is_not_good_enough_does_not_go_live(kiosk: Kiosk) -> None:
    before = kiosk.live("production")
    kiosk.apply(PROJECT.format(worst=0.0001), "seamline.toml")
    failed = kiosk.until(kiosk.promote("code", "production"), "failed", "awaiting_approval")
    assert failed["phase"] == "failed" and "evaluation" in failed["reason"]
    assert kiosk.live("production") == before
    kiosk.apply(PROJECT.format(worst=30), "seamline.toml")


def test_a_release_without_code_is_refused(kiosk: Kiosk) -> None:
    release(kiosk, "bytes-only", "ice-cream@1.0.0", "sales-prediction@1.0.0")
    failed = kiosk.until(kiosk.promote("bytes-only", "production"), "failed", "awaiting_approval")
    assert "names no training pipeline" in failed["reason"]
