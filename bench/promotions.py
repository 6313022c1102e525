"""How long a promotion takes: applying until the new model answers, going back under load, the
chain of facts, and `promote --plan`.

    python -m bench.promotions [--turns N] [--clients N] [--facts N]

A real server and a real data plane, each a process of its own; scikit-learn models of some
kilobytes, one for each turn. Times of a promotion's steps are those of its facts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import skops.io
from bench.registries.servers import SEAMLINE, ours
from bench.registries.table import show_head, show_row
from sklearn.linear_model import LogisticRegression

from seamline.domain.clock import SystemClock
from seamline.domain.promote_facts import PolicyApplied
from seamline.register.models import package_task
from seamline.register.models.catalogue import register_model_version
from seamline.register.models.documents import Lineage, make_model_document, packaging_task
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.store.facts import verify_chain
from seamline.store.stores import Stores, open_stores
from seamline.trust.keys import load_or_create_key

MODEL, HERE = "late", "production"
PROJECT = f"""
project = "bench"
team = "bench"

[environments.dataops]

[environments.{HERE}]
after = "dataops"
gates = ["digests", "provenance"]
approvals = {{ count = 1, not = [] }}

[models.{MODEL}]
pipeline = "train"
output = "train.model"
samples = "train.samples"

[deployments.{MODEL}]
model = "{MODEL}"
"""
ROW = {"inputs": [{"name": f"x{n}", "datatype": "FP64", "shape": [1], "data": [0.5]}
                  for n in range(3)]}  # fmt: skip
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Answer:
    at: float
    status: int
    release: str


@dataclass
class Caller:
    """One client on one connection, which asks as soon as it is answered."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        body = json.dumps(ROW).encode()
        while not self.stop.is_set():
            try:
                connection.request("POST", f"/v2/models/{MODEL}/infer", body)
                response = connection.getresponse()
                told = json.loads(response.read())
                release = told.get("parameters", {}).get("release", "")
                self.answers.append(Answer(time.time(), response.status, release))
            except OSError:
                self.answers.append(Answer(time.time(), 0, ""))
                connection.close()
        connection.close()


@dataclass(frozen=True)
class House:
    """A running server and its data plane."""

    url: str
    serve_url: str
    workspace: Path

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1{path}") as response:
            return json.load(response)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers)
        with urllib.request.urlopen(asked) as response:
            return json.load(response)

    def promoted(self, promotion: dict[str, Any], phase: str) -> dict[str, Any]:
        """Once it has settled in this phase."""
        found = self.get(f"/promotions/{promotion['id']}?wait_s={PATIENCE_S}")
        if found["phase"] != phase:
            raise RuntimeError(f"{found['phase']} instead of {phase}: {found['reason']}")
        return dict(found)

    def steps(self, promotion: dict[str, Any]) -> dict[str, float]:
        """Phase → when it was entered; `snapshot`: when what is served was written."""
        moved = self.get(f"/facts?subject={promotion['id']}&limit=100")
        found = {
            one["body"]["after"]: _seconds(one["at"])
            for one in moved
            if one["kind"] == "promotion.moved"
        }
        written = [
            _seconds(one["at"])
            for one in self.get(f"/facts?subject={HERE}&limit=20")
            if one["kind"] == "snapshot.written"
            and one["body"]["release"] == promotion["release"]
            and _seconds(one["at"]) >= found["verifying"]
        ]
        return {**found, "snapshot": min(written)}

    @contextmanager
    def load(self, clients: int) -> Iterator[list[Caller]]:
        callers = [Caller(self.serve_url) for _ in range(clients)]
        threads = [threading.Thread(target=one.run) for one in callers]
        for thread in threads:
            thread.start()
        try:
            yield callers
        finally:
            for one in callers:
                one.stop.set()
            for thread in threads:
                thread.join()

    def await_standbys(self) -> None:
        query = f"{self.serve_url}/snapshots/{HERE}?wait_s={PATIENCE_S:.0f}&standbys=1"
        with urllib.request.urlopen(query) as response:
            standbys = json.load(response).get("standbys", [])
        cold = [one for one in standbys if one["state"] != "warm"]
        if cold:
            raise RuntimeError(f"not warm: {cold}")


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def first_answer(callers: Sequence[Caller], release: str) -> float:
    """When the first caller got an answer by this release."""
    until = time.time() + PATIENCE_S
    while time.time() < until:
        found = [a.at for one in callers for a in list(one.answers) if a.release == release]
        if found:
            return min(found)
        time.sleep(0.002)
    raise RuntimeError(f"nothing was answered by {release}")


def register(workspace: Path, versions: int) -> None:
    """Small models, each of which says something else."""
    workspace.mkdir(parents=True)
    stores = open_stores(workspace, SystemClock())
    key = load_or_create_key(stores.root / "keys")
    draw = np.random.default_rng(1)
    for number in range(versions):
        known = draw.random((200, 3))
        payload = skops.io.dumps(LogisticRegression().fit(known, known[:, 0] > 0.5))
        model, samples = workspace / "model.skops", workspace / "samples"
        model.write_bytes(payload)
        shown = [{f"x{column}": value for column, value in enumerate(row)} for row in known[:2]]
        samples.write_text("".join(f"{json.dumps(row)}\n" for row in shown))
        described: dict[str, Any] = package_task.main(
            packaging_task(model, samples, requirements=[])[1]
        )
        lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
        document = make_model_document(MODEL, f"1.0.{number}", described, lineage)
        wheel = build_model_wheel(ModelWheelSpec(document, described["samples"], payload))
        register_model_version(stores, wheel, key=key, by="bench")
    stores.db.close()


def turn(house: House, number: int, clients: int) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of applying release `number`, and of going back from it under load."""
    asked = house.post("/promotions", {"release": f"r{number}", "environment": HERE})
    before = house.get("/releases/r0")["digest"]
    house.promoted(asked, "awaiting_approval")
    house.await_standbys()
    with house.load(1) as callers:
        first_answer(callers, before)
        approved = time.time()
        house.post(f"/promotions/{asked['id']}/approve", {})
        answered = first_answer(callers, asked["release"])
        at = house.steps(house.promoted(asked, "live"))
    applying = {
        "approved → applying": at["applying"] - approved,
        "applying → pointer": at["verifying"] - at["applying"],
        "pointer → snapshot": at["snapshot"] - at["verifying"],
        "snapshot → answer": answered - at["snapshot"],
        "**applying → answer**": answered - at["applying"],
        "applying → live": at["live"] - at["applying"],
    }
    with house.load(clients) as callers:
        first_answer(callers, asked["release"])
        began = time.time()
        back = house.post("/rollbacks", {"environment": HERE, "reason": "measured"})
        answered = first_answer(callers, before)
        house.promoted(back, "live")
    answers = [one for caller in callers for one in caller.answers]
    late = [one for one in answers if one.at > answered + 1 and one.release != before]
    going_back = {
        "**rollback → answer**": answered - began,
        "requests": len(answers),
        "failed": sum(one.status != 200 for one in answers),
        "answered by the old one a second later": len(late),
    }
    return applying, going_back


def show_promotions(root: Path, turns: int, clients: int) -> None:
    workspace = root / "promotions"
    register(workspace, turns + 1)
    with ours(workspace) as server:
        told = json.loads((workspace / "server.json").read_text())
        house = House(server.url, told["serve_url"], workspace)
        house.post("/project/apply", {"text": PROJECT, "file": "seamline.toml"})
        for number in range(turns + 1):
            pins = {"alias": f"r{number}", "models": [f"{MODEL}@1.0.{number}"]}
            house.post("/releases", pins)
        first = house.post("/promotions", {"release": "r0", "environment": HERE})
        house.promoted(first, "awaiting_approval")
        house.post(f"/promotions/{first['id']}/approve", {})
        house.promoted(first, "live")
        both = [turn(house, number, clients) for number in range(1, turns + 1)]
        show_head("what", "ms, median", "range", "n")
        for name in both[0][0]:
            show_times(name, [applying[name] for applying, _ in both])
        backs = [back for _, back in both]
        show_times(f"**rollback → answer, {clients} clients**", [
            one["**rollback → answer**"] for one in backs])  # fmt: skip
        for name in ("requests", "failed", "answered by the old one a second later"):
            show_row(f"{name}, meanwhile", f"{sum(one[name] for one in backs):.0f}", "", len(backs))
        show_plans(house)
        show_disk(root)


def show_disk(root: Path) -> None:
    """What each commit waits for, and the snapshot's file."""
    path = root / "floor"

    def write() -> None:
        with path.open("wb") as file:
            file.write(bytes(4096))
            os.fsync(file.fileno())

    show_times("floor: 4 kB written, and waited for the disk", timed(write, turns=51))


def show_plans(house: House) -> None:
    body = {"release": "r1", "environment": HERE}

    def from_the_shell() -> None:
        command = [SEAMLINE, "--workspace", str(house.workspace), "promote", "r1", "--to", HERE]
        subprocess.run([*command, "--plan"], check=True, capture_output=True)

    show_times("`promote --plan`, over HTTP", timed(lambda: house.post("/promotions/plan", body)))
    began = _children_s()
    seconds = timed(from_the_shell)
    show_times("`promote --plan`, from the shell", seconds)
    spent = (_children_s() - began) / (len(seconds) + 1)
    show_row("the same, time of a processor, without the server's", f"{spent * 1e3:.0f}", "", 12)


def _children_s() -> float:
    """Seconds of a processor of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show_facts(root: Path, count: int) -> None:
    """Chained facts in one workspace, verified from the database to the last hash."""
    stores = open_stores(root / "facts", SystemClock())
    fill(stores, count)

    def verify() -> None:
        with stores.db.read() as connection:
            report = verify_chain(connection)
        if report.broken or report.checked < count:
            raise RuntimeError(f"{report}")

    began = time.process_time()
    seconds = timed(verify, turns=5)
    show_times(f"{count:,} facts verified", seconds)
    spent = (time.process_time() - began) / 6
    show_row("the same, time of a processor", f"{spent * 1e3:.0f}", "", 6)
    stores.db.close()


def fill(stores: Stores, count: int) -> None:
    digests = [f"sha256:{number:064x}" for number in range(count)]
    for start in range(0, count, 5_000):
        with stores.db.transaction() as tx:
            stores.facts.append_all(
                tx,
                [
                    (PolicyApplied("production", one, None), "bench", None)
                    for one in digests[start : start + 5_000]
                ],
            )


def timed(measure: Callable[[], Any], turns: int = 11) -> list[float]:
    measure()  # the first one fills caches
    found = []
    for _ in range(turns):
        began = time.perf_counter()
        measure()
        found.append(time.perf_counter() - began)
    return found


def show_times(name: str, seconds: Sequence[float]) -> None:
    spread = f"{min(seconds) * 1e3:.0f} to {max(seconds) * 1e3:.0f}"
    show_row(name, f"{statistics.median(seconds) * 1e3:.0f}", spread, len(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--facts", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show_promotions(Path(folder), given.turns, given.clients)
        show_facts(Path(folder), given.facts)


if __name__ == "__main__":
    main()
