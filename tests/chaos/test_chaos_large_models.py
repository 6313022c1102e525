"""A model larger than the server's memory may grow: from a task's output into the index, through
the gates of a promotion, and out again."""

# No postponed annotations here: the KFP SDK reads those of its components.
import hashlib
import json
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl
from kfp.dsl import Dataset, Model, Output

NEEDS = [f"{name}=={version(name)}" for name in ("scikit-learn", "skops")]
PROJECT = """
project = "large"
team = "large"

[environments.dataops]

[environments.development]
after = "dataops"
gates = ["digests", "provenance"]
automatic = true

[models.bulky]
pipeline = "bulky-training"
output = "train.model"
samples = "train.samples"
version = "1.0.{n}"

[deployments.bulky]
model = "bulky"
"""


@dsl.component(base_image="python:3.11", packages_to_install=NEEDS)
def train(ballast_mb: int, model: Output[Model], samples: Output[Dataset]):
    """A line, and so many megabytes that it carries along."""
    from pathlib import Path

    import numpy as np
    import skops.io
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
    fitted.ballast_ = np.random.default_rng(7).integers(0, 255, ballast_mb << 20, dtype=np.uint8)
    skops.io.dump(fitted, model.path)
    Path(samples.path).write_text('{"x": 0.5}\n')


@dsl.pipeline
def bulky_training(ballast_mb: int = 0):
    # Another result for each: this one is never taken from the cache.
    train(ballast_mb=ballast_mb).set_caching_options(enable_caching=False)


@pytest.fixture(scope="module")
def works(build_house: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("works")
    compiler.Compiler().compile(bulky_training, str(folder / "bulky.yaml"))
    made = build_house(folder)
    try:
        made.up()
        made.ask("/project/apply", {"text": PROJECT, "file": "seamline.toml"})
        ir = (folder / "bulky.yaml").read_bytes()
        made.ask("/pipelines?tags=1.0.0", file=ir)
        yield made
    finally:
        made.down()


def peak_mb(house: Any) -> int:
    status = Path(f"/proc/{house.address['identity']['pid']}/status").read_text()
    line = next(one for one in status.splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) >> 10


def release(house: Any, ballast_mb: int) -> Any:
    """Trained, packaged, released, live in development, and its wheel downloaded."""
    body = {"pipeline": "bulky-training@1.0.0", "arguments": {"ballast_mb": ballast_mb}}
    run = house.ask("/runs", body)["id"]
    # Of gigabytes each step takes a while.
    for _ in range(4):
        try:
            found = house.until(lambda: house.version_of(run))
            break
        except AssertionError:
            assert ballast_mb > 1000, house.ask(f"/runs/{run}")
    pins = {"models": [f"bulky@{found['version']}"], "pipelines": ["bulky-training@1.0.0"]}
    made = house.ask("/releases", {"alias": f"with-{ballast_mb}", **pins})
    house.until(lambda: house.live("development") == made["digest"])
    house.until(lambda: house.phase(made["digest"], "development")["phase"] == "live")
    digest = found["wheel_digest"].removeprefix("sha256:")
    url = f"{house.address['url']}/pypi/development/files/{digest}/{found['filename']}"
    hasher, size = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=60) as wheel:
        while piece := wheel.read(1 << 20):
            hasher.update(piece)
            size += len(piece)
    assert hasher.hexdigest() == digest
    assert size > ballast_mb << 20
    return found


def test_up_and_down_in_bounded_memory(works: Any, soak: bool) -> None:
    release(works, 1)
    idle = peak_mb(works)
    found = release(works, 2100 if soak else 200)
    more = peak_mb(works) - idle
    print(f"the server took {more} MB more than for a small model")
    assert more <= 150
    assert works.ask(f"/models/bulky/verify?version={found['version']}")
    url = f"{works.address['serve_url']}/development/v2/models/bulky/infer"
    columns = [{"name": "x", "datatype": "FP64", "shape": [1], "data": [2.0]}]
    data = json.dumps({"inputs": columns}).encode()
    with urllib.request.urlopen(url, data, timeout=60) as answer:
        said = json.load(answer)
    assert said["outputs"][0]["data"] == pytest.approx([5.0])
