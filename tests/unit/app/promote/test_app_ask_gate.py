"""One gate, outside of a promotion: what it says, what it leaves behind, and what it explains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from seamline.app.promote.ask_gate import ask_gate
from seamline.app.promote.gate_guide import explain_gate, guides, list_gates
from seamline.app.promote.gate_page import gate_page
from seamline.app.promote.gates import GATES
from seamline.domain.errors import InvalidInput, NotFound, Refused, Unavailable
from seamline.domain.states import PromotionPhase
from seamline.promote.gate_pictures import PICTURE
from seamline.promote.policy import CustomCheck, ExternalGate
from seamline.store.facts import read_facts

from .conftest import House
from .good_release import PICKLE, good_release, rows
from .running import HERE, RunningHouse, running_house


def test_it_decides_and_leaves_nothing_behind(house: House, tmp_path: Path) -> None:
    good = good_release(house, tmp_path)
    good.deliver("calls-development", rows(scale=3.0))
    with house.stores.db.read() as connection:
        before = len(read_facts(connection))
    said = {
        gate: ask_gate(house.platform, gate, "good", "development", by="bea")["verdict"]
        for gate in good.policy.gates
    }
    assert said.pop("likeness") == "fail"
    assert set(said.values()) == {"pass"}
    with house.stores.db.read() as connection:
        assert len(read_facts(connection)) == before
    assert good.live() is None
    found = ask_gate(house.platform, "likeness", "good", "development", by="bea")
    assert found["evidence"]["picture"]["bars"][0]["name"] == "size"
    assert (found["release_alias"], found["environment"]) == ("good", "development")


def test_what_cannot_be_asked_says_why(house: House, tmp_path: Path) -> None:
    good = good_release(house, tmp_path)
    board = ExternalGate("board", "http://127.0.0.1:9")
    good.apply(replace(good.policy, external=(board,), checks=(CustomCheck("own", "score"),)))

    def ask(gate: str, release: str = "good", environment: str = "development") -> None:
        ask_gate(house.platform, gate, release, environment, by="bea")

    with pytest.raises(NotFound, match="Did you mean security"):
        ask("securty")
    with pytest.raises(Refused, match="somebody else's decision"):
        ask("external:board")
    with pytest.raises(Refused, match="neither live in development nor being checked for it"):
        ask("check:own")
    with pytest.raises(Refused, match="no model that runs code"):
        ask("formats")
    for wrong in ({"release": "god"}, {"environment": "prod"}):
        with pytest.raises((NotFound, InvalidInput)):
            ask("digests", **wrong)


def test_formats_is_asked_where_it_is_needed(house: House, tmp_path: Path) -> None:
    good_release(house, tmp_path, model=PICKLE)
    found = ask_gate(house.platform, "formats", "good", "development", by="bea")
    assert found["verdict"] == "fail"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningHouse]:
    with running_house(tmp_path) as made:
        yield made


def test_one_that_runs_something_is_waited_for(running: RunningHouse) -> None:
    """Of what is live there."""
    running.ask_for()
    made = running.promote("r1", (running.publish("1.0.0"),))
    assert made.phase is PromotionPhase.LIVE
    running.plane.loop.start()
    try:
        found = ask_gate(running.platform, "pipeline", "r1", HERE, by="bea")
        assert found["verdict"] == "pass", found["sentence"]
        with pytest.raises(Unavailable, match="did not decide"):
            ask_gate(running.platform, "pipeline", "r1", HERE, by="bea", longest_s=0.0)
    finally:
        running.plane.loop.stop()


def test_each_gate_explains_itself() -> None:
    """One line, one paragraph, what it needs, and what opens it; said in its own file."""
    for name, guide in guides().items():
        assert guide.title and len(guide.title) < 100, name
        assert len(guide.explains) > 150, name
        assert guide.needs and guide.opens, name
    assert set(guides()) > set(GATES)


def test_gates_are_listed_with_who_asks_for_them(house: House, tmp_path: Path) -> None:
    good = good_release(house, tmp_path)
    own = CustomCheck("own", "score", models=("late",))
    good.apply(replace(good.policy, checks=(own,)))
    everything = {one["gate"]: one for one in list_gates(house.platform)}
    assert set(GATES) < set(everything)
    assert everything["check:own"]["runs_something"]
    here = [one["gate"] for one in list_gates(house.platform, "development")]
    assert here == [*good.policy.gates, "check:own", "policy"]
    assert everything["security"]["asked_in"] == ["development"]
    told = explain_gate(house.platform, "security")
    assert told["limits"]["development"]["oldest"] == "9d"
    assert explain_gate(house.platform, "check:own")["limits"]["development"]["models"] == ("late",)
    assert explain_gate(house.platform, "external:")["asked_in"] == []
    with pytest.raises(NotFound, match="Did you mean likeness"):
        explain_gate(house.platform, "likenes")


def test_what_it_said_is_a_page_of_its_own(house: House, tmp_path: Path) -> None:
    """Nothing is fetched and nothing runs in it; what somebody else wrote stays text."""
    good = good_release(house, tmp_path)
    for gate in good.policy.gates:
        found = ask_gate(house.platform, gate, "good", "development", by="bea")
        page = gate_page(house.platform, found)
        assert len(page.encode()) <= 300_000
        assert not [word for word in ("<script", "http://", "https://", "src=") if word in page]
        assert '<span class="verdict pass">pass</span></h1>' in page
        assert page.startswith("<!doctype html>") and found["digest"] in page
    odd = {
        **found,
        "sentence": "<script>alert(1)</script>",
        "evidence": {"rows": ["<b>" * 100] * 2000, PICTURE: {"kind": "none"}},
    }
    page = gate_page(house.platform, odd)
    assert "<script" not in page and "characters more" in page
    assert len(page.encode()) <= 300_000


def test_the_page_of_an_evaluation_shows_it(house: House, tmp_path: Path) -> None:
    good_release(house, tmp_path)
    found = ask_gate(house.platform, "evaluation", "good", "development", by="bea")
    page = gate_page(house.platform, found)
    assert "late 1.0.0" in page and "auc &gt;= 0.7: pass" in page and "Reliability" in page
