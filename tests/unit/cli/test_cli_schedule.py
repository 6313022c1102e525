"""`seamline schedule …` against a server: what people see, and what programs read."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from click.testing import CliRunner, Result

from seamline.cli.root import seamline
from seamline.domain.errors import SeamlineError
from seamline.domain.settings import Settings
from seamline.server import running

Call = Callable[..., Result]
PIPELINE = """
schemaVersion: 2.1.0
pipelineInfo: {name: training}
root:
  inputDefinitions: {parameters: {n: {parameterType: NUMBER_INTEGER, defaultValue: 1}}}
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


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(workspace=tmp_path_factory.mktemp("cli") / "workspace", slots=1)
    with running(settings) as plane, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(plane.app, log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def call(url: str) -> Call:
    def invoke(*words: str) -> Result:
        found = CliRunner().invoke(seamline, ["--url", url, *words])
        assert found.exit_code == 0, (found.output, found.exception)
        return found

    return invoke


@pytest.fixture
def refused(url: str) -> Callable[..., str]:
    def invoke(*words: str) -> str:
        found = CliRunner().invoke(seamline, ["--url", url, *words])
        assert isinstance(found.exception, SeamlineError), found.output
        return str(found.exception)

    return invoke


@pytest.fixture(scope="module")
def published(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "training.yaml"
    path.write_text(PIPELINE)
    words = ["--url", url, "pipeline", "push", str(path), "--tag", "1.0.0"]
    assert CliRunner().invoke(seamline, words).exit_code == 0
    return path


def test_from_creation_to_deletion(call: Call, published: Path) -> None:
    assert call("schedule", "list").output == "No schedules yet.\n"
    assert json.loads(call("schedule", "list", "--json").output) == []
    made = call(
        *["schedule", "create", "training@1.0.0", "--name", "nightly"],
        *["--cron", "0 30 2 * * *", "--time-zone", "Europe/Berlin"],
        *["-a", "n=7", "--missed", "none", "--max-concurrency", "2"],
    ).output
    for line in (
        "rhythm           0 30 2 * * * (Europe/Berlin)",
        "missed           none",
        'arguments        {"n": 7}',
        "state            on",
        "No run of it yet.",
    ):
        assert line in made
    listed = call("schedule", "list").output
    assert "nightly  dataops      training@1.0.0" in listed
    shown = json.loads(call("schedule", "show", "nightly", "--json").output)
    assert len(shown["next_times"]) == 3
    assert shown["max_concurrency"] == 2
    assert call("schedule", "pause", "nightly").output == "schedule nightly is paused\n"
    assert "state            paused" in call("schedule", "show", shown["id"]).output
    assert "goes on, next at 2" in call("schedule", "resume", "nightly").output
    assert json.loads(call("schedule", "pause", "nightly", "--json").output)["is_paused"] is True
    assert "is deleted" in call("schedule", "delete", "nightly").output


def test_a_file_and_an_interval(call: Call, published: Path) -> None:
    made = call("schedule", "create", str(published), "--every", "6h", "--paused", "--json")
    found = json.loads(made.output)
    assert (found["name"], found["interval_s"], found["is_paused"]) == ("training", 21_600, True)
    assert found["pipeline"].startswith("sha256:")
    call("schedule", "delete", found["id"])


def test_refusals_say_what_to_do(refused: Callable[..., str], published: Path) -> None:
    create = ["schedule", "create", "training"]
    assert "either a cron expression or an interval" in refused(*create)
    assert "Write six fields, seconds first" in refused(*create, "--cron", "0 0 25 * * *")
    assert "Did you mean Europe/Berlin?" in refused(
        *create, "--cron", "@daily", "--time-zone", "Europe/Berlinn"
    )
    assert "is not a duration" in refused(*create, "--every", "often")
    assert "no whole number of seconds" in refused(*create, "--every", "0.5s")
    assert "There is no schedule 'nothing'" in refused("schedule", "show", "nothing")
    assert "has no time zone" in refused(*create, "--every", "1h", "--start", "2027-01-01T00:00:00")
