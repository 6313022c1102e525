"""Step 10: each answer leads back to people, data and code; a changed ledger is found out."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def played(world):
    return world.play("audit")


@pytest.fixture(scope="module")
def chain(world):
    found = world.seamline("why", world.demo.prediction_id)["chain"]
    return {one["step"]: one["sentence"] for one in found}


def test_the_ledger_holds(world):
    found = world.seamline("audit", "verify")
    assert found["broken"] is None
    assert found["checked"] > 100
    again = world.seamline("audit", "verify")
    assert again["checked"] >= found["checked"]


def test_why_leads_from_the_prediction_to_the_commit(world, chain):
    model = world.seamline("model", "show", "late-arrival", "--version", "1.0.0")
    release = world.seamline("release", "show", "2013-08")
    dataset = world.seamline("data", "show", "weather@6")
    pipeline = world.seamline("pipeline", "show", "late-arrival-training@1.0.0")
    assert world.demo.prediction_id in chain["prediction"]
    assert model["wheel_digest"][7:19] in chain["model"]
    assert release["digest"][7:19] in chain["release"]
    assert "bea" in chain["approval"]
    assert "on flights@8: pass" in chain["evaluation"]
    assert model["run_id"] in chain["run"]
    assert "ada" in chain["run"]
    assert dataset["digest"][7:19] in chain["dataset"]
    assert pipeline["digest"][7:19] in chain["commit"]


def test_every_step_is_there_in_order(world):
    steps = [one["step"] for one in world.seamline("why", world.demo.prediction_id)["chain"]]
    assert list(dict.fromkeys(steps)) == [
        "prediction", "feedback", "model", "release", "approval", "evaluation", "run", "dataset",
        "commit",
    ]  # fmt: skip


def test_every_fact_says_who_and_when(world):
    facts = world.get("/api/v1/facts?limit=1000")
    assert all(fact["by"] and fact["at"].endswith("Z") for fact in facts)
    ids = {fact["id"] for fact in facts}
    assert {fact["caused_by"] for fact in facts} - {None} <= ids


EDITS = {
    "who": ("UPDATE facts SET by = 'mallory' WHERE id = ?", False),
    "what": ("UPDATE facts SET body = replace(body, 'production', 'staging') WHERE id = ?", False),
    "when": ("UPDATE facts SET at = '2013-01-01T00:00:00.000000Z' WHERE id = ?", False),
    "gone": ("DELETE FROM facts WHERE id = ?", True),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_fact_that_was_changed_by_hand_is_named(world, tmp_path, edit):
    """On a copy: bea's approval for production."""
    statement, names_the_next = EDITS[edit]
    copy = tmp_path / "workspace"
    copy.mkdir()
    source = sqlite3.connect(
        f"file:{world.workspace / 'seamline.db'}?mode=ro", uri=True, timeout=120
    )
    target = sqlite3.connect(copy / "seamline.db")
    source.backup(target)
    words = "id, kind, by, instr(body, 'production') > 0"
    facts = target.execute(f"SELECT {words} FROM facts WHERE chain_seq > 0 ORDER BY chain_seq")
    rows = facts.fetchall()
    at = max(n for n, row in enumerate(rows) if row[1:] == ("approval.given", "bea", 1))
    target.execute(statement, (rows[at][0],))
    target.commit()
    source.close()
    target.close()
    done = audit(copy)
    assert done.returncode != 0
    assert rows[at + names_the_next][0] in done.stderr


def audit(workspace: Path) -> subprocess.CompletedProcess[str]:
    """No server runs there: the command works by itself."""
    environ = {key: value for key, value in os.environ.items() if "SEAMLINE" not in key}
    program = str(Path(sys.executable).with_name("seamline"))
    command = [program, "--workspace", str(workspace), "audit", "verify"]
    return subprocess.run(command, capture_output=True, text=True, env=environ)


def test_the_facts_are_rows_that_any_sql_tool_reads(world):
    with sqlite3.connect(
        f"file:{world.workspace / 'seamline.db'}?mode=ro", uri=True, timeout=120
    ) as database:
        count, last = database.execute(
            "SELECT count(*), max(chain_seq) FROM facts WHERE chain_seq IS NOT NULL"
        ).fetchone()
        body = database.execute(
            "SELECT body FROM facts WHERE kind = 'approval.given' ORDER BY seq LIMIT 1"
        ).fetchone()[0]
    database.close()
    assert count == last
    assert json.loads(body)["environment"] == "staging"
