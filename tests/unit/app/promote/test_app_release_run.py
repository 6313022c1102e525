"""A training run makes a release by itself, where a seamline.toml says so."""

# No postponed annotations here: the KFP SDK reads those of its components.
import base64
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import skops.io
from kfp import compiler, dsl
from kfp.dsl import Dataset, Model, Output
from sklearn.linear_model import LinearRegression

from seamline.app.promote.release_run import on_run_ended
from seamline.app.train.repeat_run import retry
from seamline.app.train.scenarios import submit_scenarios
from seamline.domain.clock import SystemClock
from seamline.domain.errors import InvalidInput
from seamline.domain.settings import Settings
from seamline.domain.states import is_terminal
from seamline.project.plan import apply_project
from seamline.promote.release import StoredRelease, list_releases
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane, build_control_plane
from seamline.store.facts import RecordedFact, read_facts
from seamline.train.runs import run_state

PROJECT = """
project = "lines"
team = "lines"

[models.line]
pipeline = "line-of"
output = "train.model"
samples = "train.samples"
per = ["origin"]

[releases.lines]
pipeline = "line-of"
pipelines = ["line-of@1.0.0"]
"""


@dsl.component(base_image="python:3.11")
def choose(origin: str, mended: str) -> str:
    return mended if origin == "LGA" else ""


@dsl.component(base_image="python:3.11")
def train(fitted: str, fails_without: str, model: Output[Model], samples: Output[Dataset]):
    import base64
    from pathlib import Path

    if fails_without and not Path(fails_without).exists():
        raise RuntimeError("it was asked to fail")
    Path(model.path).write_bytes(base64.b64decode(fitted))
    Path(samples.path).write_text('{"x": 1.0}\n')


@dsl.pipeline
def line_of(origin: str, fitted: str, mended: str = ""):
    path = choose(origin=origin, mended=mended)
    train(fitted=fitted, fails_without=path.output)


@cache
def fit(slope: float) -> str:
    """The same bytes each time: skops writes the hour into them."""
    made = LinearRegression().fit([[0.0], [1.0]], [0.0, slope])
    return base64.b64encode(skops.io.dumps(made)).decode()


class House:
    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane, self.folder = plane, folder
        self.platform, self.stores = plane.platform, plane.platform.stores
        path = folder / "line-of.yaml"
        compiler.Compiler().compile(line_of, str(path))
        self.ir = path.read_bytes()
        publish_pipeline(self.stores, self.ir, ["1.0.0"], by="eve")

    def apply(self, text: str = PROJECT) -> None:
        apply_project(self.stores, text, "seamline.toml", by="ana")

    def run(self, origins: list[str], slope: float, mended: str = "") -> RecordedFact:
        """Its end, once everything has reacted to it."""
        arguments = {"fitted": fit(slope), "mended": mended}
        items = {"list": [{"origin": one} for one in origins]}
        run_id = submit_scenarios(self.platform, self.ir, items, arguments=arguments, by="ana")
        return self.ended(run_id)

    def ended(self, run_id: str) -> RecordedFact:
        assert self.platform.changes.wait_until(
            lambda: is_terminal(run_state(self.stores, run_id)), 120
        )
        while self.plane.loop.step():
            pass
        return self.facts("run.ended", run_id)[-1]

    def facts(self, kind: str, subject: str | None = None) -> list[RecordedFact]:
        with self.stores.db.read() as connection:
            return read_facts(connection, kinds=[kind], subject=subject)

    def releases(self) -> dict[str, StoredRelease]:
        with self.stores.db.read() as connection:
            return {one.alias: one for one in list_releases(connection)}

    def models(self, alias: str) -> dict[str, str]:
        return {pin.name: pin.version for pin in self.releases()[alias].release.packages}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    plane = build_control_plane(Settings(workspace=tmp_path / "workspace", slots=2), SystemClock())
    plane.platform.engine.start()
    made = House(plane, tmp_path)
    made.apply()
    yield made
    plane.platform.engine.close()
    plane.platform.runner.close()
    plane.platform.stores.db.close()


def test_each_successful_run_makes_the_next_release(house: House) -> None:
    first = house.run(["JFK", "LGA"], 1.0)
    assert list(house.releases()) == ["lines-1"]
    assert house.models("lines-1") == {"line-jfk": "1.0.0", "line-lga": "1.0.0"}
    [pin] = house.releases()["lines-1"].release.pipelines
    assert (pin.name, pin.version) == ("line-of", "1.0.0")
    [made] = house.facts("release.created")
    assert (made.by, made.caused_by) == ("ana", first.id)

    # What is in the cache was trained by the run before, and belongs to the release all the same.
    house.run(["JFK", "EWR"], 1.0)
    assert house.models("lines-2") == {"line-ewr": "1.0.0", "line-jfk": "1.0.0"}

    house.run(["JFK", "LGA"], 2.0)
    assert house.models("lines-3") == {"line-jfk": "1.0.1", "line-lga": "1.0.1"}


def test_a_run_that_brings_nothing_new_makes_none(house: House) -> None:
    house.run(["JFK"], 1.0)
    again = house.run(["JFK"], 1.0)
    assert list(house.releases()) == ["lines-1"]
    on_run_ended(house.platform, again)  # a killed server would
    assert list(house.releases()) == ["lines-1"]
    assert house.facts("release.refused") == []


def test_a_run_that_lacks_a_scenario_makes_none_and_says_so(house: House) -> None:
    mended = house.folder / "mended"
    end = house.run(["JFK", "LGA"], 1.0, str(mended))
    assert house.releases() == {}
    [said] = house.facts("release.refused", "lines")
    assert said.caused_by == end.id
    assert "ended as partially_failed. Retry what failed" in said.body["reason"]

    mended.touch()
    retry(house.platform, end.body["run_id"], by="ana")
    house.ended(end.body["run_id"])
    assert house.models("lines-1") == {"line-jfk": "1.0.0", "line-lga": "1.0.0"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('models = ["line-ewr"]', "has no packaged model line-ewr. See what became"),
        ('pipelines = ["nothing@1.0.0"]', "nothing"),
    ],
)
def test_what_is_not_there_is_said_by_name(house: House, line: str, says: str) -> None:
    text = PROJECT.replace('pipelines = ["line-of@1.0.0"]', line)
    house.apply(text)
    house.run(["JFK"], 1.0)
    assert house.releases() == {}
    [said] = house.facts("release.refused", "lines")
    assert says in said.body["reason"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('models = ["lime"]', "no model 'lime'. Did you mean line"),
        ('pipelines = ["line-of"]', "'line-of' has to be NAME@TAG"),
    ],
)
def test_what_is_mistyped_is_pointed_at(house: House, line: str, says: str) -> None:
    with pytest.raises(InvalidInput) as told:
        house.apply(PROJECT.replace('pipelines = ["line-of@1.0.0"]', line))
    assert says in str(told.value)
    assert "seamline.toml" in str(told.value)
