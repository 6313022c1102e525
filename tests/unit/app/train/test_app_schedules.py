"""Schedules meet pipelines, environments and the API: which version is due, and who may say so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from seamline.app.promote.make_release import make_release
from seamline.app.reactions import REACTIONS
from seamline.domain.clock import ManualClock
from seamline.domain.states import Role
from seamline.register.pipelines.publishing import delete_tag, publish_pipeline, tag_pipeline
from seamline.server import ControlPlane
from seamline.store.facts import read_facts
from seamline.train.views.listing import Comparison, Condition, Order, RunRecord, page_runs
from seamline.trust.principals import add_principal

Ask = Callable[..., Any]
HOUR_S = 3600.0


def ir(number: int, default: int = 1) -> bytes:
    """A pipeline of one importer, of which there are many."""
    parameter = {"parameterType": "NUMBER_INTEGER", "defaultValue": default}
    artifact = {"artifactType": {"schemaTitle": "system.Dataset"}}
    importer = {
        "artifactUri": {"constant": f"datasets://flights@{number}"},
        "typeSchema": {"schemaTitle": "system.Dataset"},
    }
    spec = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "training"},
        "root": {
            "inputDefinitions": {"parameters": {"n": parameter}},
            "dag": {"tasks": {"load": {"componentRef": {"name": "comp-load"}}}},
        },
        "components": {
            "comp-load": {
                "executorLabel": "exec-load",
                "outputDefinitions": {"artifacts": {"artifact": artifact}},
            }
        },
        "deploymentSpec": {"executors": {"exec-load": {"importer": importer}}},
    }
    return json.dumps(spec).encode()


@pytest.fixture
def publish(plane: ControlPlane, clock: ManualClock) -> Callable[..., str]:
    def publish_it(number: int, *tags: str) -> str:
        clock.advance(1)
        return publish_pipeline(plane.platform.stores, ir(number), tags, by="ana").digest

    return publish_it


@pytest.fixture
def ask(plane: ControlPlane) -> Ask:
    """The answer's JSON; an error's status and message."""

    def send(method: str, path: str, body: Any = None, **headers: str) -> Any:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(plane.app, client=("127.0.0.1", 5000))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8765"
            ) as client:
                url = f"/api/v1{path}"
                return await client.request(method, url, json=body, headers=headers)

        answer = asyncio.run(one())
        if answer.status_code < 400:
            return answer.json()
        return answer.status_code, answer.json()["error"]["message"]

    return send


@pytest.fixture
def due(plane: ControlPlane, clock: ManualClock) -> Callable[[], RunRecord | None]:
    """An hour passes: the newest run, if there is a new one."""

    def pass_an_hour() -> RunRecord | None:
        newest = Order("created_at", is_descending=True)
        before = page_runs(plane.platform.stores, order=newest).total
        clock.advance(HOUR_S)
        plane.platform.scheduler.tick()
        found = page_runs(plane.platform.stores, order=newest)
        return found.runs[0] if found.total > before else None

    return pass_an_hour


def hourly(pipeline: str, **more: Any) -> dict[str, Any]:
    return {"name": "s", "pipeline": pipeline, "cron": "@hourly", "max_concurrency": 50, **more}


def test_latest_a_tag_and_a_digest(
    ask: Ask, publish: Callable[..., str], due: Callable[[], RunRecord | None]
) -> None:
    first = publish(1, "stable")
    for name, reference in [
        ("l", "training"),
        ("t", "training@stable"),
        ("d", f"training@{first}"),
    ]:
        ask("POST", "/schedules", {**hourly(reference), "name": name})
    due()
    second = publish(2)
    due()
    publish(3, "stable")
    due()
    digests = {
        name: [
            publish_of(run["id"], ask) for run in reversed(ask("GET", f"/schedules/{name}")["runs"])
        ]
        for name in "ltd"
    }
    third = digests["l"][2]
    assert digests == {
        "l": [first, second, third],
        "t": [first, first, third],
        "d": [first, first, first],
    }
    assert len({first, second, third}) == 3


def publish_of(run_id: str, ask: Ask) -> str:
    return str(ask("GET", f"/runs/{run_id}")["pipeline_digest"])


def test_its_runs_are_its_creators_and_lead_back_to_it(
    plane: ControlPlane, ask: Ask, publish: Callable[..., str], due: Callable[[], RunRecord | None]
) -> None:
    publish(1, "1.0.0")
    stores = plane.platform.stores
    with stores.db.transaction() as tx:
        token = add_principal(
            tx, stores.facts, stores.clock, "dev", frozenset({Role.DEVELOPER}), by="root"
        )
    bearer = {"Authorization": f"Bearer {token}"}
    body = hourly("training@1.0.0", texts={"n": "7"}, time_zone="Europe/Berlin")
    made = ask("POST", "/schedules", body, **bearer)
    run = due()
    assert run is not None
    assert (run.requested_by, run.schedule_id) == ("dev", made["id"])
    assert run.arguments == {"n": 7}
    assert run.display_name == "s 2026-01-01 02:00:00", "as the clock shows it there"
    assert run.scheduled_for == "2026-01-01T01:00:00.000000Z"
    assert run.reference == "training@1.0.0"
    with stores.db.read() as connection:
        (requested,) = read_facts(connection, subject=run.id, kinds=["run.requested"])
        (cause,) = read_facts(connection, ids=[requested.caused_by or ""])
    assert (cause.kind, cause.subject, cause.by) == ("schedule.created", made["id"], "dev")


def test_the_end_of_a_run_wakes_the_scheduler(plane: ControlPlane, publish: Any, ask: Ask) -> None:
    """The reaction to it, in the one readable list."""
    woken = plane.platform.scheduler._wake
    woken.clear()
    first = next(one for one in REACTIONS if one.fact.kind == "run.ended")
    first.effect(plane.platform, None)  # type: ignore[arg-type]
    assert woken.is_set()


def test_outside_of_dataops_the_latest_is_the_releases(
    plane: ControlPlane, ask: Ask, publish: Callable[..., str], due: Callable[[], RunRecord | None]
) -> None:
    held = publish(1, "1.0.0")
    newer = publish(2, "1.1.0")
    there = {"environment": "development"}
    for reference in ("training", "training@1.0.0"):
        status, message = ask("POST", "/schedules", hourly(reference, **there))
        assert (status, "no release is live there" in message) == (422, True)
    make_release(plane.platform, "r1", [], ["training@1.0.0"], by="root")
    while plane.loop.step():
        pass
    status, message = ask("POST", "/schedules", hourly(f"training@{newer}", **there))
    assert (status, "does not hold it" in message) == (422, True)
    ask("POST", "/schedules", hourly("training", **there))
    run = due()
    assert run is not None
    assert (run.environment, run.pipeline_digest) == ("development", held)
    make_release(plane.platform, "r2", [], ["training@1.1.0"], by="root")
    while plane.loop.step():
        pass
    run = due()
    assert run is not None
    assert run.pipeline_digest == newer


def test_a_pinned_version_that_its_release_lost_is_told(
    plane: ControlPlane, ask: Ask, publish: Callable[..., str], due: Callable[[], RunRecord | None]
) -> None:
    publish(1, "1.0.0")
    publish(2, "1.1.0")
    make_release(plane.platform, "r1", [], ["training@1.0.0"], by="root")
    while plane.loop.step():
        pass
    made = ask("POST", "/schedules", hourly("training@1.0.0", environment="development"))
    make_release(plane.platform, "r2", [], ["training@1.1.0"], by="root")
    while plane.loop.step():
        pass
    assert due() is None
    shown = ask("GET", f"/schedules/{made['id']}")
    assert "the live release r2" in shown["last_error"]
    assert shown["next_times"][0] == "2026-01-01T02:00:00.000000Z"


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"pipeline": "trainig"}, 404, "no pipeline"),
        ({"pipeline": "training@nightly"}, 404, "no tag"),
        ({"pipeline": "training@sha256:abc"}, 400, "is not a digest"),
        ({"pipeline": None}, 400, "either `pipeline`"),
        ({"ir": "{}"}, 400, "either `pipeline`"),
        ({"pipeline": None, "ir": "not: ir"}, 400, "no compiled pipeline"),
        ({"cron": None}, 400, "either a cron expression or an interval"),
        ({"interval_s": 60}, 400, "either a cron expression or an interval"),
        ({"arguments": {"m": 1}}, 400, "no parameter 'm'"),
        ({"arguments": {"n": "many"}}, 400, "'n'"),
        ({"texts": {"n": "many"}}, 400, "'n'"),
        ({"environment": "prod"}, 404, "no environment 'prod'"),
        ({"missed": "some"}, 400, "missed"),
        ({"options": {"colour": 1}}, 400, "no option of a run"),
        ({"start_at": "2026-01-01T00:00:00"}, 400, "has no time zone"),
        ({"corn": "@daily"}, 400, "corn"),
        ({"name": ""}, 400, "name has 1 to 200"),
    ],
)
def test_what_cannot_be_scheduled(
    ask: Ask, publish: Callable[..., str], changes: dict[str, Any], status: int, says: str
) -> None:
    publish(1, "1.0.0")
    found = ask("POST", "/schedules", {**hourly("training"), **changes})
    assert found[0] == status, found
    assert says in found[1]
    assert ask("GET", "/schedules") == []


def test_compiled_bytes_that_nobody_published(
    ask: Ask, due: Callable[[], RunRecord | None]
) -> None:
    body = {**hourly("x"), "pipeline": None, "ir": ir(9).decode()}
    made = ask("POST", "/schedules", body)
    assert made["pipeline"].startswith("sha256:")
    run = due()
    assert run is not None
    assert (run.pipeline_digest, run.reference) == (made["pipeline"], None)


def test_pause_resume_delete(
    ask: Ask, publish: Callable[..., str], due: Callable[[], RunRecord | None]
) -> None:
    publish(1)
    made = ask("POST", "/schedules", hourly("training", is_paused=True, missed="none"))
    assert due() is None
    assert ask("GET", "/schedules/s")["next_times"] == []
    resumed = ask("POST", "/schedules/s/resume")
    assert resumed["is_paused"] is False
    assert due() is not None
    assert ask("POST", f"/schedules/{made['id']}/pause")["is_paused"] is True
    assert due() is None
    assert ask("DELETE", "/schedules/s")["id"] == made["id"]
    assert ask("GET", "/schedules/s")[0] == 404


def test_a_tag_that_goes_away_is_told_and_comes_back(
    plane: ControlPlane, ask: Ask, publish: Callable[..., str], due: Callable[[], RunRecord | None]
) -> None:
    digest = publish(1, "nightly")
    ask("POST", "/schedules", hourly("training@nightly"))
    stores = plane.platform.stores
    delete_tag(stores, "training", "nightly", by="ana")
    assert due() is None
    assert "no tag of training 'nightly'" in ask("GET", "/schedules/s")["last_error"]
    tag_pipeline(stores, "training", digest, "nightly", by="ana")
    assert due() is not None
    assert ask("GET", "/schedules/s")["last_error"] is None
    of_it = Condition("schedule_id", Comparison.NOT_EQUALS, "")
    assert page_runs(stores, conditions=[of_it]).total == 1
