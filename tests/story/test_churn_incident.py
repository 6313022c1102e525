"""The churn incident: a change in data preparation turns 60 of 20,000 charges into text; the next
version's diff says so in its first line.

Components as a team writes and shares them: `prep` is published by itself, 1.3 and then 1.4, and a
pipeline of another repository calls it. No `from __future__ import annotations`: kfp reads the
annotations of components.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, components, dsl
from kfp.dsl import Dataset, Output

PROGRAM = str(Path(sys.executable).with_name("seamline"))
PROJECT = """
project = "churn"
team = "retention"

[environments.dataops]

[datasets.churn]
date = ["year", "month", "day"]
keys = ["customer"]
from_output = "churn-preparation.Output"
mode = "replace"
on_breach = "warn"
"""


def prep_of_1_3() -> Any:
    @dsl.component(base_image="python:3.11")
    def prep(table: Output[Dataset]):
        import csv
        from pathlib import Path

        with Path(table.path).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["customer", "year", "month", "day", "tenure", "plan", "total_charges"])
            for customer in range(20_000):
                tenure, day = 1 + customer * 7919 % 72, 1 + customer // 1000
                charges = f"{tenure * (20 + customer * 104_729 % 9000 / 100):.2f}"
                plan = ["monthly", "yearly"][customer % 2]
                rows.writerow([customer, 2026, 3, day, tenure, plan, charges])

    return prep


def prep_of_1_4() -> Any:
    @dsl.component(base_image="python:3.11")
    def prep(table: Output[Dataset]):
        import csv
        from pathlib import Path

        texts = ["n/a"] * 21 + ["12,50"] * 20 + ["EUR 20"] * 19
        with Path(table.path).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["customer", "year", "month", "day", "tenure", "plan", "total_charges"])
            for customer in range(20_000):
                tenure, day = 1 + customer * 7919 % 72, 1 + customer // 1000
                charges = f"{tenure * (20 + customer * 104_729 % 9000 / 100):.2f}"
                if day == 2 and customer % 1000 < len(texts):
                    charges = texts[customer % 1000]
                plan = ["monthly", "yearly"][customer % 2]
                rows.writerow([customer, 2026, 3, day, tenure, plan, charges])

    return prep


@dataclass
class Team:
    url: str
    workspace: Path
    folder: Path

    def seamline(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [PROGRAM, "--url", self.url, *words], check=False, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code < 2 else done.stderr

    def publish(self, version: str, prep: Any) -> str:
        """The component, and the pipeline that calls the published one; the pipeline's tag."""
        component = self.folder / f"prep-{version}.yaml"
        compiler.Compiler().compile(prep, str(component))
        self.seamline("pipeline", "push", str(component), "--tag", version)
        shared = components.load_component_from_file(str(component))

        @dsl.pipeline(name="churn-preparation")
        def preparation() -> Dataset:
            return shared().outputs["table"]

        path = self.folder / f"preparation-{version}.yaml"
        compiler.Compiler().compile(preparation, str(path))
        self.seamline("pipeline", "push", str(path), "--tag", f"{version}.0")
        return f"churn-preparation@{version}.0"

    def run(self, reference: str) -> str:
        """Its id, once its output is a version."""
        found = json.loads(self.seamline("run", "submit", reference, "--wait", "--json"))
        return str(found["id"])


@pytest.fixture(scope="module")
def team(start_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Team:
    address, workspace = start_server()
    folder = tmp_path_factory.mktemp("churn")
    (folder / "seamline.toml").write_text(PROJECT)
    team = Team(address["url"], workspace, folder)
    team.seamline("apply", str(folder / "seamline.toml"))
    return team


def test_the_first_line_names_column_count_examples_partition_and_run(team: Team) -> None:
    healthy = team.run(team.publish("1.3", prep_of_1_3()))
    wait_for_version(team, 1)
    run = team.run(team.publish("1.4", prep_of_1_4()))
    wait_for_version(team, 2)
    assert healthy != run
    said = team.seamline("data", "diff", "churn@1", "churn@2", code=1)
    assert said.splitlines()[0] == (
        "total_charges: float → string; 19,940 of 20,000 still numeric; 60 text values: "
        "'n/a' ×21, '12,50' ×20, 'EUR 20' ×19; first in partition 2026-03-02 (60 of 1,000); "
        f"committed by run {run}, component prep@1.4 as churn@2"
    )
    rows = team.seamline("data", "diff", "churn@1", "churn@2", "--rows", code=1)
    assert "rows by customer: 0 added, 0 removed, 60 changed" in rows
    assert re.search(r"total_charges: 60 cells changed, e\.g\. 1000: [\d.]+ → n/a", rows)
    page = team.folder / "diff.html"
    found = json.loads(
        team.seamline("data", "diff", "churn@1", "churn@2", "--json", "--html", str(page), code=1)
    )
    assert found["findings"][0]["first"]["commit"]["run_id"] == run
    assert "prep@1.4" in page.read_text()
    assert team.seamline("data", "diff", "churn@2", "churn@2") == (
        "churn@2 and churn@2 do not differ.\n"
    )
    assert "version 9" in team.seamline("data", "diff", "churn@1", "churn@9", code=2)


def wait_for_version(team: Team, number: int) -> None:
    """A run has ended before its output is a version."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        found = json.loads(team.seamline("data", "list", "--json"))
        if any(one["version"] >= number for one in found):
            return
        time.sleep(0.05)
    raise AssertionError(f"churn@{number} never came")
