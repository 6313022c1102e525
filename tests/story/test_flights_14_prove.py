"""Better on average, worse at five and six in the morning: what a proof by slices is for.

The incumbent knows the schedule only. The candidate knows the weather and the airport's late
departures, too, but learned from flights scheduled from 10:00 on. One trained on all hours passes,
and a retrained one that is not better is kept. On a server of its own, with all the real flights.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/flights/risk"
README = EXAMPLE / "README.md"
PAGE = ROOT / "docs/tutorial/prove-on-flights.md"
KEYS = ["year", "month", "day", "carrier", "flight", "origin"]
SCHEDULE = ("carrier", "origin", "dest", "hour", "distance", "weekday")
SKY = ("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib")
INPUTS = (*SCHEDULE, *SKY, "late_share")
ON_AVERAGE = "brier.vs(incumbent) < 0"
BY_PART = "brier.drop_vs(incumbent).worst_slice(part_of_day) <= 0.005"
AUC_BY_HOUR = "auc.drop_vs(incumbent).worst_slice(hour) <= 0.1"
NUMBER = re.compile(r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?")
#: Before the output of each command, and in no output.
MARK = "\x1e"
PATIENCE_S = 600


def section(title: str) -> list[str]:
    """The page's commands under a title."""
    (text,) = [one for one in PAGE.read_text().split("\n## ") if one.startswith(f"{title}\n")]
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines), lines
    return [line.removeprefix("$ ") for line in lines if line != "$ seamline up"]


@dataclass(frozen=True)
class House:
    """A server of its own, and the folder of the team's code, in which the page is played."""

    module: ModuleType
    server: Any
    workspace: Path
    folder: Path

    def play(self, title: str) -> dict[str, str]:
        """What each command of the section printed; those marked "# refused" exit with 1."""
        lines = ["set -u -o pipefail -a", "[ -e .state ] && . ./.state"]
        for command in section(title):
            code = 1 if command.endswith("# refused") else 0
            lines += [
                f"printf '{MARK}%s\\n' {shlex.quote(command)}",
                command,
                f'code=$?; [ $code = {code} ] || {{ echo "exit code $code"; exit 97; }}',
            ]
        environ = {name: text for name, text in os.environ.items() if "SEAMLINE" not in name}
        environ["SEAMLINE_URL"] = self.server.url
        environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", "\n".join([*lines, "export -p > .state"])],
            cwd=self.folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return dict(one.partition("\n")[::2] for one in done.stdout.split(MARK)[1:])

    def seamline(self, *arguments: object, who: str = "") -> Any:
        return self.server.seamline(*map(str, arguments), who=who)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(
            f"{self.server.url}/api/v1{path}", timeout=PATIENCE_S
        ) as response:
            return json.loads(response.read())

    def judged(self, version: str) -> Judged:
        """By its newest evaluation."""
        (found,) = [
            one
            for one in self.get("/evaluations?model=late-risk")
            if one["model_version"] == version
        ][:1]
        return Judged(version, self.get(f"/evaluations/{found['id']}"))

    def live(self, environment: str) -> str | None:
        board = {one["name"]: one for one in self.get("/board")["environments"]}
        return (board[environment]["live"] or {}).get("alias")

    def until(self, found: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (result := found()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return result

    def await_live(self, environment: str, release: str) -> None:
        self.until(lambda: self.live(environment) == release)

    def to_production(self, release: str, asked: Any) -> None:
        """Approved in staging, run there once, and approved by a second person."""
        self.seamline("promotion", "approve", asked["id"])
        days = ("-a", "since=2013-08-30", "-a", "until=2013-09-01")
        pipeline = ("late-risk-prediction@1.0.0", "-e", "staging")
        self.seamline("run", "submit", *pipeline, *days, "--wait")
        asked = self.seamline("promote", release, "--to", "production")
        live = self.seamline("promotion", "approve", asked["id"], who="bea")
        assert live["phase"] == "live", live["reason"]

    def predictions(self, run: str) -> pl.DataFrame:
        (made,) = [
            task["outputs"]["artifacts"]["predictions"]
            for task in self.get(f"/runs/{run}")["tasks"]
            if "predictions" in task["outputs"]["artifacts"]
        ]
        digest = made["digest"].removeprefix("sha256:")
        return pl.read_parquet(self.workspace / "blobs/sha256" / digest[:2] / digest[2:])


@dataclass(frozen=True)
class Judged:
    version: str
    found: Any

    def check(self, text: str) -> Any:
        checks = [*self.found["evidence"]["checks"], *self.found["evidence"]["against_checks"]]
        return next(one for one in checks if one["check"] == text)


@pytest.fixture(scope="module")
def house(
    start_server: Callable[[], Any],
    demo_module: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> House:
    address, workspace = start_server()
    folder = tmp_path_factory.mktemp("prove") / "flights"
    shutil.copytree(EXAMPLE.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    server = demo_module.Server(address["url"])
    server.tokens["bea"] = server.seamline("principal", "add", "bea", "--role", "approver")["token"]
    return House(demo_module, server, workspace, folder / "risk")


@pytest.fixture(scope="module")
def first(house: House) -> Judged:
    house.play("The first model ever")
    return house.judged("1.0.0")


@pytest.fixture(scope="module")
def incumbent(house: House, first: Judged) -> Judged:
    house.seamline(
        *("release", "create", "schedule", "--model", "late-risk@1.0.0"),
        *("--pipeline", "late-risk-prediction@1.0.0"),
    )
    house.await_live("development", "schedule")
    house.to_production("schedule", house.seamline("promote", "schedule", "--to", "staging"))
    return first


@pytest.fixture(scope="module")
def told(house: House, incumbent: Judged) -> dict[str, str]:
    """What the page's commands about the candidate printed."""
    return house.play("Better on average, worse at five")


@pytest.fixture(scope="module")
def from_ten(house: House, told: dict[str, str]) -> Judged:
    return house.judged("1.0.1")


@pytest.fixture(scope="module")
def all_hours(house: House, from_ten: Judged) -> Judged:
    """Past the gates and two people."""
    house.play("Trained on all hours")
    (asked,) = [
        one for one in house.seamline("promotion", "list") if one["phase"] == "awaiting_approval"
    ]
    house.to_production("all-hours", asked)
    return house.judged("1.0.2")


@pytest.fixture(scope="module")
def retraining(house: House, all_hours: Judged) -> Any:
    """September comes, few flights are late, and the monitor's alarm asks for a retraining."""
    deliver = (sys.executable, "deliver.py", "delivery", "9")
    subprocess.run(deliver, cwd=house.folder, check=True, timeout=PATIENCE_S)
    for name in ("weather", "flights"):
        house.seamline("data", "ingest", name, house.folder / f"delivery/{name}.csv")
    days = ("-a", "since=2013-09-01", "-a", "until=2013-10-01", "--wait")
    run = house.seamline("run", "submit", "late-risk-prediction@1.0.0", *days)
    predicted = house.predictions(run["id"])
    truth = pl.read_csv(house.folder / "delivery/flights.csv", null_values="NA").select(
        *(pl.col(key).cast(predicted.schema[key]) for key in KEYS),
        (pl.col("arr_delay") > 15).alias("late"),
    )
    rows = predicted.join(truth, on=KEYS, how="left", validate="1:1", maintain_order="left")
    plane = house.module.DataPlane(house.seamline("status")["serve_url"])
    with closing(plane.connection):
        for (day,), flights in rows.group_by("ds", maintain_order=True):
            answer_and_feed_back(house, plane, day, flights)
    measured = house.seamline("monitor", "run", "late-risk", "--until", "2013-09-30")
    (check,) = [one for one in measured["measurements"] if one["kind"] == "check"]
    assert check["verdict"] == "fail", measured
    # The alarm's reaction comes a moment later.
    (asked,) = house.until(lambda: house.seamline("retraining", "list"))
    return house.seamline("retraining", "show", asked["id"], "--wait")


def answer_and_feed_back(house: House, plane: Any, day: object, flights: pl.DataFrame) -> None:
    """A day's flights as an application asks for them, and how late they were."""
    columns = {name: house.module.typed(name, flights[name].to_list()) for name in INPUTS}
    columns["day"] = ("BYTES", [str(day)] * flights.height)
    answer = plane.infer("late-risk", columns)
    scores = {one["name"]: one["data"] for one in answer["outputs"]}["score"]
    assert scores == pytest.approx(flights["score"].to_list(), abs=1e-6)
    prediction = answer["parameters"]["prediction_id"]
    truths = [
        {"prediction_id": f"{prediction}:{index}", "truth": int(late)}
        for index, late in enumerate(flights["late"])
        if late is not None
    ]
    plane.post("/v2/feedback", {"feedback": truths})


def by_part(judged: Judged) -> dict[str, Any]:
    """The differences from the incumbent's Brier score, by part of the day."""
    (found,) = [
        one
        for one in judged.found["slices"]
        if (one["column"], one["metric"]) == ("part_of_day", "brier")
    ]
    return {bar["name"]: bar["differences"]["incumbent"] for bar in found["bars"]}


def quoted(start: str) -> str:
    """What the page says that it says."""
    (quote,) = [
        line.removeprefix("> ")
        for line in PAGE.read_text().splitlines()
        if line.startswith(f"> {start}")
    ]
    return quote


def assert_says(text: str, quote: str) -> None:
    """The same words, and numbers that are the same but for their last digits."""
    pattern = "".join(
        f"({NUMBER.pattern})" if NUMBER.fullmatch(part) else re.escape(part)
        for part in re.split(f"({NUMBER.pattern})", quote)
    )
    found = re.search(pattern, text)
    assert found, text
    told = [float(one.replace(",", "")) for one in NUMBER.findall(quote)]
    said = [float(one.replace(",", "")) for one in NUMBER.findall(found[0])]
    assert said == pytest.approx(told, rel=0.1, abs=0.0005)


def test_the_first_model_ever_is_judged_against_a_baseline(first):
    assert first.found["verdict"] == "pass"
    better = first.check("brier.vs(baseline) < 0")
    assert -0.02 < better["value"] < -0.005
    assert better["high"] < 0
    assert first.found["evidence"]["against_checks"] == []


def test_the_candidate_is_better_on_average(from_ten):
    overall = from_ten.check(ON_AVERAGE)
    assert overall["verdict"] == "pass"
    assert -0.016 < overall["value"] < -0.006
    assert overall["n"] == 28_756


def test_it_is_worse_at_five_and_six_and_the_verdict_says_so(from_ten, told):
    worst = from_ten.check(BY_PART)
    assert (worst["verdict"], from_ten.found["verdict"]) == ("fail", "fail")
    assert 0.01 < worst["value"] < 0.025
    assert worst["low"] > 0.005
    assert worst["n"] == 2510
    (said,) = [text for command, text in told.items() if "--html from-ten.html" in command]
    assert "worst slice part_of_day=05-06" in said
    assert_says(said, quoted("worst slice"))


def test_auc_per_hour_alone_would_have_let_it_pass(told):
    (said,) = [text for command, text in told.items() if AUC_BY_HOUR in command]
    assert f"{AUC_BY_HOUR}: pass" in said


def test_the_page_for_a_reader_is_one_small_file(house, told):
    page = (house.folder / "from-ten.html").read_text()
    assert len(page) < 300_000
    assert "05-06" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_gate_stops_it_and_names_the_hours(house, told):
    (said,) = [text for command, text in told.items() if "promote from-ten" in command]
    assert "late-risk 1.0.1 on flights@2: fail" in said
    (stopped,) = [one for one in house.seamline("promotion", "list") if one["phase"] == "failed"]
    gates = {
        one["gate"]: one for one in house.seamline("promotion", "show", stopped["id"])["gates"]
    }
    assert {name for name, one in gates.items() if one["verdict"] != "pass"} == {"evaluation"}
    (evidence,) = gates["evaluation"]["evidence"]["evaluations"]
    (why,) = [one for one in evidence["sentences"] if BY_PART in one]
    assert "part_of_day=05-06" in why


def test_one_trained_on_all_hours_passes(house, all_hours, from_ten):
    assert all_hours.found["verdict"] == "pass"
    assert all_hours.check(ON_AVERAGE)["value"] < from_ten.check(ON_AVERAGE)["value"]
    assert all_hours.check(BY_PART)["verdict"] == "pass"
    assert by_part(all_hours)["05-06"]["high"] < 0.005 < by_part(from_ten)["05-06"]["low"]
    assert house.live("production") == "all-hours"


def test_the_readme_tells_these_figures(all_hours, from_ten):
    rows = re.findall(r"^\| (\d\d-\d\d) \|(.*)\|$", README.read_text(), re.MULTILINE)
    told = {part: [cell.strip() for cell in cells.split("|")] for part, cells in rows}
    candidate, whole = by_part(from_ten), by_part(all_hours)
    assert list(told) == sorted(candidate)
    for part, (flights, _, _, *differences) in told.items():
        assert int(flights.replace(",", "")) == candidate[part]["n_rows"]
        found = [one[part]["value"] for one in (candidate, whole)]
        assert [float(text) for text in differences] == pytest.approx(found, abs=0.0015)


def test_a_retrained_model_that_is_not_better_is_kept_and_says_so(house, retraining):
    assert retraining["phase"] == "kept"
    assert retraining["release"] is None
    assert retraining["candidate_version"] == "1.0.3"
    assert_says(retraining["sentence"], quoted("late-risk 1.0.3"))
    assert house.live("production") == "all-hours"
    assert house.judged("1.0.3").check(ON_AVERAGE)["verdict"] == "inconclusive"
