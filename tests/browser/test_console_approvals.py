"""Who may decide, by whose hand, and that no other page can."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from seamline.domain.states import PromotionPhase
from seamline.trust.tokens import issue_token, revoke_tokens

Visit = Callable[..., Page]
AWAITING = PromotionPhase.AWAITING_APPROVAL


def card(page: Page, promotion_id: str) -> Any:
    return page.locator(f"#promotion-{promotion_id}")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_second_person_approves_by_token(
    visit: Visit, town: Any, asked: str, scripts: bool
) -> None:
    owner = visit("/approvals")
    expect(owner.locator(".who")).to_contain_text("root, from this machine")
    expect(card(owner, asked).locator(".refusal")).to_contain_text(
        "root may not approve this promotion to staging: root published the pipeline"
    )
    bea = visit("/approvals", "bea", java_script_enabled=scripts)
    expect(card(bea, asked)).to_contain_text("all 5 digests of the release were recomputed")
    assert card(bea, asked).locator(".evaluation svg.interval").count() >= 2
    expect(card(bea, asked).locator("table.pins")).to_contain_text("reads data")
    card(bea, asked).get_by_label("Comment").fill("<b>looks</b> right")
    card(bea, asked).get_by_role("button", name="Approve as bea").click()
    expect(bea.locator("main > .notice")).to_contain_text("Approved: trial-")
    town.wait_for(lambda: town.phase(asked) is PromotionPhase.LIVE)
    owner.goto("/")
    staging = owner.locator(".environment").nth(2)
    expect(staging.locator(".live")).to_contain_text("Approved by bea: “<b>looks</b> right”.")


def test_the_trainer_reads_why_not_and_cannot_post_either(
    visit: Visit, town: Any, asked: str
) -> None:
    page = visit("/approvals", "nora")
    sentence = "nora may not approve this promotion to staging: nora trained late-arrival 1.0.1"
    expect(card(page, asked).locator(".refusal")).to_contain_text(sentence)
    expect(card(page, asked).get_by_role("button", name="Approve")).to_have_count(0)
    answer = page.evaluate(
        """async (id) => {
            const token = document.querySelector("[name=form_token]").value;
            const body = new URLSearchParams({form_token: token});
            const answer = await fetch(`/approvals/${id}/approve`, {method: "POST", body});
            return [answer.status, await answer.text()];
        }""",
        asked,
    )
    assert answer[0] == 403
    assert sentence in answer[1]
    assert town.phase(asked) is AWAITING


def test_a_viewer_has_no_forms(visit: Visit, asked: str) -> None:
    page = visit("/approvals", "vic")
    expect(card(page, asked).locator(".refusal")).to_contain_text(
        "vic (viewer) may not approve for staging"
    )
    expect(card(page, asked).locator("form")).to_have_count(0)


def test_a_rejection_needs_a_reason(visit: Visit, town: Any, asked: str) -> None:
    page = visit("/approvals", "bea")
    reject = card(page, asked).get_by_role("button", name="Reject")
    reason = card(page, asked).get_by_label("Reason to reject")
    reject.click()
    assert reason.evaluate("one => one.validity.valueMissing")
    reason.fill("   ")
    reject.click()
    expect(page.get_by_role("alert")).to_contain_text("A rejection needs a reason.")
    assert town.phase(asked) is AWAITING
    card(page, asked).get_by_label("Reason to reject").fill("the wrong month")
    card(page, asked).get_by_role("button", name="Reject").click()
    expect(page.locator("main > .notice")).to_contain_text("Rejected: trial-")
    assert town.phase(asked) is PromotionPhase.REJECTED


@pytest.fixture
def foreign() -> Iterator[tuple[ThreadingHTTPServer, str]]:
    """A page of another origin: the same host, another port."""

    class Attack(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.server.page.encode()  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Attack) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("who", ["bea", ""])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_of_another_origin_cannot_decide_anything(
    visit: Visit, town: Any, asked: str, foreign: tuple[Any, str], host: str, who: str
) -> None:
    server, origin = foreign
    server.page = f"""<!doctype html><title>attack</title>
        <form method="post" action="{town.url}/approvals/{asked}/reject">
        <input name="reason" value="because"><button>Win a prize</button></form>"""
    page = visit("/approvals", who)
    page.goto(origin.replace("127.0.0.1", host))
    for deed, field in (("approve", "comment"), ("reject", "reason")):
        result = page.evaluate(
            """async ([url, field]) => {
                const body = new URLSearchParams({[field]: "because"});
                const how = {method: "POST", mode: "no-cors", credentials: "include", body};
                return (await fetch(url, how)).type;
            }""",
            [f"{town.url}/approvals/{asked}/{deed}", field],
        )
        assert result == "opaque"
    with page.expect_response(lambda answer: answer.url.endswith("/reject")) as caught:
        page.get_by_role("button").click()
    assert caught.value.status == 403
    expect(page.locator("body")).to_contain_text("cannot change anything")
    assert town.phase(asked) is AWAITING


def test_a_form_without_the_token_of_this_page_is_refused(town: Any, asked: str) -> None:
    path = f"{town.url}/approvals/{asked}/reject"
    signed_in = {"cookies": {"seamline_token": town.tokens["bea"]}}
    owners = re.search(r'name="form_token" value="(\w+)"', httpx.get(f"{town.url}/sign-in").text)
    assert owners
    for form_token in ("", "0" * 64, owners[1]):
        data = {"reason": "because", "form_token": form_token}
        with httpx.Client(**signed_in) as client:
            answer = client.post(path, data=data)
        assert answer.status_code == 403
        assert "not made for you" in answer.text
    assert town.phase(asked) is AWAITING


def test_sign_in_and_out(visit: Visit, town: Any) -> None:
    page = visit("/sign-in?next=/runs")
    page.get_by_label("Your token").fill("sl_nonsense")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This token is not known here.")
    page.get_by_label("Your token").fill(town.tokens["vic"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(town.url + "/runs")
    expect(page.locator(".who")).to_contain_text("vic viewer")
    cookie = next(one for one in page.context.cookies() if one["name"] == "seamline_token")
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(town.url + "/sign-in")
    assert page.context.cookies() == []


def test_next_never_leads_elsewhere(visit: Visit, town: Any) -> None:
    page = visit("/sign-in?next=//evil.example/")
    page.get_by_label("Your token").fill(town.tokens["vic"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(town.url + "/")


def test_a_revoked_token_leads_to_signing_in_again(visit: Visit, town: Any) -> None:
    page = visit("/", "vic")
    stores = town.platform.stores
    with stores.db.transaction() as tx:
        revoke_tokens(tx, stores.facts, stores.clock, "vic", by="root")
        # The other tests sign vic in with this one.
        town.tokens["vic"] = issue_token(tx, stores.facts, stores.clock, "vic", by="root").token
    page.goto("/models")
    expect(page.locator("h1")).to_have_text("Sign in")
    expect(page.get_by_role("alert")).to_contain_text("This token of vic was revoked")


@pytest.fixture
def from_afar(town: Any) -> Iterator[Callable[..., httpx.Response]]:
    """GET as another machine would; in a thread, since the browser's loop has this one."""

    async def get(path: str, accept: str) -> httpx.Response:
        transport = httpx.ASGITransport(town.app, client=("192.0.2.7", 40000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path, headers={"Accept": accept})

    with ThreadPoolExecutor(1) as pool:
        yield lambda path, accept: pool.submit(lambda: asyncio.run(get(path, accept))).result()


def test_beyond_loopback_every_page_asks_who_you_are(
    from_afar: Callable[..., httpx.Response],
) -> None:
    answer = from_afar("/approvals?decided=1", "text/html")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Fapprovals%3Fdecided%3D1"
    assert from_afar("/", "application/json").status_code == 401
    assert "Your token" in from_afar("/sign-in", "text/html").text
