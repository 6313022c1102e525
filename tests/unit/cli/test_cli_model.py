"""Lists of models stay readable when hundreds differ by their scenario: on a terminal, in pages."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner, Result

from seamline.cli.root import seamline
from seamline.console import make_router
from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput, NotFound
from seamline.domain.settings import Settings
from seamline.register.models.catalogue import refuse_model, register_model_version
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.families import member_name
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.server import ControlPlane, running
from seamline.train.runs import request_run

PIPELINE = """
schemaVersion: 2.1.0
pipelineInfo: {name: training}
root:
  dag: {tasks: {load: {componentRef: {name: comp-load}}}}
components:
  comp-load:
    executorLabel: exec-load
    outputDefinitions: {artifacts: {artifact: {artifactType: {schemaTitle: system.Dataset}}}}
deploymentSpec:
  executors:
    exec-load:
      importer:
        artifactUri: {constant: "datasets://flights@1"}
        typeSchema: {schemaTitle: system.Dataset}
"""
DESCRIBED = {
    "task": "regression",
    "format": "skops",
    "payload_digest": digest_of(b"payload"),
    "threshold": None,
    "signature": {
        "inputs": [{"name": "hour", "datatype": "INT64", "nullable": False}],
        "outputs": [{"name": "prediction", "datatype": "FP64"}],
    },
    "requirements": ["scikit-learn==1.9.1"],
    "requires_python": ">=3.11",
    "trusted_types": [],
    "frame": None,
}


@dataclass(frozen=True)
class Town:
    """Two models of delay, one of tax, all by one run; a third of delay was refused."""

    url: str
    run_id: str

    def call(self, *words: str) -> Result:
        return CliRunner().invoke(seamline, ["--url", self.url, *words])

    def said(self, *words: str) -> str:
        found = self.call(*words)
        assert found.exit_code == 0, (found.output, found.exception)
        return found.output

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as response:
            return str(response.read().decode())


def register(plane: ControlPlane, run_id: str, family: str, **scenario: Any) -> None:
    lineage = Lineage(
        run_id,
        "training",
        digest_of(b"ir"),
        (),
        None,
        "2026-01-01T00:00:00.000000Z",
        None,
        task="each[0]/train",
        item=scenario,
    )
    name = member_name(family, scenario) if scenario else family
    document = make_model_document(
        name, "1.0.0", DESCRIBED, lineage, family=family, scenario=scenario
    )
    wheel = build_model_wheel(ModelWheelSpec(document, {"rows": [], "outputs": {}}, b"payload"))
    register_model_version(plane.platform.stores, wheel, key=plane.platform.key, by="ana")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    settings = Settings(workspace=tmp_path_factory.mktemp("cli") / "workspace", slots=1)
    with running(settings, [make_router()]) as plane, socket.socket() as listener:
        stores = plane.platform.stores
        run_id = request_run(
            stores, PIPELINE.encode(), arguments={}, environment="dataops", by="ana"
        )
        register(plane, run_id, "delay", origin="JFK", days=7)
        register(plane, run_id, "delay", origin="<b>", days=30)
        register(plane, run_id, "tax")
        refuse_model(stores, "delay-ewr-7", run_id, "it is a pickle")
        refuse_model(stores, "tax", run_id, "an earlier end of the run had none")
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(plane.app, log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        yield Town(f"http://127.0.0.1:{listener.getsockname()[1]}", run_id)
        server.should_exit = True
        thread.join()


def test_a_family_is_one_line(town: Town) -> None:
    head, alone, family, more = town.said("model", "list").splitlines()
    assert head.split()[:2] == ["model", "version"]
    assert alone.split()[:2] == ["tax", "1.0.0"]
    assert family.split()[:3] == ["delay-…", "2", "models"]
    assert more == "Each of them: seamline model list --of delay"
    listed = json.loads(town.said("model", "list", "--json"))
    assert [(one["model"], one["family"]) for one in listed] == [
        ("delay-b-30", "delay"),
        ("delay-jfk-7", "delay"),
        ("tax", "tax"),
    ]


def test_a_family_s_models_are_listed_by_its_name(town: Town) -> None:
    _, *lines = town.said("model", "list", "--of", "delay").splitlines()
    assert [line.split()[0] for line in lines] == ["delay-b-30", "delay-jfk-7"]
    [one] = json.loads(town.said("model", "list", "--of", "delay-jfk-7", "--json"))
    assert one["scenario"] == {"days": 7, "origin": "JFK"}
    wrong = town.call("model", "list", "--of", "dealy").exception
    assert isinstance(wrong, NotFound) and "Did you mean delay?" in str(wrong)


def test_a_run_says_what_it_has_made_and_what_was_refused(town: Town) -> None:
    _, *lines = town.said("model", "list", "--run", town.run_id).splitlines()
    assert [line.split()[0] for line in lines] == [
        "delay-b-30",
        "delay-jfk-7",
        "tax",
        "refused:",
    ]
    assert lines[-1] == "refused: delay-ewr-7: it is a pickle"
    both = json.loads(town.said("model", "list", "--run", town.run_id, "--of", "tax", "--json"))
    assert [one["model"] for one in both] == ["tax"]
    assert isinstance(town.call("model", "list", "--run", "nobody").exception, NotFound)


def test_showing_a_family_says_how_to_list_it(town: Town) -> None:
    said = str(town.call("model", "show", "delay").exception)
    assert said == (
        "delay is no model by itself: it has one per scenario, 2 so far. "
        "List them: seamline model list --of delay."
    )


def test_the_pages_lead_from_the_family_to_its_models(town: Town) -> None:
    whole = town.page("/models")
    assert '<a href="/models?of=delay"><b>delay</b></a>' in whole
    assert "2 models" in whole and "delay-jfk-7" not in whole
    assert '<a href="/models/tax"><b>tax</b></a>' in whole
    family = town.page("/models?of=delay")
    assert '<a href="/models/delay-jfk-7">' in family and "/models/tax" not in family
    assert "<code>&lt;b&gt;</code>" in family and "<code><b></code>" not in family
    model = town.page("/models/delay-jfk-7")
    assert '<a href="/models?of=delay">delay</a>' in model
    assert "each[0]/train" in model


def test_one_is_shown_although_an_earlier_seamline_packaged_it(town: Town) -> None:
    """Its model.json says neither how it is loaded nor how it was trained."""
    said = town.said("model", "show", "tax")
    assert said.splitlines()[0].split() == ["model", "tax"]
    assert "scikit-learn==1.9.1" in said and "hour" in said
    assert json.loads(town.said("model", "show", "tax", "--json"))["document"]["name"] == "tax"


def test_two_are_compared(town: Town) -> None:
    said = town.said("model", "diff", "delay-jfk-7", "tax==1.0.0")
    assert said.splitlines()[0] == "delay-jfk-7==1.0.0 → tax==1.0.0"
    assert "byte for byte" in said
    for after in ("tax@1.0.0", "tax==1.0.0", "1.0.0"):
        assert town.said("model", "diff", "tax@1.0.0", after)
    for name in ("tax@1.0.0", "tax==1.0.0"):
        assert json.loads(town.said("model", "show", name, "--json"))["version"] == "1.0.0"
    twice = town.call("model", "show", "tax@1.0.0", "--version", "1.0.1").exception
    assert isinstance(twice, InvalidInput) and "--version says 1.0.1" in str(twice)
    found = json.loads(town.said("model", "diff", "tax", "tax", "--json"))
    assert found["same_payload"] and not any(found[part] for part in ("parameters", "lock"))
    wrong = town.call("model", "diff", "tax", "tax==1.0.1").exception
    assert isinstance(wrong, NotFound) and "Did you mean 1.0.0?" in str(wrong)
    nothing = town.call("model", "diff", "tax", "==1").exception
    assert isinstance(nothing, InvalidInput)
