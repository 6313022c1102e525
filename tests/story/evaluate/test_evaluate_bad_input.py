"""What evaluations are given that cannot be judged: from the command line and over HTTP, a clear
error or *inconclusive*, and nothing half-written."""

from __future__ import annotations

from typing import Any

import pytest

PLAIN = {
    "pipeline": "shop-prediction",
    "data": "visits",
    "keys": ["id"],
    "label": "bought > 0",
    "prediction": "score",
    "rule": "0.4",
    "checks": ["auc >= 0.6"],
}


def written(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(written(one) for one in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def spec(**more: Any) -> str:
    """As TOML."""
    return "\n".join(f"{key} = {written(value)}" for key, value in {**PLAIN, **more}.items())


@pytest.fixture(scope="module")
def runs(shop: Any) -> dict[str, str]:
    """1.0.1 and 1.0.0 on June; 1.0.0 on the second half of June only."""
    asked = {"model": "shop", "version": "1.0.1", "data": "visits@2", "against": "1.0.0"}
    june = shop.api("/evaluation-runs", asked)
    late = {**asked, "version": "1.0.0", "against": None, "since": "2026-06-15"}
    half = shop.api("/evaluation-runs", late)
    found = {
        "candidate": june["candidate"]["run_id"],
        "incumbent": june["incumbent"]["run_id"],
        "half": half["candidate"]["run_id"],
    }
    for run in found.values():
        assert shop.types("run", "wait", run).code == 0
    return found


#: What is asked → what is said; every one ends as an error.
REFUSED = {
    "labels missing": (
        {"label": "CASE WHEN bought > 5 THEN 1 END"},
        "None of 1,200 predictions meets a labelled row",
    ),
    "labels that are text": ({"label": "channel"}, "The label is String"),
    "an unknown metric": (
        {"checks": ["auk >= 0.6"]},
        "character 1: there is no metric 'auk'. Did you mean auc?",
    ),
    "a metric of another task": (
        {"checks": ["auc >= 0.6", "mae <= 1"]},
        "No task has both auc and mae",
    ),
    "a slice column that is absent": (
        {"slices": ["chanel"]},
        "Slices: there is no column 'chanel'. Did you mean channel?",
    ),
    "a check on a slice that is not declared": (
        {"slices": ["channel"], "checks": ["auc.worst_slice(chanel) >= 0.5"]},
        "'chanel' is not one of the slices. Did you mean channel?",
    ),
    "1,200 slices": ({"slices": ["id"]}, "Slice 'id' has 1,200 values; 1,000 are the most."),
    "duplicate keys": ({"keys": ["ds"]}, "keys stand more than once in the predictions"),
    "a prediction that is not there": ({"prediction": "scroe"}, "Did you mean score?"),
    "NaN": ({"prediction": "hole"}, "labelled rows have no finite prediction"),
    "scores outside 0 to 1": ({"prediction": "far"}, "probabilities lie in 0..1"),
    "a block that is not there": ({"block": "dss"}, "no column 'dss'. Did you mean ds?"),
    "a key that nobody knows": ({"slics": ["channel"]}, "evaluation has no key 'slics'. Did you"),
    "a query as a label": ({"label": "(SELECT 1)"}, "a query is not an expression"),
}


@pytest.mark.parametrize("bad", sorted(REFUSED))
def test_bad_input_of_evaluations_is_refused(shop: Any, runs: dict[str, str], bad: str) -> None:
    more, words = REFUSED[bad]
    before = shop.evaluations()
    (shop.folder / "bad.toml").write_text(spec(**more))
    said = shop.types("evaluate", runs["candidate"], "--spec", "bad.toml")
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    body = {"run_id": runs["candidate"], "spec": spec(**more), "spec_name": "bad.toml"}
    status, answer = shop.asks("/evaluations", body)
    assert 400 <= status < 500
    assert words in f"{answer['error']['message']} {answer['error']['next_step']}"
    assert shop.evaluations() == before


#: What is asked → days → what the check says; the verdict is inconclusive.
UNDECIDED = {
    "one class only": ({"label": "bought > -1"}, {}, "auc is not defined"),
    "one block": ({}, {"since": "2026-06-30"}, "10 blocks are needed"),
    "slices that are too small": (
        {"slices": ["channel"], "min_rows": 2000, "checks": ["auc.worst_slice(channel) >= 0.1"]},
        {},
        "no slice of channel has",
    ),
}


@pytest.mark.parametrize("odd", sorted(UNDECIDED))
def test_what_says_too_little_is_inconclusive(shop: Any, runs: dict[str, str], odd: str) -> None:
    more, days, words = UNDECIDED[odd]
    (shop.folder / "odd.toml").write_text(spec(**more))
    flags = [word for name, day in days.items() for word in (f"--{name}", day)]
    said = shop.types("evaluate", runs["candidate"], "--spec", "odd.toml", *flags)
    assert said.code == 2, said
    assert said.out.splitlines()[0].endswith(": inconclusive")
    assert words in said.out
    body = {"run_id": runs["candidate"], "spec": spec(**more), "spec_name": "odd.toml", **days}
    assert shop.api("/evaluations", body)["verdict"] == "inconclusive"


def test_12_rows_are_inconclusive(shop: Any, runs: dict[str, str]) -> None:
    twelve = spec(label="CASE WHEN id % 100 = 7 THEN bought END", task="binary")
    body = {"run_id": runs["candidate"], "spec": twelve, "spec_name": "few.toml"}
    found = shop.api("/evaluations", body)
    assert found["metrics"][0]["estimate"]["n_rows"] == 12
    assert found["verdict"] == "inconclusive"


def test_constant_scores_show_nothing_and_fail(shop: Any, runs: dict[str, str]) -> None:
    body = {
        "run_id": runs["candidate"],
        "spec": spec(prediction="constant"),
        "spec_name": "constant.toml",
    }
    found = shop.api("/evaluations", body)
    auc = next(one for one in found["metrics"] if one["metric"] == "auc")["estimate"]
    assert (auc["value"], found["verdict"]) == (0.5, "fail")


def test_labels_that_contradict_one_another(shop: Any, runs: dict[str, str]) -> None:
    """Two visits come a second time, and say otherwise."""
    header, *lines = (shop.folder / "june.csv").read_text().splitlines()
    twice = [line[:-1] + ("0" if line.endswith("1") else "1") for line in lines[:2]]
    text = "\n".join([header, *lines, *twice]) + "\n"
    shop.upload("/datasets/again/deliveries?source=again.csv", text.encode())
    before = shop.evaluations()
    (shop.folder / "again.toml").write_text(spec(data="again"))
    said = shop.types("evaluate", runs["candidate"], "--spec", "again.toml")
    assert (said.code, said.out) == (2, "")
    assert "2 keys stand more than once in the truth, e.g. (id=" in said.err
    assert shop.evaluations() == before


def test_candidate_and_incumbent_on_other_rows(shop: Any, runs: dict[str, str]) -> None:
    before = shop.evaluations()
    words = ("--run", runs["candidate"], "--against", "1.0.0", "--against-run", runs["half"])
    said = shop.types("evaluate", "shop==1.0.1", *words, "--data", "visits@2")
    assert (said.code, said.out) == (2, "")
    assert "did not predict the same rows: 560 only by the candidate, 0 only by" in said.err
    body = {
        "model": "shop",
        "version": "1.0.1",
        "run_id": runs["candidate"],
        "against": "1.0.0",
        "against_run": runs["half"],
        "data": "visits@2",
    }
    status, answer = shop.asks("/evaluations", body)
    assert status == 400
    assert "560 only by the candidate, 0 only by the incumbent" in answer["error"]["message"]
    assert shop.evaluations() == before


#: The command line → what is said, with exit code 2.
COMMANDS = {
    "evaluate shap --run x": "There is no model 'shap'. Did you mean shop?",
    "evaluate shop": "Name what to judge by",
    "evaluate shop==9.9.9 --data visits@2": "There is no version of shop '9.9.9'",
    "evaluate shop --data visit@2": "shop is judged on visits, not on visit",
    "evaluate shop --data visits@99": "There is no version 99 of dataset visits",
    "evaluate shop --data visits@2 --against prodution": "There is no version of shop 'prodution'",
    "evaluate shop --data visits@2 --since 2027-01-01": "has no day from 2027-01-01",
    "evaluate shop --run x --spec none.yaml": "none.yaml cannot be read",
    "evaluation show x": "There is no evaluation 'x'",
    "compare shop==1.0.0 9.9.9": "There is no version of shop '9.9.9'",
    "compare shop==1.0.0 other==1.0.0": "no two versions of one model, no two runs",
    "backtest shap --data visits@2": "There is no model 'shap'. Did you mean shop?",
    "backtest shop --data visits@2 --since 2026-06-20": "a back-test needs 2",
}


@pytest.mark.parametrize("line", sorted(COMMANDS))
def test_mistyped_commands_end_with_2(shop: Any, line: str) -> None:
    said = shop.types(*line.split())
    assert (said.code, said.out) == (2, ""), said
    assert COMMANDS[line] in said.err
