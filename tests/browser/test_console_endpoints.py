"""The pages of endpoints in a real browser, beside a real data plane that answers."""

from __future__ import annotations

import dataclasses
import json
import re
import runpy
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from playwright.sync_api import Page, expect

from seamline.domain.clock import new_id
from seamline.serve.inputs.validate import Rows
from seamline.serve.log.prediction_log import (
    FOLDER,
    SEGMENT_SCHEMA,
    PredictionBatches,
    PredictionEntry,
)
from seamline.serve.log.segments import Segment
from seamline.serve.log.tables import log_folder
from seamline.serve.routing import ServedModel, Target
from seamline.serve.snapshots.input_rules import InputRule
from seamline.serve.snapshots.snapshot import Column
from seamline.trust.access_list import access_list_path
from seamline.trust.principals import add_principal, parse_role

Visit = Callable[..., Page]
SERVE = Path(__file__).parents[1] / "unit" / "serve"
served = runpy.run_path(str(SERVE / "conftest.py"))
family = runpy.run_path(str(SERVE / "models" / "test_serve_many_models.py"))
wait_until = served["wait_until"]
PLACE = "/environments/production/endpoints/late-arrival"
HOUR = InputRule("hour", 0.0, 23.0, refuse=True)


@pytest.fixture(scope="module")
def workspace(hamlet: Any) -> Any:
    return served["Workspace"](hamlet.platform.root)


@pytest.fixture(scope="module")
def plane(hamlet: Any, workspace: Any) -> Iterator[Any]:
    """Serves late-arrival in production, and has answered a few."""
    spec = workspace.endpoint(rules=(HOUR,))
    members = [family["make_member"](workspace, route, 1.0) for route in ("R1", "R2")]
    workspace.deploy(1, spec, family["endpoint_of"](workspace, *members))
    process = served["PlaneProcess"](workspace.root).wait_until_it_answers()
    try:
        process.await_snapshot(1)
        rows = [{"hour": hour, "carrier": "UA", "tailnum": f"N{hour}"} for hour in range(3)]
        status, told, _ = process.ask("POST", "/v2/models/late-arrival/predict", {"rows": rows})
        assert status == 200
        assert (
            process.ask("POST", "/v2/models/late-arrival/predict", {"rows": [{"hour": 99}]})[0]
            == 400
        )
        row = {"hour": 1, "carrier": "BOOM"}
        assert process.ask("POST", "/v2/models/late-arrival/predict", row)[0] == 500
        truth = {"prediction_id": told["rows"][1]["prediction_id"], "truth": 1, "reward": 0.5}
        assert process.ask("POST", "/v2/feedback", truth)[0] == 200
        process.told_id = told["rows"][1]["prediction_id"]
        wait_until(lambda: len(recent(hamlet)) == 4)
        yield process
    finally:
        process.stop(9)


def page_json(url: str) -> dict[str, Any]:
    answer = httpx.get(url, headers={"Accept": "application/json"}, timeout=120)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def recent(town: Any, place: str = PLACE) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page_json(town.url + place)["endpoint"]["recent"]
    return found


def await_logged(town: Any, plane: Any) -> tuple[str, set[str]]:
    """One more prediction, and all that have been answered by then: the log is written behind the
    answers, each after the one before it."""
    _, told, _ = plane.ask("POST", "/v2/models/late-arrival/predict", {"hour": 5})
    last = told["rows"][0]["prediction_id"]
    wait_until(lambda: last in {one["id"] for one in recent(town)})
    return last, {one["id"] for one in recent(town)}


def field(page: Page, name: str) -> Any:
    return page.locator(f"[name='input:{name}']")


def test_from_the_list_to_what_an_endpoint_does(drop_in: Visit, plane: Any) -> None:
    page = drop_in("/endpoints")
    expect(page.get_by_role("region", name="development")).to_contain_text("Nothing is live here.")
    page.get_by_role("link", name="late-arrival", exact=True).click()
    expect(page.locator("h1")).to_have_text("late-arrival in production")
    main = page.locator("main")
    expect(main.locator(".title-row .badge")).to_have_text("ready")
    expect(main).to_contain_text("Python, in a worker of its own")
    expect(main.get_by_role("link", name="late-arrival 1.0.1")).to_have_attribute(
        "href", "/models/late-arrival?version=1.0.1"
    )
    figures = page.get_by_role("region", name="The last hour")
    expect(figures).to_contain_text(re.compile(r"Failed\s+1\s+1 with 500"))
    expect(figures).to_contain_text("1 answered with 400")
    # Of one minute or of two: it may have turned between them.
    minutes = figures.locator("svg title")
    expect(minutes.filter(has_text=re.compile(r"\d requests?, 1 failed"))).to_have_count(1)
    took = re.compile(r"; p50 [\d.]+ m?s, p95 [\d.]+ m?s$")
    expect(minutes.filter(has_text=took)).not_to_have_count(0)


def test_recent_predictions_with_feedback_and_without_what_is_private(
    drop_in: Visit, plane: Any
) -> None:
    page = drop_in(PLACE)
    row = page.get_by_role("row").filter(has=page.locator(f"[title='{plane.told_id}']"))
    expect(row).to_contain_text(
        re.compile(r"hour 1[^~]*label 0[^~]* m?s[^~]*1\.0\.1[^~]*truth 1 reward 0\.5")
    )
    expect(row).to_contain_text("tailnum private:")
    expect(page.get_by_text(re.compile(r"1 with feedback \(\d+ %\)"))).to_be_visible()
    failed = page.get_by_role("row").filter(has_text="BOOM")
    expect(failed).to_contain_text("failed with 500")
    assert page_json(page.url)["endpoint"]["feedback"]["with_feedback"] == 1


def test_many_values_are_folded(drop_in: Visit, hamlet: Any, workspace: Any, plane: Any) -> None:
    names = [f"input_{number}" for number in range(9)]
    context = tuple(Column(name, "INT64", nullable=True) for name in names)
    spec = workspace.endpoint(rules=(HOUR,))
    wide = dataclasses.replace(spec, endpoint="wide", context=(*spec.context, *context))
    workspace.deploy(1, wide, environment="staging")
    plane.await_snapshot(1, "staging")
    row = {"hour": 6, **dict.fromkeys(names, 7)}
    assert plane.ask("POST", "/staging/v2/models/wide/predict", row)[0] == 200
    page = drop_in("/environments/staging")
    wait_until(lambda: recent(hamlet, "/environments/staging/endpoints/wide"))
    page.get_by_role("link", name="wide", exact=True).click()
    row = page.get_by_role("row").last
    expect(row.get_by_text("input_8")).to_be_hidden()
    row.get_by_text("12 values").click()
    expect(row.get_by_text("input_8")).to_be_visible()


def test_what_was_answered_elsewhere_is_marked(
    drop_in: Visit, hamlet: Any, workspace: Any, plane: Any
) -> None:
    """As the log of `seamline serve` has it when it comes."""
    spec, place = workspace.endpoint(), "/environments/staging/endpoints/late-arrival"
    workspace.deploy(2, spec, environment="staging")
    plane.await_snapshot(2, "staging")
    assert plane.ask("POST", "/staging/v2/models/late-arrival/predict", {"hour": 6})[0] == 200
    clock = hamlet.platform.stores.clock
    target = Target("staging", served["RELEASE"], spec, model=cast(ServedModel, None))
    entry = PredictionEntry(
        target, new_id(clock), None, clock.now(), Rows(1, {"hour": [7]}, {}, None),
        {"label": [0], "score": [0.3]}, 900, 200, principal="kiosk",
    )  # fmt: skip
    segment = Segment(log_folder(workspace.root, FOLDER, "staging"), SEGMENT_SCHEMA, clock)
    segment.write(PredictionBatches(b"k" * 32, "shop-7")([entry]))
    segment.close()
    wait_until(lambda: len(recent(hamlet, place)) == 2)
    page = drop_in(place)
    expect(page.locator("main")).to_contain_text("Of these, 1 on shop-7 (seamline serve)")
    expect(page.get_by_role("row").nth(1)).to_contain_text("on shop-7")
    expect(page.get_by_role("row").nth(1)).to_contain_text("kiosk")
    expect(page.get_by_role("row").nth(2)).not_to_contain_text("shop-7")


def test_it_is_tried_as_its_example_and_the_same_from_a_shell(
    drop_in: Visit, hamlet: Any, plane: Any
) -> None:
    page = drop_in(PLACE)
    expect(field(page, "hour")).to_have_value("6")
    expect(field(page, "temp")).to_have_value("")
    field(page, "hour").fill("12")
    page.get_by_role("button", name="Predict").click()
    answer = page.locator(".answer")
    expect(answer).to_contain_text("label 1, score 0.5")
    expect(answer).to_contain_text(re.compile(r"by late-arrival 1\.0\.1 in [\d.]+ m?s"))
    expect(field(page, "hour")).to_have_value("12")
    made = answer.locator("code").last.inner_text()
    wait_until(lambda: any(one["id"] == made for one in recent(hamlet)))
    logged = next(one for one in recent(hamlet) if one["id"] == made)
    assert logged["principal"] == hamlet.platform.owner
    assert logged["request_id"] == f"console:{hamlet.platform.owner}"
    curl = page.locator(".command code", has_text="curl").inner_text()
    said = subprocess.run(["bash", "-c", curl], check=True, capture_output=True, timeout=120)
    assert json.loads(said.stdout)["rows"][0]["outputs"] == {"label": 1, "score": 0.5}


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("hour", "six", "Row 0: 'hour' takes INT64; it is text 'six'."),
        ("hour", "", "Row 0: 'hour' is missing"),
        ("hour", "24", "Input 'hour' is 24, out of range (at least 0, at most 23)"),
        ("hour", "9" * 30, "Input 'hour' holds values beyond INT64."),
        ("temp", "NaN", "Row 0: 'temp' takes FP64; it is text 'NaN'."),
        ("time_hour", "<b>soon</b>", "<b>soon</b>"),
    ],
)
def test_what_the_data_plane_refuses_stands_beside_its_field(
    drop_in: Visit, plane: Any, name: str, typed: str, said: str
) -> None:
    page = drop_in(PLACE)
    field(page, name).fill(typed)
    page.get_by_role("button", name="Predict").click()
    wrong = page.locator(".field.is-bad")
    expect(wrong).to_have_count(1)
    expect(wrong.get_by_role("alert")).to_contain_text(said)
    expect(wrong.locator("input")).to_have_attribute("name", f"input:{name}")
    expect(wrong.locator("input")).to_have_value(typed)
    assert page.locator(".answer").count() == 0


def test_a_model_that_fails_says_so_above_the_form(drop_in: Visit, plane: Any) -> None:
    page = drop_in(PLACE)
    field(page, "carrier").fill("BOOM")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#try ~ .notice.bad")).to_contain_text("there is no carrier BOOM")
    expect(page.locator("#try ~ .notice.bad")).to_contain_text("(500)")


def test_only_who_may_and_only_from_the_page_itself(
    drop_in: Visit, hamlet: Any, plane: Any
) -> None:
    stores = hamlet.platform.stores
    with stores.db.transaction() as tx:
        hamlet.tokens["vic"] = add_principal(
            tx, stores.facts, stores.clock, "vic", frozenset({parse_role("viewer")}), by="root"
        )
    page = drop_in(PLACE, who="vic")
    expect(page.get_by_text(re.compile("vic.*viewer"))).not_to_have_count(0)
    assert page.get_by_role("button", name="Predict").count() == 0
    _, before = await_logged(hamlet, plane)
    forged = httpx.post(hamlet.url + PLACE, data={"input:hour": "6", "form_token": "x"})
    assert forged.status_code == 403
    last, after = await_logged(hamlet, plane)
    assert after - before == {last}


@pytest.fixture
def asking(hamlet: Any, plane: Any) -> Iterator[None]:
    """The data plane answers nobody without a token meanwhile."""
    access = hamlet.platform.access

    def ask(is_required: bool, status: int) -> None:
        access.is_required = is_required
        access_list_path(hamlet.platform.root).unlink(missing_ok=True)
        access.look()
        wait_until(lambda: plane.ask("GET", "/v2/models/late-arrival")[0] == status)

    ask(True, 401)
    yield
    ask(False, 200)


def test_it_can_be_tried_where_the_data_plane_asks_for_tokens(drop_in: Visit, asking: None) -> None:
    page = drop_in(PLACE)
    field(page, "hour").fill("12")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator(".answer")).to_contain_text("label 1, score 0.5")
    expect(page.locator(".command code", has_text="curl")).to_contain_text("Authorization: Bearer")


def test_many_models_behind_one_name(drop_in: Visit, plane: Any) -> None:
    page = drop_in("/environments/production/endpoints/air-time")
    expect(page.locator("main")).to_contain_text("2 models by route")
    expect(page.locator("main")).to_contain_text("1 of 2 models loaded")
    expect(field(page, "route")).to_have_value("R1")
    field(page, "route").fill("R2")
    field(page, "hour").fill("2")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator(".answer")).to_contain_text("prediction 2.0")
    expect(page.locator("main")).to_contain_text("2 of 2 models loaded")
    field(page, "route").fill("R9")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#try ~ .notice.bad")).to_contain_text("There is no model for route=R9")


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_they_fit_and_need_nothing_from_elsewhere(
    drop_in: Visit, hamlet: Any, plane: Any, width: int, scheme: str
) -> None:
    page = drop_in("/endpoints", viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    for one in ("/endpoints", PLACE, "/environments/production"):
        # Told before and after the page: its times count back from the moment it was made.
        known = json.dumps(page_json(hamlet.url + one))
        page.goto(one)
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width, one
        known += json.dumps(page_json(page.url))
        for at in page.locator("time").evaluate_all("all => all.map(one => one.dateTime)"):
            assert re.sub(r"\d\d\.\d+Z", "", at) in known
    assert [url for url in asked if not url.startswith(hamlet.url)] == []
    assert said == []


def test_what_is_not_there_is_said(drop_in: Visit, plane: Any) -> None:
    page = drop_in("/environments/development/endpoints/late-arrival")
    expect(page.locator("main")).to_contain_text("Nothing is live in development")
    page.goto("/environments/production/endpoints/late-arival")
    expect(page.locator("main")).to_contain_text("Did you mean late-arrival?")


def test_a_snapshot_that_does_not_load_and_a_data_plane_that_is_gone(
    drop_in: Visit, workspace: Any, plane: Any
) -> None:
    """Last: it ends the data plane."""
    broken = workspace.endpoint(wheel_path=str(workspace.root / "gone.whl"), model_version="1.0.2")
    workspace.deploy(2, broken)
    plane.await_snapshot(2)
    page = drop_in(PLACE)
    expect(page.locator(".title-row .badge")).to_have_text("ready")
    expect(page.locator(".notice")).to_contain_text("Still production-1 answers: ")
    expect(page.locator(".notice")).to_contain_text("gone.whl")
    plane.stop()
    page.goto(PLACE)
    expect(page.locator(".title-row .badge")).to_have_text("down")
    expect(page.get_by_text("Nobody is there to be asked.")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="BOOM").first).to_be_visible()
    page.goto("/endpoints")
    expect(page.get_by_text("Data plane is down")).to_be_visible()
