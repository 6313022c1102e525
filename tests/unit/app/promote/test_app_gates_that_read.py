"""Gates that read: what makes them fail, and what leaves them without an answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from seamline.app.promote.ask_gate import ask_gate
from seamline.data.mirror import profiled
from seamline.data.mirror.mirrored import Mirrored, record_mirror
from seamline.data.mirror.recipe import Mask, MirrorDeclaration
from seamline.data.versions import find_version
from seamline.promote.gate_rules import DataContractRule, LikenessRule

from .conftest import House
from .good_release import CONTRACT, GoodRelease, good_release, rows


@pytest.fixture
def good(house: House, tmp_path: Path) -> GoodRelease:
    return good_release(house, tmp_path, without=("judge", "succeed"))


def ask(good: GoodRelease, gate: str, **rules: object) -> tuple[str, str]:
    if rules:
        limits = replace(good.policy.gate, **rules)  # type: ignore[arg-type]
        good.apply(replace(good.policy, gate=limits))
    found = ask_gate(good.house.platform, gate, "good", "development", by="bea")
    return found["verdict"], found["sentence"]


def security(good: GoodRelease, **changes: object) -> tuple[str, str]:
    rule = replace(good.policy.gate.security, **changes)  # type: ignore[arg-type]
    return ask(good, "security", security=rule)


# -- security ----------------------------------------------------------------------------------


def test_without_fresh_advisories_nobody_knows(good: GoodRelease, tmp_path: Path) -> None:
    assert ask(good, "security")[0] == "pass"
    assert security(good, advisories=None) == (
        "inconclusive",
        "the policy names no advisories, so nothing is known to be good",
    )
    gone = security(good, advisories=str(tmp_path / "gone"))
    assert gone[0] == "inconclusive" and "cannot be read" in gone[1]
    assert security(good, oldest="12h") == (
        "inconclusive",
        "the newest advisory is 1 d old, 12 h are allowed",
    )
    (tmp_path / "empty").mkdir()
    nothing = security(good, advisories=str(tmp_path / "empty"))
    assert nothing[0] == "inconclusive" and "no advisory about anything on PyPI" in nothing[1]
    good.advise("GHSA-later", "jinja2", "3.1.3", age_days=-30)
    later = security(good)
    assert later[0] == "inconclusive" and "which is yet to come" in later[1]
    (tmp_path / "advisories" / "cut.json").write_text("{")
    cut = security(good)
    assert cut[0] == "inconclusive" and "is no advisory" in cut[1]


def test_what_is_bad_is_told_even_by_old_advisories(good: GoodRelease) -> None:
    good.advise("GHSA-bad", "scikit-learn", fixed="1.9.2")
    verdict, sentence = security(good, oldest="1h")
    assert verdict == "fail"
    assert sentence == (
        "late 1.0.0 needs scikit-learn 1.9.1: GHSA-bad (CVE-2025-1), it lets anybody in; "
        "fixed in 1.9.2"
    )


def test_an_accepted_advisory_stops_nothing_and_is_named(good: GoodRelease) -> None:
    good.advise("GHSA-bad", "scikit-learn", fixed="1.9.2")
    verdict, sentence = security(good, accepted=("CVE-2025-1",))
    assert (verdict, "but for GHSA-bad (accepted)" in sentence) == ("pass", True)
    assert security(good, accepted=("CVE-2025-2",))[0] == "fail"


# -- data_contract -----------------------------------------------------------------------------


def test_what_is_there_now_is_held_to_what_the_model_has_seen(good: GoodRelease) -> None:
    """The contract was loosened after training, and rows came in that the model does not know."""
    good.declare(CONTRACT.replace("size: float", "size: string"))
    good.deliver("calls-development", rows().replace(",k0,0.0\n", ",k0,none\n"))
    verdict, sentence = ask(good, "data_contract")
    assert verdict == "fail"
    assert sentence.startswith("calls-development@2 (there now): size: ")
    assert "are not float, e.g. 'none'" in sentence


def test_rows_that_were_set_aside_count(good: GoodRelease) -> None:
    aside = "{name: small, holds: size < 9, on_breach: quarantine}"
    good.declare(f"{CONTRACT}rules: [{aside}]\n")
    good.deliver("calls-development", rows(), is_whole=True)
    good.declare(CONTRACT)
    told = "calls-development@2 (there now): 120 of 1,200 rows were set aside, 10.0% > 5.0%"
    assert ask(good, "data_contract") == ("fail", told)
    rule = DataContractRule(quarantined=0.2)
    assert ask(good, "data_contract", data_contract=rule)[0] == "pass"


def test_a_warning_is_told_and_stops_nothing(good: GoodRelease) -> None:
    good.declare(f"{CONTRACT}rules: [{{name: small, holds: size < 9, on_breach: warn}}]\n")
    verdict, sentence = ask(good, "data_contract")
    assert verdict == "pass"
    assert "only told: small: 120 of 1,200" in sentence


# -- likeness ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "verdict", "words"),
    [
        (rows(scale=3.0), "fail", "size: PSI"),
        (rows().replace(",k2,", ",k1,"), "fail", "kind: its values are those of 66.7%"),
        (rows(days=9), "fail", "the newest day is 2025-12-09, 11 days behind production's"),
        (rows(per_day=20), "inconclusive", "400 rows are too few to tell (500 are needed)"),
    ],
)
def test_what_is_unlike_production_is_named(
    good: GoodRelease, text: str, verdict: str, words: str
) -> None:
    replaced(good, "calls-development", text)
    found = ask(good, "likeness")
    assert (found[0], words in found[1]) == (verdict, True), found[1]


def test_shares_have_limits(good: GoodRelease) -> None:
    replaced(good, "calls-development", rows(per_day=30))
    assert ask(good, "likeness")[0] == "pass"
    few = ask(good, "likeness", likeness=LikenessRule(rows=0.6))
    assert few[0] == "fail" and "600 rows are less than 60% of 1,200" in few[1]
    keys = ask(good, "likeness", likeness=LikenessRule(keys=0.9))
    assert keys[0] == "fail" and "id: 50.0% of production's keys" in keys[1]


def replaced(good: GoodRelease, name: str, text: str) -> None:
    good.deliver(name, text, is_whole=True)


def test_masked_columns_are_not_compared(good: GoodRelease) -> None:
    replaced(good, "calls-development", rows().replace(",k0,", ",x,").replace(",k1,", ",x,"))
    assert ask(good, "likeness")[0] == "fail"
    stores = good.house.stores
    version = find_version(stores, "calls-development")
    recipe = MirrorDeclaration(mask={"kind": Mask.CONSTANT}, constants={"kind": "x"})
    made = Mirrored(version, find_version(stores, "calls-production"), recipe)
    record_mirror(stores, made, by="ada")
    assert ask(good, "likeness")[0] == "pass"


def test_rows_are_read_once_for_another_basis_and_then_never(
    good: GoodRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask(good, "likeness")
    monkeypatch.setattr(profiled, "read_frames", None)
    assert ask(good, "likeness") == first


def test_what_both_read_is_alike_and_says_so(house: House, tmp_path: Path) -> None:
    made = GoodRelease(house, tmp_path, own_tables=False)
    made.register()
    made.apply()
    made.release()
    assert ask(made, "likeness") == ("pass", "calls@1 is what production reads")
