"""From development to production by the console alone: three people, each in their own browser.

Each test goes on where the one before it ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from seamline.domain.promote_facts import (
    ApprovalGiven,
    EnvironmentChanged,
    PromotionRequested,
    RollbackRequested,
)
from seamline.domain.states import PromotionKind, PromotionPhase
from seamline.promote.promotion import list_promotions
from seamline.promote.release import find_release
from seamline.store.facts import read_facts

Visit = Callable[..., Page]
OLD, NEW = "flights-2013-06", "flights-2013-07"


def newest(town: Any, environment: str) -> Any:
    with town.platform.stores.db.read() as connection:
        return list_promotions(connection, environment=environment)[0]


def arrived(page: Page, town: Any, environment: str) -> Any:
    """The promotion that a form has just made: its page is shown."""
    page.wait_for_url("**/promotions/*")
    made = newest(town, environment)
    assert page.url.endswith(made.id)
    return made


def card(page: Page, promotion_id: str) -> Any:
    return page.locator(f"#promotion-{promotion_id}")


def environment(page: Page, name: str) -> Any:
    return page.locator(".environment").filter(has=page.locator(f"#env-{name}"))


def settle(town: Any, promotion_id: str, phase: PromotionPhase) -> None:
    town.wait_for(lambda: town.phase(promotion_id) is phase)


def approve(page: Page, promotion_id: str, comment: str) -> None:
    page.goto("/approvals")
    card(page, promotion_id).get_by_label("Comment").fill(comment)
    card(page, promotion_id).get_by_role("button", name="Approve as").click()
    expect(page.locator("main > .notice")).to_contain_text(f"Approved: {NEW}")


def test_two_approvals_from_development_to_production(call: Visit, village: Any) -> None:
    """Without scripts: nora asks, bea approves for staging, bea and dan for production."""
    nora = call("/", "nora", java_script_enabled=False)
    bea = call("/", "bea", java_script_enabled=False)
    dan = call("/", "dan", java_script_enabled=False)

    asked = newest(village, "staging")
    approve(bea, asked.id, "July looks right")
    settle(village, asked.id, PromotionPhase.LIVE)

    # Nora plans what comes next from the board, reads it, and asks.
    nora.goto("/")
    production = environment(nora, "production")
    expect(production.locator(".next")).to_contain_text("2 more approvals by approver or admin")
    production.get_by_role("link", name="Plan its promotion").click()
    expect(nora.locator("h1")).to_have_text(f"{NEW} to production")
    expect(nora.locator("main")).to_contain_text("It would wait.")
    expect(nora.locator(".changes")).to_contain_text("late-arrival")
    expect(nora.get_by_text("all 5 digests of the release were recomputed")).to_be_visible()
    may = nora.get_by_role("region", name="Who may approve").get_by_role("listitem")
    expect(may.filter(has_text="bea")).to_contain_text("may bea")
    expect(may.filter(has_text="nora")).to_contain_text("nora trained late-arrival 1.0.1")
    nora.get_by_label("Reason").fill("the <summer> timetable")
    nora.get_by_role("button", name=f"Ask for {NEW} in production").click()
    asked = arrived(nora, village, "production")
    settle(village, asked.id, PromotionPhase.AWAITING_APPROVAL)

    # The first of two: it waits for somebody else still, and says so.
    bea.goto("/approvals")
    expect(card(bea, asked.id)).to_contain_text("“the <summer> timetable”")
    approve(bea, asked.id, "")
    expect(bea.locator("main > .notice")).to_contain_text("1 more approval by approver or admin")
    expect(card(bea, asked.id)).to_contain_text("You have approved it.")
    expect(card(bea, asked.id).get_by_role("button", name="Approve")).to_have_count(0)
    assert village.phase(asked.id) is PromotionPhase.AWAITING_APPROVAL
    nora.goto("/approvals")
    expect(card(nora, asked.id).get_by_role("button", name="Approve")).to_have_count(0)
    approve(dan, asked.id, "")
    settle(village, asked.id, PromotionPhase.LIVE)

    nora.goto("/")
    live = environment(nora, "production").locator(".live")
    expect(live).to_contain_text(NEW)
    expect(live).to_contain_text("Approved by bea, dan.")
    with village.platform.stores.db.read() as connection:
        facts = read_facts(connection, subject=asked.id)
        moved = read_facts(connection, kinds=[EnvironmentChanged.kind], mentioning=asked.id)
        digest = find_release(connection, NEW).digest
    assert [one.by for one in facts if one.kind == ApprovalGiven.kind] == ["bea", "dan"]
    assert facts[0].kind == PromotionRequested.kind
    assert facts[0].body["reason"] == "the <summer> timetable"
    assert [one.body["release"] for one in moved] == [digest]


def test_the_promotion_tells_what_happened(call: Visit, village: Any) -> None:
    page = call(f"/promotions/{newest(village, 'production').id}", "vic")
    told = page.locator(".timeline > li")
    expect(told.first).to_contain_text(f"{NEW} was asked for in production: the <summer> timetable")
    expect(told.filter(has_text="was approved for production")).to_have_count(2)
    expect(told.last).to_contain_text("verifying → live")
    told.first.get_by_role("link").click()
    expect(page.locator(".ledger li.chosen")).to_contain_text("the <summer> timetable")


def test_a_plan_that_has_grown_old_is_not_acted_on(call: Visit, village: Any) -> None:
    page = call(f"/environments/staging/promote?release={OLD}", "nora")
    page.locator("[name=seen]").first.evaluate("one => { one.value = 'sha256:' + '0'.repeat(64) }")
    before = newest(village, "staging").id
    page.get_by_label("Reason").fill("again")
    page.get_by_role("button", name="Ask for").click()
    expect(page.get_by_role("alert")).to_contain_text("What is live in staging has changed")
    assert newest(village, "staging").id == before


def test_who_may_not_ask_reads_why(call: Visit, village: Any) -> None:
    page = call(f"/environments/production/promote?release={OLD}", "vic")
    expect(page.locator(".decision")).to_contain_text("vic (viewer) may not request promotion")
    expect(page.locator("main form")).to_have_count(0)
    page.goto("/environments/staging/rollback")
    expect(page.locator(".decision")).to_contain_text("vic (viewer) may not roll back")
    expect(page.locator("main form")).to_have_count(0)


def test_back_with_the_plan_first_and_a_reason(call: Visit, village: Any) -> None:
    dan = call("/", "dan", java_script_enabled=False)
    environment(dan, "staging").get_by_role("link", name="Roll back").click()
    expect(dan.locator("h1")).to_have_text("Roll back staging")
    expect(dan.locator(".changes")).to_contain_text("late-arrival")
    expect(dan.get_by_text("all 5 digests of the release were recomputed")).to_be_visible()
    dan.get_by_label("Reason").fill("   ")
    dan.get_by_role("button", name=f"Roll staging back to {OLD}").click()
    expect(dan.get_by_role("alert")).to_contain_text("A rollback needs a reason.")
    dan.get_by_label("Reason").fill("says 0 on Mondays")
    dan.keyboard.press("Tab")
    expect(dan.get_by_role("button", name=f"Roll staging back to {OLD}")).to_be_focused()
    dan.keyboard.press("Enter")
    went = arrived(dan, village, "staging")
    settle(village, went.id, PromotionPhase.LIVE)
    assert went.kind is PromotionKind.ROLLBACK
    with village.platform.stores.db.read() as connection:
        asked = read_facts(connection, kinds=[RollbackRequested.kind], subject=went.id)
    assert [(one.by, one.body["reason"]) for one in asked] == [("dan", "says 0 on Mondays")]
    dan.goto("/")
    staging = environment(dan, "staging")
    expect(staging.locator(".live")).to_contain_text(OLD)
    expect(staging).to_contain_text("On hold by dan")
    expect(staging.locator(".next")).to_contain_text(f"Release {NEW}")
    expect(staging.locator(".next")).to_contain_text("was rolled back in staging by dan")
    dan.goto(f"/environments/staging/promote?release={NEW}")
    expect(dan.locator("main")).to_contain_text("It cannot be asked for.")
    expect(dan.get_by_role("button", name="Ask for")).to_have_count(0)


def test_a_hold_is_lifted_with_a_reason_and_set_again(call: Visit, village: Any) -> None:
    page = call("/", "nora", java_script_enabled=False)
    environment(page, "staging").get_by_role("link", name="Lift").click()
    page.get_by_label("Why it may go on").fill("it was the thermometer")
    page.get_by_role("button", name="Lift all holds").click()
    expect(page.get_by_text("Nothing is held back.")).to_be_visible()
    page.get_by_label("Why nothing may come").fill("audit week")
    page.get_by_role("button", name="Set a hold").click()
    expect(page.locator("main")).to_contain_text("On hold by nora")
    page.get_by_label("Why it may go on").fill("over")
    page.get_by_role("button", name="Lift all holds").click()
    expect(page.get_by_text("Nothing is held back.")).to_be_visible()


def test_broken_glass_is_said_on_every_page_until_it_was_reviewed(
    call: Visit, village: Any
) -> None:
    nora = call("/environments/production", "nora", java_script_enabled=False)
    nora.get_by_text("Break the glass of production").click()
    nora.get_by_label("Reason", exact=True).fill("the shop is on fire")
    nora.get_by_label("For how long").fill("1d")
    nora.get_by_role("button", name="Break it").click()
    expect(nora.get_by_role("alert")).to_contain_text("for 4 h at the longest, not for 1 d")
    nora.get_by_text("Break the glass of production").click()
    nora.get_by_label("Reason", exact=True).fill("the shop is on fire")
    nora.get_by_role("button", name="Break it").click()
    vic = call("/datasets", "vic")
    expect(vic.locator(".alarm")).to_contain_text("The glass of production is broken by nora")

    nora.goto(f"/environments/production/promote?release={OLD}")
    nora.get_by_role("button", name="Bring it in past the policy").click()
    hurried = arrived(nora, village, "production")
    settle(village, hurried.id, PromotionPhase.LIVE)
    assert hurried.kind is PromotionKind.EMERGENCY
    nora.goto("/environments/production")
    nora.get_by_role("button", name="Mend the glass").click()
    vic.goto("/runs")
    expect(vic.locator(".alarm")).to_have_count(1)
    expect(vic.locator(".alarm")).to_contain_text(
        f"{OLD} is live in production by emergency, not reviewed."
    )
    assert vic.request.get("/runs?format=json").json()["alarms"][0]["kind"] == "emergency"

    # Reviewed is what came in again by the policy.
    nora.goto("/")
    nora.get_by_role("link", name=re.compile("promote it the regular way")).first.click()
    nora.get_by_label("Reason").fill("for the record")
    nora.get_by_role("button", name="Ask for").click()
    asked = arrived(nora, village, "production")
    settle(village, asked.id, PromotionPhase.AWAITING_APPROVAL)
    for name in ("bea", "dan"):
        page = call("/approvals", name)
        card(page, asked.id).get_by_role("button", name="Approve as").click()
        expect(page.locator("main > .notice")).to_contain_text("Approved")
    settle(village, asked.id, PromotionPhase.LIVE)
    vic.goto("/")
    expect(vic.locator(".alarm")).to_have_count(0)
    expect(vic.locator("main")).not_to_contain_text("not reviewed")
