"""Runs with loops, retries and caching: 500 scenarios on a page, and the way to a reason."""

# No postponed annotations here: the KFP SDK reads those of its components.
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List  # noqa: UP035  as many users write them

import httpx
import pytest
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output
from playwright.sync_api import Page, expect

from seamline.app.train.submit_run import submit_ir
from seamline.domain.states import is_terminal
from seamline.train.filing import file_run
from seamline.train.options import Isolation, RunLabel, RunOptions
from seamline.train.runs import run_state, show_run
from seamline.train.scenarios.loop import with_scenarios
from seamline.train.views.listing import Storage

Visit = Callable[..., Page]
IMAGE = "python:3.11"
ORIGINS = ("EWR", "JFK", "LGA", "HPN")
SCENARIOS = [
    {"origin": origin, "dest": f"D{number:03}"} for origin in ORIGINS for number in range(125)
]
#: Of these the training fails; of each fifth one there are too few rows.
BAD = {"JFK-D007", "LGA-D113"}
MOST_HTML = 1_500_000


@dsl.component(base_image=IMAGE)
def prepare(origin: str, dest: str, history: Output[Dataset]) -> int:
    from pathlib import Path

    Path(history.path).write_text(f"{origin}-{dest}")
    return 10 if int(dest[1:]) % 5 == 4 else 100


@dsl.component(base_image=IMAGE)
def train(history: Input[Dataset], bad: list, model: Output[Model]):
    from pathlib import Path

    scenario = Path(history.path).read_text()
    print("learning from", scenario)
    if scenario in bad:
        raise ValueError(f"{scenario}: no wind was recorded")
    Path(model.path).write_text(scenario)


@dsl.component(base_image=IMAGE)
def evaluate(model: Input[Model], scores: Output[Metrics]):
    scores.log_metric("mae", 3.5)


@dsl.component(base_image=IMAGE)
def register(model: Input[Model], scores: Input[Metrics]) -> str:
    return "kept"


@dsl.pipeline(name="one-scenario")
def one_scenario(origin: str, dest: str, bad: list, least: int = 50):
    prepared = prepare(origin=origin, dest=dest)
    with dsl.If(prepared.outputs["Output"] >= least, name="enough-rows"):
        trained = train(history=prepared.outputs["history"], bad=bad)
        judged = evaluate(model=trained.outputs["model"])
        register(model=trained.outputs["model"], scores=judged.outputs["scores"])


@dsl.component(base_image=IMAGE)
def download(into: str) -> str:
    """Fails twice."""
    from pathlib import Path

    tries = Path(into)
    count = int(tries.read_text()) if tries.exists() else 0
    tries.write_text(str(count + 1))
    if count < 2:
        raise OSError("the vendor does not answer")
    return "weather"


@dsl.component(base_image=IMAGE)
def fit(weather: str, region: str, depth: int, until: str) -> int:
    from pathlib import Path

    if (region, depth) == ("east", 4) and not Path(until).exists():
        raise RuntimeError("the matrix is singular")
    return depth


@dsl.component(base_image=IMAGE)
def mean(values: List[int]) -> float:  # noqa: UP006
    return sum(values) / len(values)


@dsl.pipeline
def weather(into: str) -> str:
    return download(into=into).set_retry(3, backoff_duration="0s").output


@dsl.pipeline(name="by-region")
def by_region(
    into: str,
    until: str,
    places: List[str] = ["north", "east"],  # noqa: B006, UP006
    depths: List[int] = [2, 4],  # noqa: B006, UP006
):
    found = weather(into=into)
    with dsl.ParallelFor(places, name="regions") as region:
        with dsl.ParallelFor(depths, name="depths") as depth:
            fitted = fit(weather=found.output, region=region, depth=depth, until=until)
        mean(values=dsl.Collected(fitted.output))


@dataclass(frozen=True)
class Runs:
    #: 500 scenarios of 4 steps; the same again, from the cache; and loops in loops.
    scenarios: str
    cached: str
    nested: str
    #: As soon as it is there, the nested run would succeed.
    until: Path


@pytest.fixture(scope="module")
def runs(town: Any, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")

    def compiled(pipeline: Any) -> bytes:
        compiler.Compiler().compile(pipeline, str(folder / "pipeline.yaml"))
        return (folder / "pipeline.yaml").read_bytes()

    def ended(ir: bytes, arguments: dict[str, Any], isolation: Isolation, name: str) -> str:
        run_id = submit_ir(
            town.platform,
            ir,
            arguments=arguments,
            by="nora",
            label=RunLabel(display_name=name, team="network"),
            options=RunOptions(isolation=isolation),
        )
        town.wait_for(lambda: is_terminal(run_state(town.platform.stores, run_id)))
        return run_id

    ir = with_scenarios(compiled(one_scenario), SCENARIOS)
    bad = {"bad": sorted(BAD)}
    until = folder / "until"
    paths = {"into": str(folder / "tries"), "until": str(until)}
    return Runs(
        ended(ir, bad, Isolation.REUSE, "Scenarios of November"),
        ended(ir, bad, Isolation.REUSE, "The same again"),
        ended(compiled(by_region), paths, Isolation.FORKED, "Loops in loops"),
        until,
    )


def expected_state(index: int) -> str:
    scenario = SCENARIOS[index]
    if "-".join(scenario.values()) in BAD:
        return "failed"
    return "not_triggered" if int(scenario["dest"][1:]) % 5 == 4 else "succeeded"


def cells(page: Page) -> list[str]:
    return page.locator(".cells a").evaluate_all("all => all.map(one => one.className)")


def page_json(town: Any, path: str) -> Any:
    return httpx.get(town.url + path, headers={"Accept": "application/json"}).json()


# -- the grid ----------------------------------------------------------------------------------


def test_the_grid_shows_every_scenarios_state(visit: Visit, town: Any, runs: Runs) -> None:
    page = visit(f"/runs/{runs.scenarios}")
    assert cells(page) == [expected_state(index) for index in range(500)]
    known = {one["name"]: one for one in show_run(town.platform.stores, runs.scenarios)["tasks"]}
    for index in (0, 4, 132, 363, 499):
        scenario = SCENARIOS[index]
        title = page.locator(".cells a").nth(index).get_attribute("title")
        assert title is not None
        assert title.startswith(f"{index} ")
        assert title.endswith(f"origin={scenario['origin']}, dest={scenario['dest']}")
        assert known[f"scenarios[{index}]"]["item"] == scenario
    said = "498 of 500 done · 2 failed · 100 skipped by a condition"
    expect(page.locator(".loop .title-row")).to_contain_text(said)
    expect(page.locator(".legend")).to_contain_text("skipped by a condition 100")
    expect(page.locator("main")).to_contain_text("stops only its own iteration")


def test_states_differ_in_more_than_their_colour(visit: Visit, runs: Runs) -> None:
    page = visit(f"/runs/{runs.scenarios}")
    looks = {
        state: page.locator(f".cells a.{state}").first.evaluate(
            "one => getComputedStyle(one, '::before').content"
        )
        for state in ("succeeded", "failed", "not_triggered")
    }
    assert len(set(looks.values())) == 3, looks


def test_a_failing_scenario_is_two_clicks_from_the_list_with_its_reason(
    visit: Visit, runs: Runs
) -> None:
    page = visit("/runs")
    page.get_by_role("link", name="Scenarios of November").click()
    row = page.locator(".scenarios tbody tr").first
    expect(row).to_contain_text("JFK")
    expect(row).to_contain_text("ValueError: JFK-D007: no wind was recorded")
    row.get_by_role("link", name="ValueError").click()
    expect(page.locator("h1")).to_have_text("train")
    expect(page.get_by_role("alert")).to_contain_text("JFK-D007: no wind was recorded")
    expect(page.locator("#log")).to_contain_text("learning from JFK-D007")
    expect(page.locator(".facts").first).to_contain_text("JFK")


def test_the_run_says_first_what_failed_and_what_to_do(visit: Visit, runs: Runs) -> None:
    page = visit(f"/runs/{runs.scenarios}")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("origin=LGA, dest=D113")
    expect(alert).to_contain_text("4 tasks that needed them did not run")
    expect(page.locator("main")).to_contain_text(f"seamline run retry {runs.scenarios}")


def test_two_thousand_tasks_make_a_bounded_page(town: Any, runs: Runs) -> None:
    for run_id in (runs.scenarios, runs.cached):
        for query in ("", "?within=scenarios", "?within=scenarios&page=3", "?task=scenarios"):
            answer = httpx.get(f"{town.url}/runs/{run_id}{query}")
            assert answer.status_code == 200
            assert len(answer.content) < MOST_HTML / 2
            assert answer.text.count("<tr>") <= 201


def test_scenarios_are_chosen_by_state_and_by_words(visit: Visit, runs: Runs) -> None:
    page = visit(f"/runs/{runs.scenarios}")
    page.get_by_role("link", name="failed 2").click()
    expect(page.locator(".scenarios tbody tr")).to_have_count(2)
    page.wait_for_load_state()
    assert [one for one in cells(page) if not one.endswith(" off")] == ["failed", "failed"]
    page.get_by_role("link", name="all 500").click()
    expect(page.locator(".scenarios tbody tr")).not_to_have_count(2)
    page.wait_for_load_state()
    page.get_by_role("searchbox").fill("hpn d12")
    page.get_by_role("button", name="Find").click()
    expect(page.locator(".scenarios tbody tr")).to_have_count(5)
    expect(page.locator(".scenarios tbody tr").first).to_contain_text("HPN")
    page.get_by_role("link", name="skipped by a condition").click()
    expect(page.locator(".scenarios tbody tr")).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_have_value("hpn d12")


def test_all_of_them_can_be_paged_through(visit: Visit, runs: Runs) -> None:
    page = visit(f"/runs/{runs.scenarios}?within=scenarios")
    seen: list[str] = []
    for part in (1, 2, 3):
        expect(page.locator(".pager").first).to_contain_text(f"part {part} of 3")
        page.wait_for_load_state()  # its rows come after that
        seen += page.locator(".scenarios tbody th").all_inner_texts()
        if part < 3:
            page.get_by_role("link", name="more").first.click()
    assert sorted(seen, key=int) == [str(index) for index in range(500)]


@pytest.mark.parametrize("width", [400, 1280])
def test_the_cells_are_one_stop_and_the_arrows_move_within(
    visit: Visit, runs: Runs, width: int
) -> None:
    page = visit(f"/runs/{runs.scenarios}", viewport={"width": width, "height": 800})
    assert page.locator(".cells a[tabindex='0']").count() == 1
    page.locator(".cells a").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowRight"):
        page.keyboard.press(key)
    below = {400: 17, 1280: 51}[width]
    assert page.evaluate("document.activeElement.title").startswith(f"{below} ")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(f"scenarios[{below}]")


def test_a_state_that_there_is_not_is_refused(town: Any, runs: Runs) -> None:
    for query in ("within=scenarios&state=faild", "within=scenarios&page=0"):
        answer = httpx.get(f"{town.url}/runs/{runs.scenarios}?{query}")
        assert answer.status_code == 400
    refused = page_json(town, f"/runs/{runs.scenarios}?within=scenarios&state=faild")
    assert "Did you mean failed?" in refused["error"]["next_step"]
    unknown = page_json(town, f"/runs/{runs.nested}?within=for-loop-9[0]")
    assert unknown["error"]["code"] == "not_found"


# -- inside ------------------------------------------------------------------------------------


def test_an_iteration_shows_its_tasks_and_its_neighbours(visit: Visit, runs: Runs) -> None:
    page = visit(f"/runs/{runs.scenarios}")
    page.locator(".cells a").nth(132).click()
    expect(page.locator("h1")).to_have_text("scenarios[132]")
    expect(page.locator(".dag .node")).to_have_count(4)
    expect(page.locator(".dag .node.bad .name")).to_have_text("train")
    expect(page.locator(".tasks")).to_contain_text("no wind was recorded")
    expect(page.locator(".tasks")).to_contain_text("Output 100")
    page.locator(".dag").get_by_role("link", name="prepare").click()
    expect(page.locator("h1")).to_have_text("prepare")
    page.get_by_role("link", name="[132]", exact=True).click()
    page.get_by_role("link", name="[133] after it").click()
    expect(page.locator("h1")).to_have_text("scenarios[133]")
    expect(page.locator(".dag .node.good")).to_have_count(4)


def test_loops_are_boxes_with_counts_down_to_the_innermost(visit: Visit, runs: Runs) -> None:
    page = visit(f"/runs/{runs.nested}")
    box = page.locator(".dag .node.bad")
    expect(box.locator(".state")).to_have_text("1 of 2 · 1 failed")
    assert box.locator(".bar rect").evaluate_all(
        "all => all.map(one => one.className.baseVal)"
    ) == [
        "failed",
        "succeeded",
    ]
    expect(page.locator(".dag")).to_contain_text("succeeded, attempt 3")
    page.locator(".dag").get_by_role("link", name=re.compile("1 of 2 done")).click()
    expect(page.locator("h1")).to_have_text("regions")
    page.get_by_role("row", name="east").get_by_role("link", name="1", exact=True).click()
    expect(page.locator("h1")).to_have_text("regions[1]")
    page.get_by_role("heading", name="depths").get_by_role("link").click()
    page.locator(".cells a.failed").click()
    expect(page.locator("h1")).to_have_text("depths[1]")
    expect(page.locator(".facts")).to_contain_text("east")
    page.locator(".tasks").get_by_role("link", name="fit").click()
    expect(page.get_by_role("alert")).to_contain_text("RuntimeError: the matrix is singular")


def test_a_task_tells_of_its_attempts_and_what_it_used(visit: Visit, runs: Runs) -> None:
    page = visit(f"/runs/{runs.nested}?task=weather/download")
    facts = page.locator(".facts")
    for text in ("3, 2 failed", "up to 3 retries", "forked", "Memory at most", "Processor"):
        expect(facts).to_contain_text(text)
    facts.get_by_text("packages").click()
    expect(page.locator("#packages pre")).to_contain_text("kfp==")
    rows = page.locator("section[aria-labelledby=attempts] tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("OSError: the vendor does not answer")
    log = page.locator("section.log")
    expect(log).to_contain_text("attempt 3")
    expect(log).not_to_contain_text("OSError")
    rows.first.get_by_role("link", name="its log").click()
    expect(log).to_contain_text("attempt 1")
    expect(log).to_contain_text("OSError: the vendor does not answer")
    page.go_back()
    expect(page.locator(".why")).to_contain_text("No task of this component had succeeded")
    expect(page.locator("section[aria-labelledby=out]")).to_contain_text("Output weather")


def test_what_comes_from_the_cache_leads_to_where_it_was_made(
    visit: Visit, town: Any, runs: Runs
) -> None:
    page = visit(f"/runs/{runs.cached}")
    assert cells(page).count("skipped") == 398
    expect(page.locator(".legend")).to_contain_text("cached 398")
    page.goto(f"{town.url}/runs/{runs.cached}?task=scenarios[0]/one-scenario/prepare")
    expect(page.locator(".title-row .badge")).to_have_text("cached")
    expect(page.locator(".why")).to_contain_text(f"in run {runs.scenarios} stands in")
    page.locator(".facts").get_by_role("link").click()
    page.wait_for_url(re.compile(f"/runs/{runs.scenarios}\\?task="))
    expect(page.locator("h1")).to_have_text("prepare")


@pytest.mark.parametrize("width", [400, 900, 1280])
def test_they_fit_and_what_is_on_them_is_in_their_json(
    visit: Visit, town: Any, runs: Runs, width: int
) -> None:
    page = visit("/", viewport={"width": width, "height": 800})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    for path in (
        "/runs",
        f"/runs/{runs.scenarios}",
        f"/runs/{runs.scenarios}?within=scenarios[132]",
        f"/runs/{runs.nested}",
        f"/runs/{runs.nested}?within=for-loop-1",
        f"/runs/{runs.nested}?task=weather/download",
    ):
        page.goto(town.url + path)
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width, path
        known = json.dumps(page_json(town, path))
        for selector in ("[title^='sha256:']", ".id[title]"):
            for title in page.locator(selector).evaluate_all("all => all.map(one => one.title)"):
                assert title in known, path
        for at in page.locator("time").evaluate_all("all => all.map(one => one.dateTime)"):
            assert at in known, path
    assert said == []


# -- the list ----------------------------------------------------------------------------------


def test_runs_are_chosen_by_pipeline_state_and_environment(visit: Visit, runs: Runs) -> None:
    page = visit("/runs", java_script_enabled=False)
    row = page.get_by_role("row", name="Scenarios of November")
    expect(row).to_contain_text("for network")
    assert row.locator(".bar rect").count() == 4
    page.get_by_label("Pipeline").select_option("one-scenario")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("State").select_option("succeeded")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".empty")).to_contain_text("No run is like that")
    expect(page.get_by_label("Pipeline")).to_have_value("one-scenario")


def test_archived_runs_are_hidden(visit: Visit, town: Any, runs: Runs) -> None:
    file_run(town.platform.stores, runs.cached, Storage.ARCHIVED, by="nora")
    page = visit("/runs")
    expect(page.get_by_role("link", name="Scenarios of November")).to_be_visible()
    expect(page.get_by_role("link", name="The same again")).to_have_count(0)
    page.get_by_role("link", name="Archived runs").click()
    expect(page.get_by_role("link", name="The same again")).to_be_visible()
    file_run(town.platform.stores, runs.cached, Storage.AVAILABLE, by="nora")


def test_the_list_goes_on_behind_its_first_part(
    visit: Visit, town: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seamline.console.run_list.LISTED_RUNS", 2)
    page = visit("/runs")
    seen: list[str] = []
    total = page_json(town, "/runs")["total"]
    while True:
        seen += page.locator("tbody .id").evaluate_all("all => all.map(one => one.title)")
        if not page.get_by_role("link", name="Older ones").count():
            break
        page.get_by_role("link", name="Older ones").click()
        expect(page.locator("tbody .id").first).not_to_have_attribute("title", seen[-2])
        page.wait_for_load_state()
    assert len(seen) == len(set(seen)) == total


# -- what one can do ---------------------------------------------------------------------------

POST = """async (path) => {
    const token = document.querySelector("[name=form_token]").value;
    const body = new URLSearchParams({form_token: token});
    const answer = await fetch(path, {method: "POST", body});
    return [answer.status, await answer.text()];
}"""


@pytest.fixture
def holding(town: Any, tmp_path: Path) -> Iterator[str]:
    flag = tmp_path / "go"
    run_id = town.run_until(flag)
    yield run_id
    flag.touch()
    town.wait_for(lambda: is_terminal(run_state(town.platform.stores, run_id)))


def test_a_run_is_canceled_by_whoever_may(visit: Visit, town: Any, holding: str) -> None:
    page = visit(f"/runs/{holding}", "nora")
    page.get_by_text("Cancel the run").click()
    page.get_by_role("button", name="End it").click()
    expect(page.locator(".title-row .badge").first).to_have_text("canceled")
    expect(page.locator(".notice.warn")).to_contain_text("Canceled by nora.")
    again = page.evaluate(POST, f"/runs/{holding}/cancel")
    assert again[0] == 422
    assert f"Run {holding} has ended already: canceled." in again[1]


def test_a_refresh_leaves_the_focus_where_it_is(visit: Visit, holding: str) -> None:
    page = visit(f"/runs/{holding}")
    page.locator(".dag a").focus()
    page.evaluate("document.querySelector('main').firstElementChild.dataset.old = '1'")
    expect(page.locator("main > [data-old]")).to_have_count(0)
    assert page.evaluate("document.activeElement.getAttribute('href')") == "?task=hold"


def test_a_viewer_has_no_buttons_and_cannot_post_either(
    visit: Visit, town: Any, runs: Runs, holding: str
) -> None:
    page = visit(f"/runs/{holding}", "vic")
    expect(page.locator(".actions form")).to_have_count(0)
    for path in (f"/runs/{holding}/cancel", f"/runs/{runs.nested}/retry"):
        status, text = page.evaluate(POST, path)
        assert status == 403
        assert "vic (viewer) may not run." in text
    forged = httpx.post(f"{town.url}/runs/{holding}/cancel", data={"form_token": "guessed"})
    assert forged.status_code == 403
    assert not is_terminal(run_state(town.platform.stores, holding))


def test_retry_does_again_only_what_failed(visit: Visit, town: Any, runs: Runs) -> None:
    """The last test of this run: it succeeds after it."""
    before = {one["name"]: one for one in show_run(town.platform.stores, runs.nested)["tasks"]}
    page = visit(f"/runs/{runs.nested}", "nora")
    runs.until.touch()
    page.get_by_role("button", name="Retry what failed").click()
    expect(page.locator(".title-row .badge").first).to_have_text("succeeded")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("button", name="Retry what failed")).to_have_count(0)
    after = {one["name"]: one for one in show_run(town.platform.stores, runs.nested)["tasks"]}
    again = {name for name, one in after.items() if one["attempt"] != before[name]["attempt"]}
    assert again == {"for-loop-1[1]/for-loop-2[1]/fit"}
    # The other region's mean was of the same values.
    assert after["for-loop-1[1]/mean"]["state"] == "skipped"
