"""kill -9 while a run's scenarios become models: each becomes one version, and the chain holds."""

# No postponed annotations here: the KFP SDK reads those of its components.
import base64
import json
import random
import time
from collections import Counter

import pytest
import skops.io
from kfp import compiler, dsl
from kfp.dsl import Dataset, Model, Output
from sklearn.linear_model import LinearRegression

SEED = 20261121
SCENARIOS = 16
PROJECT = """
project = "slopes"
team = "slopes"

[models.slope]
pipeline = "fit-slope"
output = "fit.model"
samples = "fit.samples"
per = ["slope"]
"""


@dsl.component(base_image="python:3.11")
def fit(slope: int, fitted: dict, round: int, model: Output[Model], samples: Output[Dataset]):
    """Fitted elsewhere, so that this does not have to import scikit-learn."""
    import base64
    from pathlib import Path

    Path(model.path).write_bytes(base64.b64decode(fitted[str(slope)]))
    Path(samples.path).write_text('{"x": 1.0}\n')


@dsl.pipeline
def fit_slope(slope: int, fitted: dict, round: int):
    fit(slope=slope, fitted=fitted, round=round)


@pytest.fixture(scope="module")
def cabin(build_house, tmp_path_factory):
    made = build_house(tmp_path_factory.mktemp("slopes"))
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def ir(cabin, tmp_path_factory):
    path = tmp_path_factory.mktemp("compiled") / "slope.yaml"
    compiler.Compiler().compile(fit_slope, str(path))
    cabin.ask("/project/apply", {"text": PROJECT, "file": "seamline.toml"})
    cabin.ask("/pipelines?tags=1.0.0", file=path.read_bytes())
    return path.read_text()


@pytest.fixture(scope="module")
def fitted():
    slopes = range(SCENARIOS)
    models = {one: LinearRegression().fit([[0.0], [1.0]], [0.0, one]) for one in slopes}
    return {
        str(one): base64.b64encode(skops.io.dumps(model)).decode() for one, model in models.items()
    }


def test_each_scenario_becomes_one_version_whenever_the_server_dies(cabin, ir, fitted, soak):
    drawn = random.Random(SEED)
    for number in range(20 if soak else 2):
        scenarios = {"list": [{"slope": slope} for slope in range(SCENARIOS)]}
        arguments = {"fitted": fitted, "round": number}
        body = {"ir": ir, "scenarios": json.dumps(scenarios), "arguments": arguments}
        run = cabin.ask("/runs", body)["id"]
        # Some of them are there, and others are not: then, at any moment.
        cabin.until(lambda run=run: registered(cabin, run))
        time.sleep(drawn.uniform(0, 0.3))
        cabin.kill()
        before = registered(cabin, run)
        cabin.up()
        cabin.until(lambda run=run: len(registered(cabin, run)) == SCENARIOS)
        said = f"round {number}: {len(before)} before the kill"
        after = registered(cabin, run)
        assert after[: len(before)] == before, said
        assert sorted(after) == sorted(f"slope-{one}" for one in range(SCENARIOS)), said
        assert cabin.ask("/audit/verify")["broken"] is None, said
    made = cabin.ask("/models?of=slope")
    assert set(Counter((one["model"], one["run_id"]) for one in made).values()) == {1}
    newest = {one["model"]: one["version"] for one in reversed(made)}
    assert set(newest.values()) == {f"1.0.{number}"}
    for name in ("slope-0", f"slope-{SCENARIOS - 1}"):
        assert cabin.ask(f"/models/{name}/verify")


def registered(cabin, run):
    """Models of the run, in the order in which they came; from the ledger."""
    facts = cabin.facts("model.version_registered")
    return [one["subject"] for one in facts if one["body"]["run_id"] == run]
