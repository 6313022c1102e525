"""`seamline evaluate`, `compare` and `evaluation decide`: a version on a version of the data, its
prediction pipeline run where it has not been, and exit codes that a script can go by."""

from __future__ import annotations

import re
from typing import Any

import pytest


@pytest.fixture(scope="module")
def judged(shop: Any) -> Any:
    """shop 1.0.1 against 1.0.0 on June."""
    said = shop.types("evaluate", "shop==1.0.1", "--data", "visits@2", "--against", "1.0.0")
    assert said.code == 0, said
    # Whether another test has asked for the same run before or not.
    for side in ("candidate 1.0.1", "incumbent 1.0.0"):
        assert re.search(
            rf"^{side}: the prediction pipeline (runs|has run) on visits@2", said.err, re.M
        )
    return said


def test_a_version_on_a_version_of_the_data(shop: Any, judged: Any) -> None:
    assert judged.out.splitlines()[0] == "shop 1.0.1 on visits@2 against 1.0.0: pass"
    assert re.search(r"^auc +0\.\d+ \[.*\] +0\.5\d* ", judged.out, re.M)
    assert "check auc.drop_vs(incumbent) <= 0.01: pass" in judged.out
    newest = shop.evaluations()[0]
    shown = shop.api(f"/evaluations/{newest}")
    # June only: what the model was trained on is left out.
    assert (shown["blocks"]["first"], shown["blocks"]["last"]) == ("2026-06-01", "2026-06-30")
    assert shown["metrics"][0]["estimate"]["n_rows"] == 30 * 40
    candidate = shown["evidence"]["candidate"]
    run = shop.api(f"/runs/{candidate['run_id']}")
    assert candidate["pipeline_digest"] == run["pipeline_digest"]


def test_the_same_question_makes_no_second_run(shop: Any, judged: Any) -> None:
    before = {one["id"] for one in shop.api("/runs")}
    said = shop.types("evaluate", "shop==1.0.1", "--data", "visits@2", "--against", "1.0.0")
    assert said.code == 0
    assert "candidate 1.0.1: the prediction pipeline has run on visits@2" in said.err
    assert {one["id"] for one in shop.api("/runs")} == before


def test_slices_are_made_of_times_numbers_and_pairs(shop: Any, judged: Any) -> None:
    shown = shop.api(f"/evaluations/{shop.evaluations()[0]}")
    names = {one["column"]: [bar["name"] for bar in one["bars"]] for one in shown["slices"]}
    assert names["hour"] == [str(hour) for hour in range(8, 20)]
    assert names["weekday"] == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    assert len(names["price_band"]) == 4 and names["price_band"][0].startswith("5.")
    assert set(names["channel*weekday"]) == {
        f"{channel}*{day}" for channel in ("web", "shop") for day in names["weekday"]
    }


def test_a_bad_version_ends_with_1(shop: Any, judged: Any) -> None:
    said = shop.types("evaluate", "shop==1.0.0", "--data", "visits@2")
    assert said.code == 1
    assert said.out.splitlines()[0] == "shop 1.0.0 on visits@2: fail"


def test_a_run_is_judged_by_its_id(shop: Any, judged: Any) -> None:
    run = shop.api(f"/evaluations/{shop.evaluations()[0]}")["evidence"]["candidate"]["run_id"]
    said = shop.types("evaluate", run, "--since", "2026-06-10", "--json")
    assert said.json["blocks"]["first"] == "2026-06-10"
    assert said.json["against"] is None


def test_few_days_are_inconclusive_and_end_with_2(shop: Any, judged: Any) -> None:
    words = ("--data", "visits@2", "--since", "2026-06-25")
    said = shop.types("evaluate", "shop==1.0.1", *words)
    assert (said.code, said.out.splitlines()[0]) == (2, "shop 1.0.1 on visits@2: inconclusive")


def test_days_that_it_was_trained_on_are_refused(shop: Any) -> None:
    said = shop.types("evaluate", "shop==1.0.1", "--data", "visits@1")
    assert (said.code, said.out) == (2, "")
    assert "was trained on visits@1, which reaches to 2026-05-31" in said.err
    said = shop.types("evaluate", "shop==1.0.1", "--data", "visits@2", "--since", "2026-05-22")
    assert "10 of 40 days are in visits@1, too, which it was trained on" in said.out


def test_against_an_environment_where_nothing_is_live(shop: Any) -> None:
    words = ("--data", "visits@2", "--against", "development")
    said = shop.types("evaluate", "shop==1.0.1", *words)
    assert said.code == 0
    assert "no shop is live in development: only the baseline stands against it" in said.err


def test_own_checks_are_told_apart_and_open_nothing(shop: Any, judged: Any) -> None:
    (shop.folder / "mine.yaml").write_text(
        "pipeline: shop-prediction\ndata: visits\nkeys: [id]\nlabel: bought > 0\n"
        "prediction: score\nrule: interest > 0\nslices: [channel]\n"
        "checks:\n  - auc.vs(baseline) > -1\n"
    )
    words = ("--data", "visits@2", "--spec", "mine.yaml", "--json")
    said = shop.types("evaluate", "shop==1.0.1", *words)
    assert said.code == 0, said
    assert said.json["evidence"]["is_declared"] is False
    assert "baseline: the rule interest > 0" in said.json["sentences"]
    assert {one["column"] for one in said.json["slices"]} == {"channel"}


def test_other_checks_are_decided_without_rows(shop: Any, judged: Any) -> None:
    newest = next(one["id"] for one in shop.api("/evaluations") if one["against"] == "1.0.0")
    count = len(shop.evaluations())
    said = shop.types("evaluation", "decide", newest, "brier.worst_slice(hour) <= 0.9")
    assert (said.code, said.out.splitlines()[0].split(";")[0]) == (
        0,
        "brier.worst_slice(hour) <= 0.9: pass",
    )
    assert shop.types("evaluation", "decide", newest, "auc >= 0.99").code == 1
    odd = shop.types("evaluation", "decide", newest, "auk >= 0.99")
    assert odd.code == 2 and "character 1" in odd.err and "Did you mean auc?" in odd.err
    cut = shop.types("evaluation", "decide", newest, "recall@0.9 >= 0.1")
    assert (cut.code, "was not cut at 0.9: evaluate with" in cut.out) == (2, True)
    odd = shop.types("evaluation", "decide", newest, "auc.worst_slice(weekdya) >= 0.1")
    assert odd.out.strip().endswith("Did you mean weekday?")
    assert len(shop.evaluations()) == count


def test_two_versions_side_by_side(shop: Any, judged: Any) -> None:
    said = shop.types("compare", "shop==1.0.0", "1.0.1", "--html", "page.html")
    assert said.code == 0, said
    assert said.out.splitlines()[0] == "shop 1.0.1 on visits@2 against 1.0.0: pass"
    page = (shop.folder / "page.html").read_text()
    assert len(page.encode()) <= 300_000
    assert not [word for word in ("<script", "http://", "https://", "src=") if word in page]
    assert "auc" in page and "by price_band" in page
    never = shop.types("compare", "shop==1.0.1", "1.0.0")
    assert never.code == 2
    assert "shop 1.0.0 was not compared with 1.0.1 yet: add --data" in never.out
    made = shop.types("compare", "shop==1.0.1", "1.0.0", "--data", "visits@2")
    assert made.code == 1 and "shop 1.0.0 on visits@2 against 1.0.1: fail" in made.out


def test_two_runs_and_two_releases_side_by_side(shop: Any, judged: Any) -> None:
    found = next(one for one in shop.api("/evaluations") if one["against"] == "1.0.0")
    evidence = found["evidence"]
    runs = [evidence[side]["run_id"] for side in ("incumbent", "candidate")]
    assert shop.types("compare", *runs).code == 0
    # A release is what it holds: another test may have made one of the same under another name.
    digests = [
        shop.api(
            "/releases",
            {
                "alias": f"r{number}",
                "models": [f"shop@1.0.{number}"],
                "pipelines": ["shop-prediction@1.0.0"],
            },
        )["digest"]
        for number in (0, 1)
    ]
    said = shop.types("compare", *digests)
    assert (said.code, said.out.splitlines()[0]) == (
        0,
        "shop 1.0.1 on visits@2 against 1.0.0: pass",
    )
    same = shop.types("compare", digests[1], digests[1])
    assert (same.code, same.out.strip()) == (0, "shop: 1.0.1 in both")
    typed = shop.types("compare", digests[1], "sh0p")
    assert typed.code == 2 and "There is no release 'sh0p'" in typed.err


def test_a_gate_is_asked_as_json_and_as_a_page(shop: Any, judged: Any) -> None:
    """Whatever the verdict is; the exit code tells it."""
    contents = {"alias": "asked", "models": ["shop@1.0.1"], "pipelines": ["shop-prediction@1.0.0"]}
    release = shop.api("/releases", contents)["digest"]
    words = ("-e", "development", "--json", "--html", "gate.html")
    for gate, verdict, code in (("evaluation", "pass", 0), ("security", "inconclusive", 1)):
        said = shop.types("gate", "run", gate, release, *words)
        assert (said.code, said.json["verdict"], "html" in said.json) == (code, verdict, False)
        page = (shop.folder / "gate.html").read_text()
        assert len(page.encode()) <= 300_000 and f"<h1>{gate} " in page
    said = shop.types("gate", "run", "security", release, "-e", "development")
    assert (said.code, said.out) == (1, "")
    assert "security (inconclusive): " in said.err and "seamline gate explain security" in said.err
    typed = shop.types("gate", "run", "securty", release, "-e", "development", "--json")
    assert (typed.code, "Did you mean security?" in typed.err) == (2, True)
