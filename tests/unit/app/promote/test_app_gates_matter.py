"""Each gate, before a release that it has to keep out: were it always open, a test here fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seamline.app.promote.gates import GATES
from seamline.domain.states import PromotionPhase
from seamline.promote.environments import apply_policies, find_environment
from seamline.promote.gate_results import gate_results
from seamline.promote.policy import DEFAULT_POLICIES, ApprovalRule
from seamline.promote.promotion import find_promotion
from seamline.promote.release import Pin, Release, find_release, record_release
from seamline.promote.requests import request_promotion
from seamline.server import ControlPlane

#: Gate → how it ends where nothing of the release is stored, signed, evaluated or run.
SHUT = {
    "digests": "fail",
    "provenance": "fail",
    "evaluation": "inconclusive",
    "successes": "inconclusive",
}
#: They say what the rule is; the rule itself is decided at each step, in test_promote_machine.py.
TELLING = {"soak", "policy"}
#: Asked only where an environment takes over code.
OF_CODE = {"code"}
NOWHERE = "sha256:" + "a1" * 32


def ask(plane: ControlPlane, *gates: str) -> str:
    stores = plane.platform.stores
    plain = [replace(one, gates=gates, soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    plain[1] = replace(plain[1], approvals=ApprovalRule(0))
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(plain), by="root")
    made = Release(packages=(Pin("m", "1.0.0", NOWHERE),), pipelines=(Pin("p", "1.0.0", NOWHERE),))
    record_release(stores, made, "nothing", by="ada")
    asked = request_promotion(stores, "nothing", "development", by="ada")
    while plane.loop.step():
        pass
    return asked.id


@pytest.mark.parametrize("gate", sorted(SHUT))
def test_it_keeps_out_what_it_is_for(plane: ControlPlane, gate: str) -> None:
    promotion = ask(plane, gate)
    with plane.platform.stores.db.read() as connection:
        [found] = [one for one in gate_results(connection, promotion) if one.gate == gate]
        assert found.verdict == SHUT[gate], found.sentence
        assert find_promotion(connection, promotion).phase is PromotionPhase.FAILED
        assert find_environment(connection, "development").release is None


def test_code_that_was_not_run_there_is_kept_out(plane: ControlPlane) -> None:
    asked = ask(plane, "digests")
    with plane.platform.stores.db.read() as connection:
        promotion = find_promotion(connection, asked)
        release = find_release(connection, promotion.release)
    found = GATES["code"](plane.platform, promotion, release)
    assert found.verdict == "inconclusive", found.sentence


def test_no_gate_is_left_out_here() -> None:
    assert set(GATES) == SHUT.keys() | TELLING | OF_CODE
