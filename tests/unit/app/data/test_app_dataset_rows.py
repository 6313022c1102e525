"""Rows, tags, splits, labels and retention over HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from seamline.app.train.resolve_uri import resolve_uri
from seamline.data.ingest import ingest
from seamline.domain.clock import ManualClock, iso
from seamline.domain.errors import Refused
from seamline.domain.states import Role
from seamline.project.plan import apply_project
from seamline.register.rows import MODEL_VERSIONS
from seamline.server import ControlPlane
from seamline.store.facts import read_facts, verify_chain
from seamline.train.context import RunContext
from seamline.train.rows import ARTIFACTS, RUNS
from seamline.trust.principals import add_principal

PROJECT = """
project = "calls"
team = "ada"

[datasets.calls]
time = "at"
keys = ["id"]
mode = "replace"
splits = { by = "key", shares = { train = 0.5, test = 0.5 } }
retention = { keep_versions = 1 }

[datasets.calls.labels]
dataset = "outcomes"
keys = ["id"]
time = "at"
values = ["late"]
horizon = "30d"

[datasets.outcomes]
time = "at"
"""
CONTEXT = RunContext("run-1", "dataops", "train", "bob", "read")
Ask = Callable[..., httpx.Response]


@pytest.fixture
def clock() -> ManualClock:
    """Files bear the machine's time: to this clock they are old."""
    return ManualClock(datetime.now(UTC) + timedelta(days=2))


@pytest.fixture
def ask(plane: ControlPlane) -> Ask:
    def send(method: str, path: str, role: Role | None = None, **given: Any) -> httpx.Response:
        stores, headers = plane.platform.stores, {}
        if role is not None:
            with stores.db.transaction() as tx:
                who = f"who-{len(read_facts(tx))}"
                token = add_principal(tx, stores.facts, stores.clock, who, {role}, by="r")
            headers = {"Authorization": f"Bearer {token}"}

        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(plane.app, client=("127.0.0.1", 5000))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8765"
            ) as client:
                return await client.request(method, f"/api/v1{path}", headers=headers, **given)

        return asyncio.run(one())

    return send


@pytest.fixture
def calls(plane: ControlPlane, ask: Ask) -> None:
    apply_project(plane.platform.stores, PROJECT, "seamline.toml", by="ada")
    rows = "".join(f"{n},2025-03-{n + 1:02}T08:00:00Z\n" for n in range(20))
    labels = "".join(f"{n},2025-03-{n + 3:02}T08:00:00Z,{n % 2}\n" for n in range(20))
    for name, text in (("calls", f"id,at\n{rows}"), ("outcomes", f"id,at,late\n{labels}")):
        answer = ask("POST", f"/datasets/{name}/deliveries?source=a.csv", content=text.encode())
        assert answer.status_code == 200, answer.text


def test_rows_are_shown_and_downloaded(calls: None, ask: Ask) -> None:
    found = ask("GET", "/datasets/calls@1/rows?limit=2&column=id&since=2025-03-02").json()
    assert (found["columns"], found["rows"]) == (["id"], [[1], [2]])
    assert ask("GET", "/datasets/calls/rows").json()["rows"][0][1] == "2025-03-01T08:00:00.000000Z"
    for name, read in (("a.parquet", pl.read_parquet), ("a.csv", pl.read_csv)):
        answer = ask("GET", f"/datasets/calls@1/rows/file?name={name}&column=id")
        assert read(io.BytesIO(answer.content))["id"].to_list() == list(range(20))
    assert ask("GET", "/datasets/calls@1/rows?column=ids").status_code == 404
    assert ask("GET", "/datasets/calls@1/rows/file?name=a.doc").status_code == 400


def test_tags_are_names(calls: None, ask: Ask) -> None:
    tagged = ask("POST", "/datasets/calls@1/tags", json={"tag": "golden"}).json()
    assert (tagged["version"], tagged["is_new"]) == (1, True)
    assert ask("GET", "/datasets/calls@golden").json()["version"] == 1
    assert [one["tag"] for one in ask("GET", "/datasets/calls/tags").json()] == ["golden"]
    (listed,) = ask("GET", "/datasets/calls/versions").json()
    assert (listed["version"], listed["tags"], listed["is_removed"]) == (1, ["golden"], False)
    denied = ask("POST", "/datasets/calls@1/tags", Role.VIEWER, json={"tag": "mine"})
    assert denied.status_code == 403
    assert ask("DELETE", "/datasets/calls/tags/golden").json()["version"] == 1
    assert ask("GET", "/datasets/calls@golden").status_code == 404


def test_a_run_reads_exactly_its_split_and_fixes_it(
    plane: ControlPlane, calls: None, ask: Ask
) -> None:
    stores, declarations = plane.platform.stores, plane.platform.declarations
    before = ask("GET", "/datasets/calls@1/splits").json()
    assert [(one["split"], one["fixed_by"]) for one in before] == [("train", None), ("test", None)]
    found = [
        resolve_uri(stores, f"datasets://calls@1/{name}", CONTEXT, declarations)
        for name in ("train", "test")
    ]
    ids = [pl.read_parquet(one.path / "**/*.parquet")["id"].to_list() for one in found]
    assert sorted(ids[0] + ids[1]) == list(range(20))
    shown = ask("GET", "/datasets/calls@1/rows?split=test&column=id").json()
    assert sorted(row[0] for row in shown["rows"]) == sorted(ids[1])
    assert (shown["reference"], shown["digest"]) == ("calls@1/test", found[1].digest)
    assert found[0].uri == "datasets://calls@1/train"
    after = ask("GET", "/datasets/calls@1/splits").json()
    assert [one["digest"] for one in after] == [one["digest"] for one in before]
    assert {(one["fixed_by"], one["is_declared"]) for one in after} == {("bob", True)}
    changed = PROJECT.replace("train = 0.5, test = 0.5", "train = 0.9, test = 0.1")
    apply_project(stores, changed, "seamline.toml", by="ada")
    assert resolve_uri(stores, found[0].uri, CONTEXT, declarations).digest == found[0].digest
    assert not ask("GET", "/datasets/calls@1/splits").json()[0]["is_declared"]


def test_labels_are_those_that_were_known(calls: None, ask: Ask) -> None:
    asked = "/datasets/calls@1/rows?with_labels=true&column=id&as_of=2025-03-05T10:00:00%2B01:00"
    found = ask("GET", asked).json()
    assert found["columns"] == ["id", "late", "label_known_at"]
    assert [row[:2] for row in found["rows"]] == [[0, 0], [1, 1], [2, 0], [3, None], [4, None]]
    assert (found["labels"], found["as_of"][:10]) == ("outcomes@1", "2025-03-05")
    assert ask("GET", "/datasets/outcomes/rows?with_labels=true").status_code == 404


def test_retention_is_planned_by_readers_and_applied_by_admins(
    plane: ControlPlane, calls: None, ask: Ask
) -> None:
    stores = plane.platform.stores
    text = b"id,at\n7,2025-03-09T08:00:00Z\n"
    assert ask("POST", "/datasets/calls/deliveries?source=b.csv", content=text).json()["rows"] == 1
    orphan = stores.blobs.put(b"nobody names this")
    planned = ask("POST", "/retention/plan", Role.VIEWER, json={}).json()
    kinds = {(item["kind"], item["reason"]) for item in planned["removable"]}
    assert ("blob", "nothing refers to it") in kinds
    assert ("rows", "only @1 had it: retention of calls: keep_versions 1") in kinds
    assert stores.blobs.holds(orphan)
    assert ask("POST", "/retention/apply", Role.DEVELOPER, json={}).status_code == 403
    applied = ask("POST", "/retention/apply", json={}).json()
    assert applied["bytes"] == planned["bytes"] > 0
    assert [one["reason"] for one in applied["removable"] if one["kind"] == "rows"] == [
        "only @1 had it: retention of calls: keep_versions 1"
    ] * 20
    assert not stores.blobs.holds(orphan)
    assert ask("GET", "/datasets/calls@1/rows").json()["error"]["code"] == "refused"
    assert ask("GET", "/datasets/calls@2/rows").json()["rows"][0][0] == 7
    shown = ask("GET", "/datasets/calls@1").json()
    assert shown["removal"]["reason"] == "retention of calls: keep_versions 1"
    assert ask("GET", "/datasets/calls@1/verify").json()["error"]["code"] == "refused"
    listed = ask("GET", "/datasets/calls/versions").json()
    assert [(one["version"], one["is_removed"]) for one in listed] == [(2, False), (1, True)]
    with pytest.raises(Refused, match="were removed"):
        resolve_uri(stores, "datasets://calls@1", CONTEXT)
    assert ask("POST", "/retention/apply", json={}).json()["removable"] == []
    with stores.db.read() as connection:
        (fact,) = read_facts(connection, kinds=["retention.applied"])
        assert verify_chain(connection).broken is None
    assert fact.body["freed_bytes"] == applied["bytes"]


def test_what_runs_were_handed_is_made_anew(plane: ControlPlane, calls: None, ask: Ask) -> None:
    stores, declarations = plane.platform.stores, plane.platform.declarations
    uris = ("datasets://outcomes@1", "datasets://calls@1/train")

    def lay_out() -> list[Path]:
        return [resolve_uri(stores, uri, CONTEXT, declarations).path for uri in uris]

    paths = lay_out()
    held = [pl.read_parquet(path / "**/*.parquet")["id"].to_list() for path in paths]
    ask("POST", "/retention/apply", json={"grace": "9d"})
    assert all(path.is_dir() for path in paths)
    told = ask("POST", "/retention/apply", json={}).json()
    assert {path.name for path in paths} <= {item["name"] for item in told["removable"]}
    left = [path for path in (stores.root / "cache" / "datasets").rglob("*") if path.is_file()]
    assert left == [] and not any(path.exists() for path in paths)
    assert lay_out() == paths
    again = [pl.read_parquet(path / "**/*.parquet")["id"].to_list() for path in paths]
    assert again == held


def test_outputs_of_old_runs_go_when_that_is_asked_and_no_model_was_made(
    plane: ControlPlane, ask: Ask, put_row: Callable[..., None]
) -> None:
    stores = plane.platform.stores
    digests = {}
    for run_id in ("old", "model", "young"):
        digests[run_id] = stores.blobs.put(run_id.encode())
        ended = stores.clock.now() - timedelta(days=1 if run_id == "young" else 100)
        put_row(RUNS, id=run_id, state="succeeded", ended_at=iso(ended), options="{}", notes="[]")
        put_row(ARTIFACTS, id=run_id, run_id=run_id, task="t", output="o", digest=digests[run_id])
    put_row(MODEL_VERSIONS, model="m", version="1", run_id="model", dataset_versions="[]")
    ask("POST", "/retention/apply", json={})
    assert all(stores.blobs.holds(digest) for digest in digests.values())
    ask("POST", "/retention/apply", json={"runs_older_than": "90d"})
    held = {run_id for run_id, digest in digests.items() if stores.blobs.holds(digest)}
    assert held == {"model", "young"}


def test_what_came_within_the_grace_stays(plane: ControlPlane, calls: None, ask: Ask) -> None:
    orphan = plane.platform.stores.blobs.put(b"its row comes in a moment")
    kept = ask("POST", "/retention/apply", json={"grace": "9d"}).json()["kept"]
    assert plane.platform.stores.blobs.holds(orphan)
    assert any(one["reason"] == "younger than the time of grace" for one in kept)


MIRROR = """
[datasets.calls.mirror]
mask = { kind = "constant" }
constants = { kind = "call" }
"""


def test_staging_gets_what_production_has_masked(
    plane: ControlPlane, calls: None, ask: Ask
) -> None:
    stores = plane.platform.stores
    asked = {"source": "production", "environment": "staging"}
    refused = ask("POST", "/datasets/calls/mirrors", json=asked).json()
    assert "declares no mirror" in refused["error"]["message"]
    apply_project(stores, PROJECT + MIRROR, "seamline.toml", by="ada")
    missing = ask("POST", "/datasets/calls/mirrors", json=asked)
    assert (missing.status_code, "calls-production" in missing.text) == (404, True)
    rows = "".join(f"{n},2025-03-{n % 20 + 1:02}T08:00:00Z,k{n},{n % 7}\n" for n in range(900))
    declared = plane.platform.declarations().dataset("calls")
    path = plane.platform.root / "production.csv"
    path.write_text(f"id,at,kind,size\n{rows}")
    production = dataclasses.replace(declared, name="calls-production")
    ingest(stores, production, path, source="run", by="ada")
    made = ask("POST", "/datasets/calls/mirrors", json=asked).json()
    assert (made["dataset"], made["rows"], made["mirror_of"]) == (
        "calls-staging",
        900,
        "calls-production@1",
    )
    assert made["likeness"]["verdict"] == "pass", made["likeness"]["sentence"]
    shown = ask("GET", "/datasets/calls-staging/rows?column=kind&limit=900").json()
    assert shown["rows"] == [["call"]] * 900
    assert ask("GET", "/datasets/calls/mirrors/staging").json() == made["likeness"]
    assert not ask("POST", "/datasets/calls/mirrors", json=asked).json()["is_new"]
    for wrong in ({**asked, "environment": "dataops"}, {**asked, "environment": "production"}):
        assert ask("POST", "/datasets/calls/mirrors", json=wrong).status_code == 400
    assert ask("POST", "/datasets/calls/mirrors", Role.VIEWER, json=asked).status_code == 403
