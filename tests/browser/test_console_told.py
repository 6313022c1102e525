"""What the console tells of a release, of rules and of the ledger.

Each test goes on where the one before it ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import delete, select, update

from seamline.app.promote.board import show_promotion
from seamline.domain.promote_facts import ApprovalDismissed, ReleaseCreated, ReleaseRefused
from seamline.domain.states import PromotionPhase
from seamline.promote.promotion import list_promotions
from seamline.promote.release import find_release
from seamline.store.facts import read_facts
from seamline.store.schema import CHAIN_HEAD, FACTS

Visit = Callable[..., Page]
OLD, NEW = "flights-2013-06", "flights-2013-07"
EARLIER = """
[environments.dataops]

[environments.development]
after = "dataops"
gates = ["digests"]
automatic = true
"""


def rules(staging: str, production: str = "") -> str:
    gates = 'gates = ["digests", "provenance"]'
    return f"""{EARLIER}
[environments.staging]
after = "development"
{gates}
{staging}
[environments.production]
after = "staging"
{gates}
{production}
"""


def newest(town: Any, environment: str) -> Any:
    with town.platform.stores.db.read() as connection:
        return list_promotions(connection, environment=environment)[0]


def environment(page: Page, name: str) -> Any:
    return page.locator(".environment").filter(has=page.locator(f"#env-{name}"))


@contextmanager
def altered(path: Path) -> Iterator[None]:
    """One byte of a stored file is another one meanwhile."""
    before = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        yield
    finally:
        path.write_bytes(before)


def test_a_release_says_what_it_holds_and_where_it_is(call: Visit, village: Any) -> None:
    page = call("/releases", "vic", java_script_enabled=False)
    page.get_by_role("link", name=NEW).click()
    expect(page.locator("h1")).to_have_text(NEW)
    with village.platform.stores.db.read() as connection:
        release = find_release(connection, NEW)
    expect(page.locator("main")).to_contain_text(release.digest)
    for pin in (*release.release.packages, *release.release.pipelines, *release.release.datasets):
        expect(page.locator(f".pins [title='{pin.digest}']")).to_be_visible()
    places = page.locator(".places > li")
    expect(places.nth(1)).to_contain_text("live")
    expect(places.nth(2)).to_contain_text("1 more approval by approver or admin")
    expect(places.nth(3)).to_contain_text(f"Release {NEW}")
    expect(places.nth(3)).to_contain_text("has not been live in staging")
    expect(page.locator(".timeline > li").first).to_contain_text(f"nora release {NEW} was made")
    answer = page.request.get(f"/releases/{NEW}/document")
    assert "sha256:" + hashlib.sha256(answer.body()).hexdigest() == release.digest


def test_a_release_that_a_run_could_not_make_is_listed(call: Visit, village: Any) -> None:
    stores = village.platform.stores
    refused = ReleaseRefused("weekly", village.runs["training"], "its model was <refused>")
    with stores.db.transaction() as tx:
        stores.facts.append(tx, refused, by="seamline")
    page = call("/releases", "vic", java_script_enabled=False)
    row = page.get_by_role("row").filter(has_text="weekly")
    expect(row).to_contain_text("its model was <refused>")
    row.get_by_role("link").click()
    expect(page.locator("h1")).to_contain_text("training")


def test_it_is_compared_with_what_is_live(call: Visit) -> None:
    page = call(f"/releases/{NEW}", java_script_enabled=False)
    expect(page.get_by_label("Against")).to_have_value(OLD)
    row = page.locator(".changes tr").filter(has_text="package")
    expect(row.locator("[data-label=Goes]")).to_contain_text("1.0.0")
    expect(row.locator("[data-label=Comes]")).to_contain_text("1.0.1")
    lock = page.locator(".changes tr").filter(has_text="lock")
    expect(lock).to_contain_text("the same bytes")
    page.goto(f"/releases/{OLD}?against={OLD}")
    expect(page.locator("main")).to_contain_text("The same contents.")


def test_verify_hashes_the_bytes_as_they_are_now(call: Visit, village: Any) -> None:
    page = call(f"/releases/{NEW}", "vic", java_script_enabled=False)
    stores = village.platform.stores
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("status")).to_contain_text("Every byte that is stored here was hashed")
    with stores.db.read() as connection:
        wheel = find_release(connection, NEW).release.packages[0].digest
    with altered(stores.blobs.verified_path(wheel, "the wheel")):
        page.get_by_role("button", name="Verify again").click()
        expect(page.get_by_role("status")).to_contain_text("They are not.")
        expect(page.locator("main")).to_contain_text("late-arrival 1.0.1")
        board = call(f"/environments/staging/promote?release={NEW}", "nora")
        expect(board.locator("main")).to_contain_text("It would end as failed: a gate is shut.")


def test_windows_and_soak_say_how_long_yet(call: Visit, village: Any) -> None:
    village.approve(newest(village, "staging").id, "July looks right")
    then = village.platform.stores.clock.now() + timedelta(days=2)
    window = f"{then:%a}".lower() + " 08:00-09:00 UTC"
    production = f'approvals = {{ count = 1 }}\nsoak = "24h"\nwindows = ["{window}"]'
    village.apply(rules("approvals = { count = 1 }", production))
    page = call("/", "nora")
    card = environment(page, "production")
    expect(card.locator(".window")).to_contain_text("Window shut opens in")
    expect(card.locator(".window")).to_contain_text(window)
    expect(card.locator(".next")).to_contain_text("of 1 d soak in staging are left")
    expect(card.locator(".next")).to_contain_text("the next window opens in")
    expect(card.locator(".next")).to_contain_text("1 more approval")
    asked = village.ask(NEW, "production")
    page.goto("/")
    waiting = environment(page, "production").locator(".waiting")
    expect(waiting).to_contain_text("of 1 d soak in staging are left")
    expect(waiting).to_contain_text("the next window opens in")
    expect(environment(page, "production").locator(".next")).to_have_count(0)
    assert village.phase(asked) is PromotionPhase.AWAITING_APPROVAL


def test_what_stopped_it_the_last_time_is_on_the_board(call: Visit, village: Any) -> None:
    page = call("/approvals", "bea")
    asked = newest(village, "production").id
    page.locator(f"#promotion-{asked}").get_by_label("Reason to reject").fill("wait for August")
    page.get_by_role("button", name="Reject").click()
    expect(page.locator("main > .notice")).to_contain_text("Rejected")
    page.goto("/")
    card = environment(page, "production").locator(".next")
    expect(card).to_contain_text("rejected")
    expect(card).to_contain_text("wait for August")


def test_an_approval_that_was_dismissed_is_said(call: Visit, village: Any) -> None:
    village.apply(rules("", "approvals = { count = 2 }"))
    asked = village.ask(NEW, "production")
    bea = call("/approvals", "bea")
    bea.locator(f"#promotion-{asked}").get_by_role("button", name="Approve as").click()
    expect(bea.locator("main > .notice")).to_contain_text("Approved")
    village.apply(rules("", "approvals = { count = 3 }"))
    stores = village.platform.stores

    def is_dismissed() -> bool:
        with stores.db.read() as connection:
            return bool(read_facts(connection, kinds=[ApprovalDismissed.kind], subject=asked))

    village.wait_for(is_dismissed)
    again = call("/approvals", "vic")
    expect(again.locator(f"#promotion-{asked}")).to_contain_text("the policy of production changed")


def is_looser(town: Any, promotion_id: str) -> bool:
    """It was checked again, by a policy that lets the trainer approve."""
    shown = show_promotion(town.platform, promotion_id)
    said = [gate["sentence"] for gate in shown["gates"] if gate["gate"] == "policy"]
    return shown["phase"] == "awaiting_approval" and "the trainer may approve" in said[0]


def test_looser_rules_and_self_approval_are_said_before_and_after(
    call: Visit, village: Any
) -> None:
    asked = newest(village, "production").id
    village.apply(rules("", "approvals = { count = 1, not = [] }"))
    village.wait_for(lambda: is_looser(village, asked))
    nora = call("/approvals", "nora", java_script_enabled=False)
    card = nora.locator(f"#promotion-{asked}")
    expect(card).to_contain_text("The policy of production asks for less than before.")
    expect(
        card.get_by_role("listitem").filter(has_text="the trainer may approve").last
    ).to_be_visible()
    expect(card).to_contain_text("This will be on record as self-approved:")
    expect(card).to_contain_text("trained late-arrival 1.0.1")
    card.get_by_role("button", name="Approve as nora").click()
    village.wait_for(lambda: village.phase(asked) is PromotionPhase.LIVE)
    nora.goto("/")
    live = environment(nora, "production").locator(".live")
    expect(live).to_contain_text("Approved by nora (self-approved: the trainer, requester).")
    nora.goto(f"/promotions/{asked}")
    expect(nora.locator(".timeline")).to_contain_text("by its trainer and requester")


def test_the_ledger_is_filtered_and_turned(call: Visit, village: Any) -> None:
    page = call("/audit", "vic", java_script_enabled=False)
    expect(page.locator(".ledger > li")).to_have_count(50)
    last = page.locator(".ledger .number").last.inner_text()
    first = page.locator(".ledger .number").first
    newest = first.inner_text()
    page.get_by_role("link", name="Older").click()
    expect(first).not_to_have_text(newest)
    assert int(page.locator(".ledger .number").first.inner_text()[2:]) < int(last[2:])
    page.goto("/audit")
    page.get_by_label("Kind").select_option("approval.given")
    page.get_by_label("By").select_option("nora")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".ledger > li")).to_have_count(1)
    expect(page.locator(".ledger")).to_contain_text(f"{NEW} was approved for production")
    page.get_by_label("By").select_option("bea")
    page.get_by_label("Says").fill("July looks")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".ledger")).to_contain_text("“July looks right”")
    page.locator(".ledger summary").click()
    page.goto("/audit?kind=approval.given&find=nothing+says+this")
    expect(page.get_by_text("No fact says that.")).to_be_visible()
    page.goto("/audit?kind=aproval.given")
    expect(page.locator("main")).to_contain_text("Did you mean approval.given?")


def test_a_fact_that_was_changed_by_hand_is_named(call: Visit, village: Any) -> None:
    page = call("/audit", "vic", java_script_enabled=False)
    expect(page.get_by_role("status")).to_contain_text("each follows from the one before it")
    db = village.platform.stores.db
    made = FACTS.c.kind == ReleaseCreated.kind
    with db.transaction() as tx:
        fact = tx.execute(select(FACTS).where(made).order_by(FACTS.c.seq).limit(1)).one()
        tx.execute(update(FACTS).where(FACTS.c.id == fact.id).values(by="somebody"))
    page.get_by_role("button", name="Verify the chain").click()
    said = page.get_by_role("alert")
    expect(said).to_contain_text(f"The chain breaks after {fact.chain_seq - 1} facts.")
    expect(said).to_contain_text(fact.id)
    with db.transaction() as tx:
        tx.execute(update(FACTS).where(FACTS.c.id == fact.id).values(by=fact.by))
    page.get_by_role("button", name="Verify the chain").click()
    expect(page.get_by_role("status")).to_contain_text("each follows from the one before it")


@pytest.fixture
def anchor(call: Visit, tmp_path: Path) -> Path:
    page = call("/audit", "vic")
    with page.expect_download() as caught:
        page.get_by_role("link", name="Download an anchor").click()
    kept = tmp_path / caught.value.suggested_filename
    caught.value.save_as(kept)
    return kept


def test_a_tail_that_was_cut_off_is_found_against_an_anchor(
    call: Visit, village: Any, anchor: Path, tmp_path: Path
) -> None:
    page = call("/audit", "vic", java_script_enabled=False)
    with page.expect_download() as caught:
        page.get_by_role("link", name="Download the ledger").click()
    assert caught.value.suggested_filename == "seamline-audit.jsonl"
    page.get_by_label("Anchors that were kept").set_input_files(anchor)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("status").filter(has_text="1 anchor of")).to_be_visible()
    db = village.platform.stores.db
    with db.transaction() as tx:
        head = tx.execute(select(CHAIN_HEAD)).one()
        last = tx.execute(select(FACTS).where(FACTS.c.chain_seq == head.chain_seq)).one()
        tx.execute(delete(FACTS).where(FACTS.c.id == last.id))
        tx.execute(update(CHAIN_HEAD).values(chain_seq=head.chain_seq - 1, hash=last.previous_hash))
    page.goto("/audit?verify=yes")
    expect(page.get_by_role("status")).to_contain_text("each follows from the one before it")
    page.get_by_label("Anchors that were kept").set_input_files(anchor)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("alert")).to_contain_text("1 facts at the end are missing")


def test_what_is_no_anchor_is_refused(call: Visit, village: Any, tmp_path: Path) -> None:
    page = call("/audit", "vic", java_script_enabled=False)
    for content, said in (
        (b"{}", "An anchor is not this workspace's"),
        (b"x" * 70_000, "is no anchor: it is larger than 65,536 bytes"),
        (b" ", "No anchor was given."),
    ):
        file = tmp_path / "head.json"
        file.write_bytes(content)
        page.get_by_label("Anchors that were kept").set_input_files(file)
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_role("alert")).to_contain_text(said)
