"""Each gate is the only one that keeps some release out: were it always open, a test here fails.

For each gate that reads something there is a release which all the others let through. It is
stopped; with that one gate replaced by *pass*, nothing but the check of bytes at the pointer's move
stands between that very release and the environment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from sqlalchemy import delete

from seamline.app.platform import Platform
from seamline.app.promote import gates
from seamline.app.promote.gates import GATES, external, formats
from seamline.domain.digests import digest_of
from seamline.domain.errors import Unavailable
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.gate_results import GateResult, gate_results
from seamline.promote.policy import (
    CODE,
    FORMATS,
    POLICY,
    ApprovalRule,
    ExternalGate,
    external_name,
)
from seamline.promote.policy import GATES as NAMED
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.release import StoredRelease, find_release
from seamline.trust.statement_rows import STATEMENTS

from .conftest import House
from .good_release import CONTRACT, PICKLE, GoodRelease, good_release, rows

#: They say what the rule is; the rule itself is decided at each step (test_promote_machine.py).
TELLING = {"soak", POLICY}
#: They run something; each has a file of its own, with a release that it alone stops.
RUNNING = {
    "pipeline": "test_app_gate_pipeline.py",
    "infrastructure": "test_app_gate_infrastructure.py",
    "interface": "test_app_gate_interface.py",
    "load": "test_app_gate_load.py",
}
FAILED = PromotionPhase.FAILED
BOARD = ExternalGate("board", "http://127.0.0.1:9", timeout_s=5.0)


def altered_signature(good: GoodRelease) -> None:
    """What its inputs are is part of the release, and of nothing that is signed."""
    release = good.release().release
    path = good.house.stores.blobs.path_of(release.contracts[0].digest)
    path.chmod(0o644)
    path.write_bytes(b"[]")


def unsigned_pipeline(good: GoodRelease) -> None:
    stores = good.house.stores
    with stores.db.transaction() as tx:
        tx.execute(delete(STATEMENTS).where(STATEMENTS.c.digest == digest_of(good.house.old)))


def stricter_contract(good: GoodRelease) -> None:
    """A rule that came after the incident: the model was trained on its rows."""
    good.declare(f"{CONTRACT}rules: [{{name: small, holds: size < 9}}]\n")


def other_sizes(good: GoodRelease) -> None:
    good.deliver("calls-development", rows(scale=3.0))


def known_bad(good: GoodRelease) -> None:
    good.advise("GHSA-bad", "Scikit_Learn", fixed="1.9.2")


@dataclass(frozen=True)
class Row:
    """What is wrong with the release; `besides`: gates that look at the same, and are not asked."""

    spoil: Callable[[GoodRelease], None] = lambda good: None
    verdict: Verdict = Verdict.FAIL
    says: str = ""
    without: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()
    #: Asked besides the others, which it looks at nothing of.
    also: tuple[str, ...] = ()
    model: bytes | None = None
    #: Bytes and signatures are verified again when the pointer moves, whatever a gate has said.
    then: PromotionPhase = PromotionPhase.LIVE
    external: tuple[ExternalGate, ...] = ()


ONLY: Mapping[str, Row] = {
    "digests": Row(altered_signature, says="contract late 1.0.0: expected", then=FAILED),
    # Security looks at the signatures, too.
    "provenance": Row(unsigned_pipeline, says="score@1.0.0", besides=("security",), then=FAILED),
    "data_contract": Row(stricter_contract, says="calls@1 (trained on): small: 120 of 1,200"),
    "likeness": Row(other_sizes, says="size: PSI"),
    "evaluation": Row(
        verdict=Verdict.INCONCLUSIVE, says="late 1.0.0 has no evaluation", without=("judge",)
    ),
    "backtest": Row(
        verdict=Verdict.INCONCLUSIVE, says="late 1.0.0 was not back-tested", also=("backtest",)
    ),
    "security": Row(known_bad, says="scikit-learn 1.9.1: GHSA-bad (CVE-2025-1)"),
    "successes": Row(
        verdict=Verdict.INCONCLUSIVE, says="0 of 1 run of the release", without=("succeed",)
    ),
    FORMATS: Row(says="arbitrary code: late 1.0.0 (pickle)", model=PICKLE),
    external_name(BOARD): Row(says="the change is frozen", external=(BOARD,)),
}


def passes(
    platform: Platform, promotion: Promotion, release: StoredRelease, **more: object
) -> GateResult:
    return GateResult("replaced", Verdict.PASS, "it always opens", {})


@contextmanager
def board() -> Iterator[str]:
    """Somebody who says no."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"verdict": "fail", "sentence": "the change is frozen"}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def replaced(monkeypatch: pytest.MonkeyPatch, gate: str) -> None:
    def always(*given: Platform | Promotion | StoredRelease, **more: object) -> GateResult:
        return GateResult(gate, Verdict.PASS, "it always opens", {})

    if gate == FORMATS:
        monkeypatch.setattr(formats, "check", always)
    elif gate == external_name(BOARD):
        monkeypatch.setattr(external, "check", always)
    else:
        monkeypatch.setattr(gates, "GATES", {**GATES, gate: always})


def test_what_all_of_them_let_through_goes_live(house: House, tmp_path: Path) -> None:
    good = good_release(house, tmp_path)
    asked = good.ask()
    assert good.shut(asked) == {}
    assert good.phase(asked) is PromotionPhase.LIVE


@pytest.mark.parametrize("gate", sorted(ONLY))
def test_only_this_gate_stops_it(
    house: House, tmp_path: Path, gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ONLY[gate]
    good = good_release(house, tmp_path, without=row.without, model=row.model)
    row.spoil(good)
    with board() as url:
        mine = (*good.policy.gates, *row.also)
        asked_by = tuple(one for one in mine if one not in row.besides)
        outside = tuple(replace(one, url=url) for one in row.external)
        good.apply(replace(good.policy, gates=asked_by, external=outside))
        asked = good.ask()
        assert set(good.shut(asked)) == {gate}, good.shut(asked)
        verdict, sentence = good.shut(asked)[gate]
        assert verdict is row.verdict and row.says in sentence, sentence
        assert good.phase(asked) is FAILED
        assert good.live() is None
        replaced(monkeypatch, gate)
        again = good.ask()
        assert good.shut(again) == {}
        assert good.phase(again) is row.then


@pytest.mark.parametrize("gate", sorted(set(ONLY) - {FORMATS, external_name(BOARD)}))
@pytest.mark.parametrize("error", [Unavailable("it gave no answer in time."), KeyError("rows")])
def test_one_that_breaks_is_an_error_and_opens_nothing(
    house: House, tmp_path: Path, gate: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*given: object) -> GateResult:
        raise error

    good = good_release(house, tmp_path)
    good.apply(replace(good.policy, gates=(*good.policy.gates, *ONLY[gate].also)))
    monkeypatch.setattr(gates, "GATES", {**GATES, gate: breaks})
    asked = good.ask()
    assert {name: one for name, (one, _) in good.shut(asked).items()} == {gate: Verdict.ERROR}
    assert good.phase(asked) is PromotionPhase.ERRORED
    assert good.live() is None


def test_those_that_tell_say_what_they_are_for(house: House, tmp_path: Path) -> None:
    """They never shut: what they say is bound by approvals, so it has to be there."""
    good = good_release(house, tmp_path)
    good.apply(replace(good.policy, soak_s=3600.0, approvals=ApprovalRule(1)))
    waiting = good.ask()
    with house.stores.db.read() as connection:
        told = {one.gate: one.evidence for one in gate_results(connection, waiting)}
    assert (told["soak"]["soak_s"], told["soak"]["after"]) == (3600.0, "dataops")
    assert not [said for said in told[POLICY]["loosened"] if said.startswith("the gate")]
    good.apply(replace(good.policy, gates=("digests",)))
    good.go_on()
    with house.stores.db.read() as connection:
        [found] = [one for one in gate_results(connection, waiting) if one.gate == POLICY]
    assert "the gate provenance is not asked for any more" in found.evidence["loosened"]


def test_code_that_was_not_run_there_is_kept_out(house: House, tmp_path: Path) -> None:
    good = good_release(house, tmp_path)
    asked = good.ask()
    with house.stores.db.read() as connection:
        promotion = find_promotion(connection, asked)
        release = find_release(connection, promotion.release)
    found = GATES[CODE](house.platform, promotion, release)
    assert found is not None and found.verdict == "inconclusive", found


def test_no_gate_is_left_out_here() -> None:
    here = Path(__file__).parent
    elsewhere = {gate for gate, file in RUNNING.items() if (here / file).exists()}
    assert (
        set(GATES) == (set(ONLY) - {FORMATS, external_name(BOARD)}) | TELLING | {CODE} | elsewhere
    )
    assert set(NAMED) == set(GATES) - {POLICY, CODE}
