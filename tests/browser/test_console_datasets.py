"""The pages of datasets in a real browser: versions, pictures, and what differs, types in red."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.ingest import ingest
from seamline.measure.contracts import Policy

Visit = Callable[..., Page]
TEXTS = ["n/a"] * 21 + ["12,50"] * 20 + ["EUR 20"] * 19
CHURN = DatasetDeclaration(
    "churn", time="at", keys=("customer",), mode=Mode.REPLACE, on_breach=Policy.WARN
)


@pytest.fixture(scope="module")
def churn(town: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two versions, the second with text among the charges of one day."""
    stores = town.platform.stores
    folder: Path = tmp_path_factory.mktemp("churn")
    for number, texts in enumerate(([], TEXTS), 1):
        path = folder / f"churn-{number}.csv"
        lines = ["customer,at,tenure,plan,total_charges"]
        for customer in range(4000):
            day, at = 1 + customer // 200, customer % 200
            charges = f"{(1 + customer % 72) * (20 + customer % 90):.2f}"
            if day == 2 and at < len(texts):
                charges = texts[at]
            plan = ["monthly", "yearly"][customer % 2]
            lines.append(
                f'{customer},2026-03-{day:02}T08:00:00Z,{customer % 72},{plan},"{charges}"'
            )
        path.write_text("\n".join(lines) + "\n")
        ingest(stores, CHURN, path, source=path.name, by="nora")
    return "churn"


def test_from_the_list_to_what_differs(visit: Visit, town: Any, churn: str) -> None:
    page = visit("/datasets")
    page.get_by_role("link", name="churn").click()
    expect(page.locator("h1")).to_have_text("churn version 2")
    expect(page.locator("figure svg.profile")).to_have_count(5)
    expect(page.locator("figure.is-bad")).to_contain_text("60 do not read")
    expect(page.locator(".notice.warn")).to_contain_text("60 of 4,000 values are not float")
    page.get_by_role("button", name="What differs").click()
    expect(page.locator("h1")).to_have_text("churn@1 → churn@2")
    first = page.locator(".findings li").first
    expect(first).to_contain_text(
        "total_charges: float → string; 3,940 of 4,000 still numeric; 60 text values: 'n/a' ×21"
    )
    expect(first).to_contain_text("first in partition 2026-03-02 (60 of 200)")
    expect(first).to_contain_text("committed by nora from churn-2.csv as churn@2")
    red = page.evaluate(
        "getComputedStyle(document.querySelector('.findings .bad b')).color"
        " === getComputedStyle(document.querySelector('.findings .bad .shape')).color"
    )
    assert red
    expect(page.locator(".findings li.bad")).to_have_count(1)


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_they_fit_and_need_nothing_from_elsewhere(
    visit: Visit, town: Any, churn: str, width: int, scheme: str
) -> None:
    page = visit("/datasets", viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    for one in ("/datasets", "/datasets/churn", "/datasets/churn/diff?before=1&after=2"):
        page.goto(one)
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width, one
    assert [url for url in asked if not url.startswith(town.url)] == []
    assert said == []


@pytest.mark.parametrize("width", [400, 1280])
def test_names_as_long_as_questions_stay_on_the_page(
    visit: Visit, town: Any, tmp_path: Path, width: int
) -> None:
    name = f"survey-{width}-{'of-many-words-' * 3}end"
    columns = ["at", *(f"what_do_you_{'really_' * 12}think_of_{n}" for n in range(60))]
    declared = DatasetDeclaration(name, time="at", mode=Mode.REPLACE)
    for number in (1, 2):
        path = tmp_path / f"{number}.csv"
        row = ",".join(["2026-03-01", *(f"{number}{'0' * n}" for n in range(10))] + ["x"] * 50)
        path.write_text(f"{','.join(columns)}\n{row}\n")
        ingest(town.platform.stores, declared, path, source=path.name, by="nora")
    page = visit("/datasets", viewport={"width": width, "height": 900})
    for one in (f"/datasets/{name}", f"/datasets/{name}/diff?before=1&after=2"):
        page.goto(one)
        assert page.locator("figure").count() == 61
        assert page.evaluate("document.documentElement.scrollWidth") == width, one


def test_what_is_on_them_is_in_their_json(visit: Visit, town: Any, churn: str) -> None:
    for path in ("/datasets", "/datasets/churn?version=1", "/datasets/churn/diff?before=1&after=2"):
        page = visit(path)
        known = httpx.get(town.url + path, headers={"Accept": "application/json"}).text
        for title in page.locator("[title^='sha256:']").evaluate_all("a => a.map(o => o.title)"):
            assert title in known
        for at in page.locator("time").evaluate_all("all => all.map(one => one.dateTime)"):
            assert at in known


def test_the_file_works_without_a_network(
    visit: Visit, town: Any, churn: str, tmp_path: Path
) -> None:
    query = {"before": "churn@1", "after": "churn@2", "rows": "true", "html": "true"}
    html = httpx.get(f"{town.url}/api/v1/dataset-diffs", params=query).json()["html"]
    assert len(html.encode()) < 300_000
    path = tmp_path / "diff.html"
    path.write_text(html)
    page = visit("/datasets", color_scheme="dark")
    page.goto("about:blank")  # whatever that page still fetches is none of the file's
    page.context.set_offline(True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert asked == [path.as_uri()]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    expect(page.locator("li.bad")).to_contain_text("60 text values")
    expect(page.locator("figure svg").first).to_be_visible()
    expect(page.locator("body")).to_contain_text("0 added, 0 removed, 60 changed")


def test_a_version_that_is_not_there(visit: Visit, churn: str) -> None:
    page = visit("/datasets/churn/diff?before=1&after=9")
    expect(page.locator("main")).to_contain_text("There is no version 9 of dataset churn.")
