"""All that a model version says of itself, although no task has logged a parameter or a time."""

# No postponed annotations here: the KFP SDK reads those of its components.
import asyncio
import base64
import io
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import joblib
import pytest
import skops.io
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seamline.app.promote.make_release import make_release
from seamline.app.train.submit_run import submit_ir
from seamline.cli.model_text import say_diff, say_model
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.domain.clock import SystemClock
from seamline.domain.errors import InvalidInput
from seamline.domain.settings import Settings
from seamline.domain.states import PromotionPhase, is_terminal
from seamline.project.file import read_project_file
from seamline.project.plan import apply_project, policies_of
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES, EnvironmentPolicy
from seamline.promote.promotion import find_promotion
from seamline.promote.requests import request_promotion
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane, build_control_plane
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.train.runs import run_state

PROJECT = """
project = "lines"
team = "lines"

[models.line]
pipeline = "line"
output = "train.model"
samples = "train.samples"
units = { x = "mi" }
"""


@dsl.component(base_image="python:3.11")
def split(flights: Input[Dataset], first: Output[Dataset], rest: Output[Dataset]):
    from pathlib import Path

    Path(first.path).write_text("0,0\n1,2\n")
    Path(rest.path).write_text("2,4\n")


@dsl.component(base_image="python:3.11")
def train(rows: Input[Dataset], fitted: str, model: Output[Model], samples: Output[Dataset]):
    """Fitted elsewhere, so that no step of these tests has to import scikit-learn."""
    import base64
    from pathlib import Path

    Path(model.path).write_bytes(base64.b64decode(fitted))
    Path(samples.path).write_text('{"x": 1.0}\n{"x": 2.0}\n')


@dsl.component(base_image="python:3.11@sha256:" + "c" * 64)
def judge(model: Input[Model], rows: Input[Dataset], measured: Output[Metrics]):
    measured.log_metric("mae", 0.25)


@dsl.component(base_image="python:3.11")
def describe(rows: Input[Dataset], counted: Output[Metrics]):
    counted.log_metric("rows", 3)


@dsl.pipeline(name="line")
def line(fitted: str, flights: str = "datasets://flights@1"):
    read = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset)
    parts = split(flights=read.output)
    made = train(rows=parts.outputs["first"], fitted=fitted)
    judge(model=made.outputs["model"], rows=parts.outputs["rest"])
    describe(rows=parts.outputs["first"])


@dataclass(frozen=True)
class House:
    plane: ControlPlane
    ir: bytes

    @property
    def stores(self) -> Stores:
        return self.plane.platform.stores

    def run(self, payload: bytes, **arguments: str) -> str:
        fitted = base64.b64encode(payload).decode()
        run_id = submit_ir(
            self.plane.platform,
            self.ir,
            arguments={"fitted": fitted, **arguments},
            by="ana",
        )
        changes = self.plane.platform.changes
        assert changes.wait_until(lambda: is_terminal(run_state(self.stores, run_id)), 120)
        self.settle()
        return run_id

    def settle(self) -> None:
        while self.plane.loop.step():
            pass

    def get(self, path: str, **query: str) -> Any:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(self.plane.app, client=("127.0.0.1", 5000))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as ask:
                return await ask.get(f"/api/v1{path}", params=query)

        answer = asyncio.run(one())
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, run_id: str) -> list[str]:
        with self.stores.db.read() as connection:
            told = read_facts(connection, kinds=["model.refused"])
        return [one.body["reason"] for one in told if one.body["run_id"] == run_id]

    def admit(self, *formats: str, environments: tuple[str, ...] = ("dataops",)) -> None:
        """Into these environments; no other gate, no approval and no waiting."""
        policies = tuple(
            replace(
                one,
                gates=(),
                automatic=False,
                soak_s=0.0,
                formats=formats if one.name in environments else (),
            )
            for one in DEFAULT_POLICIES
        )
        with self.stores.db.transaction() as tx:
            apply_policies(tx, self.stores.facts, policies, by="root")


def fit(alpha: float) -> Any:
    return make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit([[0.0], [1.0]], [0.0, 2.0])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    plane = build_control_plane(Settings(workspace=folder / "workspace", slots=2), SystemClock())
    plane.platform.engine.start()
    stores = plane.platform.stores
    for day in (1, 2):
        path = folder / "flights.csv"
        path.write_text(f"day,flight\n2013-01-0{day},1\n")
        declaration = DatasetDeclaration("flights", time="day", keys=("day", "flight"))
        ingest(stores, declaration, path, source="flights.csv", by="ana")
    apply_project(stores, PROJECT, "seamline.toml", by="ana")
    compiler.Compiler().compile(line, str(folder / "line.yaml"))
    ir = (folder / "line.yaml").read_bytes()
    publish_pipeline(stores, ir, ["1.0.0"], by="eve", commit="c0ffee")
    yield House(plane, ir)
    plane.platform.engine.close()
    plane.platform.runner.close()
    stores.db.close()


@pytest.fixture(scope="module")
def first(house: House) -> Any:
    """The first version, as the API tells of it."""
    house.run(bytes(skops.io.dumps(fit(1.0))))
    return house.get("/models/line", version="1.0.0")


@pytest.fixture(scope="module")
def second(house: House, first: Any) -> Any:
    house.run(bytes(skops.io.dumps(fit(2.5))), flights="datasets://flights@2")
    return house.get("/models/line", version="1.0.1")


def test_the_signature_and_how_it_is_loaded(first: Any) -> None:
    document = first["document"]
    assert document["signature"]["inputs"] == [
        {"name": "x", "datatype": "FP64", "nullable": False, "unit": "mi"}
    ]
    assert document["signature"]["outputs"] == [{"name": "prediction", "datatype": "FP64"}]
    assert (document["task"], document["format"]) == ("regression", "skops")
    assert document["loading"] == {"verdict": "data", "globals": []}
    pins = {pin.partition("==")[0]: pin.partition("==")[2] for pin in document["requirements"]}
    assert {"scikit-learn", "skops", "numpy"} <= pins.keys() and all(pins.values())
    assert document["requires_python"].startswith(">=3.")


def test_hyper_parameters_are_read_off_the_model(first: Any) -> None:
    document = first["document"]
    assert document["estimator"]["class"] == "sklearn.linear_model._ridge.Ridge"
    assert document["estimator"]["parameters"]["ridge__alpha"] == 1.0
    assert document["estimator"]["parameters"]["standardscaler"].endswith("StandardScaler")
    assert document["parameters"]["ridge__solver"] == "auto"
    assert document["estimator"]["fitted"]["n_features_in_"] == 1


def test_where_it_comes_from(first: Any) -> None:
    document = first["document"]
    lineage, training = document["lineage"], document["training"]
    assert lineage["run_id"] == first["run_id"]
    assert (lineage["pipeline"], lineage["commit"]) == ("line", "c0ffee")
    assert lineage["previous_version"] is None
    assert lineage["arguments"].keys() == {"fitted", "flights"}
    assert [(one["name"], one["version"]) for one in lineage["dataset_versions"]] == [
        ("flights", 1)
    ]
    assert lineage["dataset_versions"][0]["digest"].startswith("sha256:")
    assert training["fidelity"] in ("forked", "reused")
    assert (training["requested_by"], training["environment"]) == ("ana", "dataops")
    assert training["started_at"] < training["ended_at"] == lineage["trained_at"]
    assert training["attempt"] == 1
    [rows] = training["inputs"]
    assert (rows["name"], rows["type"]) == ("rows", "system.Dataset")
    assert rows["digest"].startswith("sha256:")
    assert any(pin.startswith("scikit-learn==") for pin in training["packages"])


def test_components_and_images_by_digest(first: Any) -> None:
    found = {one["name"]: one for one in first["document"]["training"]["components"]}
    assert found.keys() == {"comp-describe", "comp-importer", "comp-judge", "comp-split"} | {
        "comp-train"
    }
    assert len({one["digest"] for one in found.values()}) == 5
    assert found["comp-judge"]["image_digest"] == "sha256:" + "c" * 64
    assert found["comp-train"]["image"] == "python:3.11"
    assert found["comp-train"]["image_digest"] is None
    assert first["document"]["training"]["component"] == "comp-train"


def test_metrics_are_those_of_tasks_that_read_the_model(first: Any) -> None:
    document = first["document"]
    assert document["training"]["metrics"] == {"train": {}, "test": {"mae": 0.25}}
    assert document["metrics"] == {"mae": 0.25}


def test_the_next_version_says_what_it_follows_and_what_differs(house: House, second: Any) -> None:
    assert second["document"]["lineage"]["previous_version"] == "1.0.0"
    found = house.get("/model-diff", before="line==1.0.0", after="line")
    assert (found["before"], found["after"]) == ("line==1.0.0", "line==1.0.1")
    assert found["parameters"] == {"ridge__alpha": [1.0, 2.5]}
    assert found["lock"] == found["inputs"] == found["metrics"] == found["model"] == {}
    assert found["arguments"].keys() == {"fitted", "flights"}
    assert found["lineage"].keys() == {"run_id", "trained_at"}
    assert found["splits"] == {} and found["same_payload"] is False
    flights = found["datasets"]["flights"]
    assert (flights["before"]["version"], flights["after"]["version"]) == (1, 2)
    assert [(one["version"], one["rows"]) for one in flights["between"]] == [(2, 2)]
    said = say_diff(found)
    assert "ridge__alpha  1.0     2.5" in said
    assert "data: flights\nbefore: version 1, 1 rows\nafter: version 2, 2 rows" in said
    same = house.get("/model-diff", before="line@1.0.0", after="line==1.0.0")
    assert say_diff(same).endswith("The model itself is the same, byte for byte.")


def test_a_person_reads_the_same(first: Any) -> None:
    said = say_model(first)
    for wanted in ("Ridge", "ridge__alpha", "mae", "c0ffee", "flights", "comp-train", "rows"):
        assert wanted in said
    assert "loading         data" in said


def test_pickles_are_refused_until_the_policy_admits_them(house: House, second: Any) -> None:
    run_id = house.run(pickle.dumps(fit(1.0)))
    [reason] = house.refused(run_id)
    assert "would run arbitrary code: it is a pickle file" in reason
    assert '[environments.dataops] formats = ["pickle"]' in reason
    house.admit("pickle")
    packed = io.BytesIO()
    joblib.dump(fit(1.0), packed)
    [reason] = house.refused(house.run(packed.getvalue()))
    assert "admits pickle" in reason
    assert house.refused(house.run(pickle.dumps(fit(3.0)))) == []
    document = house.get("/models/line")["document"]
    assert (document["format"], document["loading"]["verdict"]) == ("pickle", "arbitrary code")
    assert "sklearn.linear_model._ridge.Ridge" in document["loading"]["globals"]
    assert house.get("/models/line/verify")["version"] == document["version"]


def test_the_platform_declares_what_it_admits() -> None:
    text = 'project = "p"\nteam = "t"\n[environments.dataops]\nformats = ["pickle"]\n'
    [policy] = policies_of(read_project_file(text).declarations)
    assert policy.formats == ("pickle",)
    assert EnvironmentPolicy.from_json(policy.to_json()) == policy
    without = replace(policy, formats=())
    assert "formats" not in without.to_json() and without.digest != policy.digest
    with pytest.raises(InvalidInput, match="'pickel' is not known"):
        read_project_file(text.replace("pickle", "pickel"))


def test_dangerous_pickles_are_refused_where_pickles_are_admitted(house: House) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return print, ("loaded",)

    house.admit("pickle")
    [reason] = house.refused(house.run(pickle.dumps([fit(1.0), Bad()])))
    assert "builtins.print at byte" in reason and "(dangerous)" in reason


@pytest.mark.parametrize("admitted", [False, True])
def test_an_environment_admits_pickles_by_its_own_policy(house: House, admitted: bool) -> None:
    """Whatever its gates are."""
    house.admit("pickle", environments=("dataops", "development") if admitted else ("dataops",))
    house.run(pickle.dumps(fit(4.0 + admitted)))
    release = make_release(house.plane.platform, f"r{admitted}", ["line"], [], by="ana")
    asked = request_promotion(house.stores, release.digest, "development", by="ana")
    house.settle()
    with house.stores.db.read() as connection:
        found = find_promotion(connection, asked.id)
    assert (found.phase is PromotionPhase.LIVE) is admitted
    gates = house.get(f"/promotions/{asked.id}")["gates"]
    [gate] = [one for one in gates if one["gate"] != "policy"]
    assert (gate["gate"], gate["verdict"]) == ("formats", "pass" if admitted else "fail")
    assert "arbitrary code" in gate["sentence"]


def test_the_wheel_itself_says_so(house: House, second: Any) -> None:
    path = Path(second["path"])
    with zipfile.ZipFile(path) as wheel:
        [metadata] = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        assert "Format: skops (data)" in wheel.read(metadata).decode()


def test_of_a_result_from_the_cache_it_tells_of_the_run_that_trained(house: House) -> None:
    fitted = bytes(skops.io.dumps(fit(9.0)))
    house.run(fitted)
    trained = house.get("/models/line")
    earlier = trained["document"]
    run_id = house.run(fitted)
    found = house.get("/models/line")
    lineage, training = found["document"]["lineage"], found["document"]["training"]
    assert (lineage["run_id"], lineage["cached_from"]) == (run_id, earlier["lineage"]["run_id"])
    for name in ("run_started_at", "started_at", "ended_at"):
        assert training[name] == earlier["training"][name]
    assert lineage["trained_at"] == training["ended_at"] == earlier["lineage"]["trained_at"]
    said = say_model(found).splitlines()
    assert any(line.split() == ["cached_from", lineage["cached_from"]] for line in said)
    assert "cached_from" not in say_model(trained)
