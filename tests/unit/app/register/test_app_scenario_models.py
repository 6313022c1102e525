"""Each scenario of a run registers its own model: which, once, and with what behind it."""

# No postponed annotations here: the KFP SDK reads those of its components.
import base64
import dataclasses
import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import skops.io
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Model, Output
from sklearn.linear_model import LinearRegression

from seamline.app.loop import Loop
from seamline.app.platform import Platform
from seamline.app.promote.make_release import make_release
from seamline.app.promote.parties import parties_of
from seamline.app.register.package_run import on_run_ended
from seamline.app.register.show_model import list_models, list_refused_models
from seamline.app.train.repeat_run import retry
from seamline.app.train.scenarios import submit_scenarios
from seamline.app.train.submit_run import submit_ir
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.domain.clock import SystemClock
from seamline.domain.digests import digest_of
from seamline.domain.errors import NotFound
from seamline.domain.settings import Settings
from seamline.domain.states import is_terminal
from seamline.project.plan import apply_project
from seamline.promote.policy import Party
from seamline.promote.requests import request_promotion
from seamline.register.models.catalogue import ModelVersion, find_model_version, list_model_versions
from seamline.register.packages.index import find_package_file, read_package_file
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane, build_control_plane
from seamline.store.facts import RecordedFact, read_facts
from seamline.train.runs import run_state, show_request

PROJECT = """
project = "lines"
team = "lines"

[models.line]
pipeline = "line-of"
output = "condition-1/train.model"
samples = "condition-1/train.samples"
per = ["origin", "carrier"]

[models.slope]
pipeline = "lines-by-loop"
output = "for-loop-2/for-loop-4/train.model"
samples = "for-loop-2/for-loop-4/train.samples"
per = ["region", "origin", "days"]
"""
ITEMS = [
    {"origin": "JFK", "carrier": "AA"},
    {"origin": "LGA", "carrier": "DL"},
    {"origin": "EWR", "carrier": "UA"},
    {"origin": "JFK", "carrier": "B6", "flights": "datasets://flights@2"},
    {"origin": "SWF", "carrier": "B 6"},
    {"origin": "SWF", "carrier": "b-6"},
]
for one in ITEMS:
    one.setdefault("flights", "datasets://flights@1")


@dsl.component(base_image="python:3.11")
def count(origin: str, flights: Input[Dataset]) -> int:
    return 5 if origin == "EWR" else 50


@dsl.component(base_image="python:3.11")
def train(
    slope: float, fitted: dict, fails_without: str, model: Output[Model], samples: Output[Dataset]
):
    """Fitted elsewhere, so that no step of these tests has to import scikit-learn."""
    import base64
    from pathlib import Path

    if fails_without and not Path(fails_without).exists():
        raise RuntimeError("it was asked to fail")
    Path(model.path).write_bytes(base64.b64decode(fitted[str(slope)]))
    Path(samples.path).write_text('{"x": 1.0}\n{"x": 2.0}\n')
    model.metadata["metrics"] = {"slope": slope}


@dsl.component(base_image="python:3.11")
def choose(origin: str, mended: str) -> str:
    return mended if origin == "LGA" else ""


@dsl.component(base_image="python:3.11")
def slope_of(origin: str, carrier: str) -> float:
    return float(["JFKAA", "LGADL", "EWRUA", "JFKB6", "SWFB 6", "SWFb-6"].index(origin + carrier))


@dsl.pipeline
def line_of(
    origin: str,
    carrier: str,
    fitted: dict,
    flights: str = "datasets://flights@1",
    mended: str = "",
):
    read = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset, reimport=False)
    rows = count(origin=origin, flights=read.output)
    slope = slope_of(origin=origin, carrier=carrier)
    path = choose(origin=origin, mended=mended)
    with dsl.If(rows.output >= 10):
        train(slope=slope.output, fitted=fitted, fails_without=path.output)


@dsl.pipeline
def lines_by_loop(fitted: dict, region: str = "East"):
    with dsl.ParallelFor([{"origin": "JFK"}, {"origin": "LGA"}]) as place:
        path = choose(origin=place.origin, mended="")
        with dsl.ParallelFor([1.0, 2.5], name="days") as days:
            train(slope=days, fitted=fitted, fails_without=path.output)


class House:
    """A control plane whose engine runs; the loop goes on when the test says so."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.platform, self.stores = plane.platform, plane.platform.stores
        self.folder = folder
        self.mended = folder / "mended"
        slopes = [0.0, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0]
        self.payloads = {slope: fit(slope) for slope in slopes}
        self.fitted = {
            str(slope): base64.b64encode(data).decode() for slope, data in self.payloads.items()
        }

    def ir(self, pipeline: Any) -> bytes:
        path = self.folder / f"{pipeline.name}.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_bytes()

    def apply(self, text: str) -> None:
        apply_project(self.stores, text, "seamline.toml", by="ana")

    def ended(self, run_id: str) -> RecordedFact:
        """The run's end, before anything has reacted to it."""
        assert self.platform.changes.wait_until(
            lambda: is_terminal(run_state(self.stores, run_id)), 120
        )
        return self.facts("run.ended", run_id)[-1]

    def settle(self) -> None:
        while self.plane.loop.step():
            pass

    def facts(self, kind: str, subject: str | None = None) -> list[RecordedFact]:
        with self.stores.db.read() as connection:
            return read_facts(connection, kinds=[kind], subject=subject)

    def names(self, run_id: str) -> list[str]:
        return [one["model"] for one in list_models(self.platform, run_id=run_id)]

    def scenarios(self, items: Any = None, ir: bytes | None = None, **arguments: Any) -> str:
        return submit_scenarios(
            self.platform,
            ir or self.ir(line_of),
            {"list": items or ITEMS},
            arguments={"fitted": self.fitted, **arguments},
            by="ana",
        )

    def made(self, run_id: str) -> list[str]:
        self.ended(run_id)
        self.settle()
        return self.names(run_id)

    def refusals(self, run_id: str) -> dict[str, str]:
        return {
            one.body["model"]: one.body["reason"]
            for one in self.facts("model.refused")
            if one.body["run_id"] == run_id
        }


def fit(slope: float) -> bytes:
    made = LinearRegression().fit([[0.0], [1.0]], [0.0, slope])
    return bytes(skops.io.dumps(made))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    plane = build_control_plane(Settings(workspace=folder / "workspace", slots=2), SystemClock())
    plane.platform.engine.start()
    made = House(plane, folder)
    for day in (1, 2):
        path = folder / "flights.csv"
        path.write_text(f"day,flight\n2013-01-0{day},1\n")
        declaration = DatasetDeclaration("flights", time="day", keys=("day", "flight"))
        ingest(made.stores, declaration, path, source="flights.csv", by="ana")
    made.apply(PROJECT)
    for pipeline in (line_of, lines_by_loop):
        publish_pipeline(made.stores, made.ir(pipeline), ["1.0.0"], by="eve", commit="c0ffee")
    yield made
    plane.platform.engine.close()
    plane.platform.runner.close()
    plane.platform.stores.db.close()


@pytest.fixture(scope="module")
def run_id(house: House) -> str:
    """Six scenarios: one fails, one is skipped, two would make models of one name."""
    run_id = house.scenarios(mended=str(house.mended))
    house.ended(run_id)
    house.settle()
    return run_id


def find(house: House, name: str) -> ModelVersion:
    return find_model_version(house.stores, name)


def test_what_was_trained_is_registered_and_nothing_else(house: House, run_id: str) -> None:
    assert show_request(house.stores, run_id)["state"] == "partially_failed"
    assert house.names(run_id) == ["line-jfk-aa", "line-jfk-b6"]
    assert [find(house, name).version for name in house.names(run_id)] == ["1.0.0", "1.0.0"]
    slopes = {name: find(house, name).document["metrics"]["slope"] for name in house.names(run_id)}
    assert slopes == {"line-jfk-aa": 0.0, "line-jfk-b6": 3.0}


def test_the_wheel_holds_the_very_bytes_of_its_own_scenario(house: House, run_id: str) -> None:
    for name, slope in (("line-jfk-aa", 0.0), ("line-jfk-b6", 3.0)):
        file = find_package_file(house.stores, "dataops", find(house, name).filename)
        data = read_package_file(house.stores, file)
        with zipfile.ZipFile(io.BytesIO(data)) as wheel:
            module = name.replace("-", "_")
            assert wheel.read(f"{module}/payload/model.skops") == house.payloads[slope]
            samples = json.loads(wheel.read(f"{module}/samples.json"))
            metadata = wheel.read(f"{module}-1.0.0.dist-info/METADATA").decode()
        assert samples["outputs"]["prediction"] == pytest.approx([slope, 2 * slope])
        assert f"Scenario: origin=JFK, carrier={name[-2:].upper()}" in metadata


def test_it_names_the_run_the_task_the_item_the_data_and_the_published_pipeline(
    house: House, run_id: str
) -> None:
    run = show_request(house.stores, run_id)
    lineage = find(house, "line-jfk-b6").document["lineage"]
    assert lineage["run_id"] == run_id
    assert lineage["task"] == "scenarios[3]/line-of/condition-1/train"
    assert lineage["item"] == ITEMS[3]
    published = publish_pipeline(house.stores, house.ir(line_of), by="eve").digest
    assert lineage["pipeline_digest"] == published != run["pipeline_digest"]
    assert lineage["executed_digest"] == run["pipeline_digest"]
    assert lineage["commit"] == "c0ffee"
    assert find(house, "line-jfk-b6").dataset_versions == ("flights@2",)
    assert find(house, "line-jfk-aa").dataset_versions == ("flights@1",)
    registered = house.facts("model.version_registered", "line-jfk-b6")[0]
    assert (registered.by, registered.caused_by) == ("ana", house.facts("run.ended", run_id)[0].id)


def test_scenarios_that_would_make_models_of_one_name_make_none(house: House, run_id: str) -> None:
    refused = house.refusals(run_id)
    assert list(refused) == ["line-swf-b-6"]
    assert "2 rounds would make models of this name" in refused["line-swf-b-6"]
    assert (
        "scenarios[4]/line-of/condition-1/train (origin=SWF,carrier=B 6"
        in (refused["line-swf-b-6"])
    )
    assert "scenarios[5]" in refused["line-swf-b-6"]
    [said] = list_refused_models(house.platform, run_id)
    assert said == {"model": "line-swf-b-6", "reason": refused["line-swf-b-6"]}


def test_doing_it_again_changes_nothing(house: House, run_id: str) -> None:
    fact = house.facts("run.ended", run_id)[0]
    before = house.facts("model.version_registered"), house.facts("model.refused")
    for _ in range(2):
        assert on_run_ended(house.platform, fact) is False
    assert (house.facts("model.version_registered"), house.facts("model.refused")) == before
    assert not list((house.stores.root / "runs" / run_id).glob("package-*"))


def test_a_family_is_listed_by_its_name(house: House, run_id: str) -> None:
    found = list_models(house.platform, of="line")
    assert {one["family"] for one in found} == {"line"}
    assert found[0]["scenario"] == {"origin": "JFK", "carrier": "AA"}
    assert [one["model"] for one in list_models(house.platform, of="line-jfk-aa")] == (
        ["line-jfk-aa"]
    )
    assert list_models(house.platform, of="slope", run_id=run_id) == []
    with pytest.raises(NotFound, match=r"no model 'lime'\. Did you mean line"):
        list_models(house.platform, of="lime")
    with pytest.raises(NotFound, match=r"one per scenario, 2 so far.*model list --of line"):
        find(house, "line")


def test_who_published_the_pipeline_is_the_author_of_each_model(house: House, run_id: str) -> None:
    """Whoever that is cannot approve a release of them (law 5); what ran was a loop around it."""
    release = make_release(house.platform, "one", ["line-jfk-b6"], [], by="ana")
    asked = request_promotion(house.stores, release.digest, "development", by="ana")
    parties = parties_of(house.platform, release, asked)
    assert list(parties[Party.AUTHOR]) == ["eve"]
    assert list(parties[Party.TRAINER]) == ["ana"]


def test_a_retry_registers_only_what_is_missing(house: House, run_id: str) -> None:
    before = {one.wheel_digest for one in list_model_versions(house.stores, run_id=run_id)}
    house.mended.touch()
    again = retry(house.platform, run_id, by="ana")
    assert again == ["scenarios[1]/line-of/condition-1/train"]
    assert house.made(run_id) == ["line-jfk-aa", "line-jfk-b6", "line-lga-dl"]
    after = {one.wheel_digest for one in list_model_versions(house.stores, run_id=run_id)}
    assert after - before == {find(house, "line-lga-dl").wheel_digest}
    assert before < after


def test_what_another_run_has_trained_is_not_registered_again(house: House, run_id: str) -> None:
    """All but the last item's results come from the cache, and were trained by the other run."""
    more = {"origin": "EWR", "carrier": "UA", "flights": "datasets://flights@2"}
    again = house.scenarios([ITEMS[0], more], mended=str(house.mended))
    assert house.made(again) == []
    assert house.refusals(again) == {}
    assert [one.run_id for one in list_model_versions(house.stores, "line-jfk-aa")] == [run_id]


def test_one_scenario_by_itself_makes_the_next_version_of_its_model(
    house: House, run_id: str
) -> None:
    arguments = {"origin": "JFK", "carrier": "AA", "fitted": {"0.0": house.fitted["4.0"]}}
    alone = submit_ir(house.platform, house.ir(line_of), arguments=arguments, by="ana")
    assert house.made(alone) == ["line-jfk-aa"]
    made = find(house, "line-jfk-aa")
    assert (made.version, made.run_id) == ("1.0.1", alone)
    assert made.scenario == {"origin": "JFK", "carrier": "AA"}
    assert made.document["lineage"]["task"] == "condition-1/train"
    assert made.document["lineage"]["previous_version"] == "1.0.0"


def test_a_pipeline_that_merely_bears_the_name_makes_none(house: House, run_id: str) -> None:
    """Also in a loop of the platform's making: what is in it is not what was published."""
    changed = house.ir(line_of).replace(b" 5 if origin", b" 6 if origin")
    made = house.scenarios(ITEMS[:1], ir=changed)
    assert house.made(made) == []
    assert "was not published as line-of" in house.refusals(made)["line"]


def test_loops_of_the_pipeline_itself(house: House) -> None:
    """An item that is no object is a field called like its loop; parameters are fields, too."""
    arguments = {"fitted": house.fitted}
    made = submit_ir(house.platform, house.ir(lines_by_loop), arguments=arguments, by="ana")
    assert house.made(made) == [
        "slope-east-jfk-1",
        "slope-east-jfk-2-5",
        "slope-east-lga-1",
        "slope-east-lga-2-5",
    ]
    last = find(house, "slope-east-lga-2-5")
    assert last.scenario == {"region": "East", "origin": "LGA", "days": 2.5}
    assert last.document["lineage"]["task"] == "for-loop-2[1]/for-loop-4[1]/train"
    assert last.document["metrics"] == {"slope": 2.5}


@pytest.mark.parametrize(
    ("changes", "refused", "says"),
    [
        (
            ('"origin", "carrier"', '"orgin", "carrier"'),
            "line",
            r"scenarios\[0\].*: \[models\.line\] says per 'orgin', and there is no such field\. "
            r"Did you mean origin\?",
        ),
        (
            ('"origin", "carrier"', '"quarter", "carrier"'),
            "line",
            r"no such field\. Known: carrier, flights, origin\.",
        ),
        (("\nper = ", "\n#per = "), "line", r"in each round of the loop 'scenarios'.*Add per ="),
        (("train.model", "trian.model"), "line", r"no task 'condition-1/trian'.*condition-1/train"),
        (("train.model", "train.modell"), "line", r"'condition-1/train' puts out 'modell'.*model"),
        (("train.samples", "count.samples"), "line", "no task 'condition-1/count'"),
    ],
)
def test_what_is_declared_wrongly_is_said(
    house: House, run_id: str, changes: tuple[str, str], refused: str, says: str
) -> None:
    house.apply(PROJECT.replace(*changes, 1))
    try:
        made = house.scenarios(ITEMS[:2], mended=str(house.mended))
        assert house.made(made) == []
    finally:
        house.apply(PROJECT)
    assert re.search(says, house.refusals(made)[refused])


def test_a_name_goes_on_meaning_what_it_meant(house: House, run_id: str) -> None:
    """Another declaration, or another scenario, makes no version of it."""
    house.apply(
        PROJECT.replace("[models.line]", "[models.line-jfk]").replace(
            'per = ["origin", "carrier"]', 'per = ["carrier"]'
        )
    )
    try:
        made = house.scenarios(ITEMS[:1], mended="", fitted={"0.0": house.fitted["5.0"]})
        assert house.made(made) == []
    finally:
        house.apply(PROJECT)
    assert (
        "is a model of line (carrier=AA,origin=JFK), not of line-jfk (carrier=AA)."
        in (house.refusals(made)["line-jfk-aa"])
    )


def test_one_model_s_trouble_stops_no_other(house: House, run_id: str) -> None:
    """Machinery that breaks is tried again; bytes that were altered are refused."""
    items = [ITEMS[index] for index in (0, 1, 3)]
    made = house.scenarios(items, fitted={**house.fitted, "1.0": house.fitted["5.0"]})
    fact = house.ended(made)
    in_the_way = house.stores.root / "runs" / made / "package-line-jfk-aa"
    in_the_way.write_text("no folder")
    altered = house.stores.blobs.path_of(digest_of(house.payloads[5.0]))
    altered.write_bytes(house.payloads[4.0])
    with pytest.raises(FileExistsError):
        on_run_ended(house.platform, fact)
    assert house.names(made) == ["line-jfk-b6"]
    refused = house.refusals(made)
    assert list(refused) == ["line-lga-dl"] and "expected sha256:" in refused["line-lga-dl"]
    in_the_way.unlink()
    altered.write_bytes(house.payloads[5.0])
    assert on_run_ended(house.platform, fact) is False
    assert house.names(made) == ["line-jfk-aa", "line-jfk-b6"]


class Hurrying:
    """Each look at it is a minute later than the one before."""

    def __init__(self) -> None:
        self._real, self._looks = SystemClock(), 0

    def now(self) -> datetime:
        self._looks += 1
        return self._real.now() + timedelta(minutes=self._looks)


@pytest.fixture
def hurrying(house: House) -> Platform:
    """To this one, each model takes all the time of a portion."""
    stores = dataclasses.replace(house.stores, clock=Hurrying())
    return dataclasses.replace(house.platform, stores=stores)


def test_many_are_packaged_in_portions(house: House, hurrying: Platform) -> None:
    items = [ITEMS[index] for index in (0, 1, 3)]
    made = house.scenarios(items, fitted={**house.fitted, "new": ""})
    fact = house.ended(made)
    seen = [(on_run_ended(hurrying, fact), len(house.names(made))) for _ in range(4)]
    assert seen == [(True, 1), (True, 2), (False, 3), (False, 3)]
    house.settle()
    assert len(house.names(made)) == 3


def test_between_two_portions_other_facts_have_their_turn(house: House, hurrying: Platform) -> None:
    runs = [
        house.scenarios([ITEMS[0], ITEMS[3]], fitted={**house.fitted, "of run": str(number)})
        for number in range(2)
    ]
    for one in runs:
        house.ended(one)
    before = len(house.facts("model.version_registered"))
    loop = Loop(hurrying)
    while loop.step():
        pass
    registered = house.facts("model.version_registered")[before:]
    ends = [one for one in house.facts("run.ended") if one.subject in runs]
    first, second = (one.subject for one in ends)
    assert [one.body["run_id"] for one in registered] == [first, second, first, second]
