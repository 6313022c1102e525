"""examples/scenarios on a server of its own: one scenario fails, a small one is skipped, and each
of the others registers its own model.

Twelve scenarios of January; tests/unit/examples counts all 439 of the year.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import kfp
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "scenarios"
STEPS = ("prepare", "train", "evaluate", "register")
DONE = dict.fromkeys(STEPS, "succeeded")
STOPPED = {"train": "failed", "evaluate": "upstream_failed", "register": "upstream_failed"}
SKIPPED = dict.fromkeys(("train", "evaluate", "register"), "not_triggered")


@dataclass(frozen=True)
class House:
    """The server with January's flights, the compiled pipelines, and twelve scenarios."""

    server: Any
    folder: Path
    #: By size; the last one is small.
    scenarios: list[dict[str, str]]
    #: The largest from JFK.
    largest: list[dict[str, str]]

    def name(self, index: int) -> str:
        return "-".join(self.scenarios[index].values())

    def expected(self, bad: int) -> list[dict[str, str]]:
        ended = [DONE] * 12
        ended[bad], ended[11] = DONE | STOPPED, DONE | SKIPPED
        return ended

    def ask(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.server.url}/api/v1{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.loads(response.read())

    @property
    def mended(self) -> Path:
        """Once it is there, nothing is made to fail any more."""
        return self.folder / "mended"

    def models(self, run_id: str, count: int) -> dict[str, Any]:
        """What the run has registered, by name, once it is so many."""
        deadline = time.monotonic() + 240
        while len(found := self.ask(f"/models?run_id={run_id}")) < count:
            assert time.monotonic() < deadline, [one["model"] for one in found]
            time.sleep(0.05)
        names = [one["model"] for one in found]
        assert len(set(names)) == len(names)
        return dict(zip(names, found, strict=True))

    def ended(self, run_id: str) -> Any:
        for _ in range(60):  # each asking waits at the server
            run = self.ask(f"/runs/{run_id}?wait_s=5")
            if run["ended_at"]:
                return run
        raise AssertionError(f"{run_id} goes on and on")


@pytest.fixture(scope="module")
def house(
    start_server: Callable[[], Any],
    demo_module: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> House:
    address, _ = start_server()
    server, folder = demo_module.Server(address["url"]), tmp_path_factory.mktemp("scenarios")
    for command in (
        ["deliver.py", folder / "january.csv", "1"],
        ["train.py", folder / "train.yaml"],
        ["train_all.py", folder / "train_all.yaml"],
    ):
        subprocess.run([sys.executable, "-B", *command], cwd=EXAMPLE, check=True, timeout=60)
    server.seamline("apply", EXAMPLE / "seamline.toml")
    for name in ("train", "train_all"):
        server.seamline("pipeline", "push", folder / f"{name}.yaml", "--tag", "1.0.0")
    server.seamline("data", "ingest", "flights", folder / "january.csv")
    with (folder / "january.csv").open() as file:
        rows = Counter((row["origin"], row["carrier"], row["dest"]) for row in csv.DictReader(file))
    by_size = sorted(rows, key=lambda key: (-rows[key], key))
    small = next(key for key in by_size if rows[key] < 100)
    assert rows[by_size[10]] >= 100
    named = [dict(zip(("origin", "carrier", "dest"), key, strict=True)) for key in by_size]
    chosen = [*named[:11], named[by_size.index(small)]]
    return House(server, folder, chosen, [one for one in named if one["origin"] == "JFK"][:2])


def by_scenario(run: Any) -> list[dict[str, str]]:
    """Each scenario's steps and how they ended; one from the cache has succeeded."""
    found: dict[int, dict[str, str]] = {}
    for task in run["tasks"]:
        if task["kind"] == "python" and "[" in task["name"]:
            index = int(task["name"].partition("[")[2].partition("]")[0])
            state = "succeeded" if task["state"] == "skipped" else task["state"]
            found.setdefault(index, {})[task["name"].rpartition("/")[2]] = state
    return [found[index] for index in sorted(found)]


def cards(run: Any) -> dict[str, Any]:
    """Scenario → what its registered model says of itself."""
    models = [
        task["outputs"]["artifacts"]["registered"]
        for task in run["tasks"]
        if task["name"].endswith("/register") and task["state"] in ("succeeded", "skipped")
    ]
    assert {model["type"] for model in models} == {"system.Model"}
    assert len({model["digest"] for model in models}) == len(models)
    return {model["metadata"]["scenario"]: model["metadata"] for model in models}


@pytest.fixture(scope="module")
def listed(house: House) -> Any:
    """`train.yaml` over the list, with one that fails: the run as it ended."""
    body = {
        "ir": (house.folder / "train.yaml").read_text(),
        "scenarios": json.dumps({"list": house.scenarios}),
        "arguments": {"fail": house.name(3), "mended": str(house.mended)},
    }
    return house.ended(house.ask("/runs", body)["id"])


def called(house: House, family: str, *left_out: int) -> set[str]:
    """The models of the scenarios that are large enough, but for some."""
    trained = [house.name(index) for index in range(11) if index not in left_out]
    return {f"{family}-{name.lower()}" for name in trained}


def test_a_failing_scenario_stops_only_itself_and_a_small_one_is_skipped(
    house: House, listed: Any
) -> None:
    assert listed["state"] == "partially_failed"
    assert by_scenario(listed) == house.expected(3)
    assert listed["sentence"].startswith("scenarios[3]/train-scenario/condition-1/train failed")
    assert f"{house.name(3)} was asked to fail" in listed["sentence"]
    trained = {"-".join(one.values()) for one in house.scenarios[:11]} - {house.name(3)}
    assert set(cards(listed)) == trained


def test_every_scenario_is_shown_with_what_it_is(house: House, listed: Any) -> None:
    rounds = [task for task in listed["tasks"] if task["kind"] == "iteration"]
    items = {task["item_index"]: task["item"] for task in rounds}
    assert items == dict(enumerate(house.scenarios))
    states = {task["item_index"]: task["state"] for task in rounds}
    assert states == {index: "failed" if index == 3 else "succeeded" for index in range(12)}


def test_each_step_had_a_process_of_its_own(listed: Any) -> None:
    ran = [task for task in listed["tasks"] if task["kind"] == "python" and task["pid"]]
    assert len(ran) == 12 + 11 + 10 + 10
    assert len({(task["pid"], task["started_at"]) for task in ran}) == len(ran)


def test_each_scenario_that_was_trained_has_its_own_model(house: House, listed: Any) -> None:
    found = house.models(listed["id"], 10)
    assert set(found) == called(house, "air-time", 3)
    assert {one["version"] for one in found.values()} == {"1.0.0"}
    assert len({one["payload_digest"] for one in found.values()}) == 10
    name = f"air-time-{house.name(0).lower()}"
    model = house.server.seamline("model", "show", name)
    task = next(
        one for one in listed["tasks"] if one["name"] == model["document"]["lineage"]["task"]
    )
    assert task["name"] == "scenarios[0]/train-scenario/condition-1/register"
    assert task["outputs"]["artifacts"]["registered"]["digest"] == model["payload_digest"]
    lineage = model["document"]["lineage"]
    assert lineage["item"] == house.scenarios[0] == model["scenario"]
    published = house.server.seamline("pipeline", "show", "train-scenario@1.0.0")["digest"]
    assert (lineage["run_id"], lineage["pipeline_digest"]) == (listed["id"], published)
    assert [one["name"] for one in lineage["dataset_versions"]] == ["flights"]
    house.server.seamline("model", "verify", name)


def test_a_scenario_s_wheel_is_installed_by_pip_and_predicts(house: House, listed: Any) -> None:
    name = f"air-time-{house.name(0).lower()}"
    house.models(listed["id"], 10)
    index = f"{house.server.url}/pypi/dataops/simple/"
    target = house.folder / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Its dependencies are those of this environment: test_flights_03_package.py installs all.
    only = ["--no-deps", "--target", str(target), "--index-url", index, f"{name}==1.0.0"]
    subprocess.run([*pip, *only], check=True, timeout=120)
    program = f"""
import json, {name.replace("-", "_")} as package
from importlib.resources import files
kept = json.loads((files(package) / "samples.json").read_text())
said = package.load().predict(kept["rows"]).tolist()
print(json.dumps([said, kept["outputs"]["prediction"]]))
"""
    environ = {"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environ)
    assert done.returncode == 0, done.stderr
    said, kept = json.loads(done.stdout)
    assert len(said) == 10 and said == pytest.approx(kept)
    assert all(20 < minutes < 700 for minutes in said)


def test_a_retry_redoes_only_what_failed(house: House, listed: Any) -> None:
    before_it = house.models(listed["id"], 10)
    house.mended.touch()
    answer = house.ask(f"/runs/{listed['id']}/retry", {})
    inside = "scenarios[3]/train-scenario/condition-1/"
    assert sorted(answer["again"]) == [inside + step for step in ("evaluate", "register", "train")]
    again = house.ended(listed["id"])
    assert again["state"] == "succeeded"
    assert by_scenario(again) == [*[DONE] * 11, DONE | SKIPPED]
    before = {task["name"]: (task["pid"], task["ended_at"]) for task in listed["tasks"]}
    for task in again["tasks"]:
        if task["kind"] == "python" and not task["name"].startswith(inside):
            assert (task["pid"], task["ended_at"]) == before[task["name"]]
    train = next(task for task in again["tasks"] if task["name"] == f"{inside}train")
    assert train["attempt"] == 2
    models = house.models(listed["id"], 11)
    assert set(models) == called(house, "air-time")
    assert {name: models[name] for name in before_it} == before_it


def test_the_kfp_client_runs_the_loop_of_the_other_pipeline_to_the_same_end(
    house: House, listed: Any
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it needs a server of version 2
        client = kfp.Client(host=house.server.url)
    created = client.create_run_from_pipeline_package(
        str(house.folder / "train_all.yaml"),
        # All training steps have the argument: none is taken from the cache.
        arguments={"fail": house.name(5), "scenarios": house.scenarios},
    )
    ended = created.wait_for_run_completion(timeout=300)
    assert ended.state == "FAILED"
    run = house.ask(f"/runs/{created.run_id}")
    assert run["state"] == "partially_failed"
    assert by_scenario(run) == house.expected(5)
    assert {task["state"] for task in run["tasks"] if task["name"].endswith("/train")} == {
        "succeeded",
        "failed",
        "not_triggered",
    }
    both = {house.name(index) for index in range(11)} - {house.name(3), house.name(5)}
    for scenario in both:
        assert cards(run)[scenario] == cards(listed)[scenario]
    details = ended.run_details.task_details
    assert Counter(task.state for task in details if task.display_name == "train") == {
        "SUCCEEDED": 10,
        "SKIPPED": 1,
        "FAILED": 1,
    }


def test_what_one_pipeline_has_trained_the_other_takes_from_the_cache(
    house: House, listed: Any
) -> None:
    """The same step on the same bytes, whatever pipeline it stands in."""
    body = {
        "ir": (house.folder / "train_all.yaml").read_text(),
        "arguments": {
            "fail": house.name(3),
            "mended": str(house.mended),
            "scenarios": house.scenarios[:3],
        },
    }
    run = house.ended(house.ask("/runs", body)["id"])
    assert run["state"] == "succeeded"
    trained = [task for task in run["tasks"] if task["name"].endswith("/train")]
    assert [task["cached_from"]["run_id"] for task in trained] == [listed["id"]] * 3
    assert cards(run).items() <= cards(listed).items()
    made = house.models(run["id"], 3)
    assert set(made) == {f"minutes-{house.name(index).lower()}" for index in range(3)}
    mine = house.models(listed["id"], 11)
    for name, one in made.items():
        twin = mine[name.replace("minutes", "air-time")]
        assert one["payload_digest"] == twin["payload_digest"]
        lineage = house.server.seamline("model", "show", name)["document"]["lineage"]
        assert (lineage["run_id"], lineage["cached_from"]) == (run["id"], listed["id"])


def test_one_scenario_can_be_run_by_itself(house: House, listed: Any) -> None:
    one = house.scenarios[0]
    command = ["run", "submit", house.folder / "train.yaml", "--wait"]
    for name, value in one.items():
        command += ["-a", f"{name}={value}"]
    run = house.server.seamline(*command)
    assert run["state"] == "succeeded"
    assert cards(run) == {house.name(0): cards(listed)[house.name(0)]}
    [made] = house.models(run["id"], 1).values()
    assert (made["model"], made["version"]) == (f"air-time-{house.name(0).lower()}", "1.0.1")
    assert made["scenario"] == one


def test_a_query_over_the_dataset_makes_the_scenarios(house: House) -> None:
    scenarios = """
    query:
      dataset: flights@latest
      select: >
        SELECT origin, carrier, dest FROM flights WHERE origin = 'JFK'
        GROUP BY origin, carrier, dest ORDER BY count(*) DESC, carrier, dest LIMIT 2
    """
    run = house.ask(
        "/runs",
        {
            "ir": (house.folder / "train.yaml").read_text(),
            "scenarios": scenarios,
            "arguments": {"min_rows": 1_000_000},
            "options": {"enable_cache": False},
        },
    )
    run = house.ended(run["id"])
    assert run["state"] == "succeeded"
    assert by_scenario(run) == [DONE | SKIPPED] * 2
    items = [task["item"] for task in run["tasks"] if task["kind"] == "iteration"]
    assert sorted(items, key=str) == sorted(house.largest, key=str)
