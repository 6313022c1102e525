"""Mistyped names and ids, one of each noun: what is missing, and which one was perhaps meant."""

from __future__ import annotations

from typing import Any

import pytest

COMMANDS = {
    "data show saless": "not_found: There is no dataset 'saless'. Did you mean sales?",
    "data show sales@9": "not_found: There is no version 9 of dataset sales. "
    "It has versions 1 to 1.",
    "data show sales@x": "not_found: There is no tag of dataset sales 'x'. There is none yet.",
    "data verify saels": "not_found: There is no dataset 'saels'. Did you mean sales?",
    "data ingest sale may.csv": "not_found: There is no dataset 'sale'. Did you mean sales?",
    "data ingest sales mai.csv": "invalid_input: mai.csv cannot be read: "
    "No such file or directory.",
    "pipeline show sales-trainin@1.0.0": "not_found: There is no pipeline in default/main "
    "'sales-trainin'. Did you mean sales-training?",
    "pipeline show sales-training@1.0.1": "not_found: There is no tag of sales-training '1.0.1'. "
    "Did you mean 1.0.0?",
    "pipeline show sales-training": "invalid_input: 'sales-training' names no tag. "
    "Write sales-training@1.0.0, for one.",
    "run submit sales-training@1.0": "not_found: There is no tag of sales-training '1.0'. "
    "Did you mean 1.0.0?",
    "run submit sales-training@1.0.0 -a sale=x": "invalid_input: The pipeline has no parameter "
    "'sale'. Did you mean sales?",
    "run submit sales-training@1.0.0 -e developmet": "not_found: There is no environment "
    "'developmet'. Did you mean development?",
    "run list -e prodution": "not_found: There is no environment 'prodution'. "
    "Did you mean production?",
    "model show ice-crem": "not_found: There is no model 'ice-crem'. Did you mean ice-cream?",
    "model show ice-cream --version 1.0.1": "not_found: There is no version of ice-cream '1.0.1'. "
    "Did you mean 1.0.0?",
    "model verify ice-crem": "not_found: There is no model 'ice-crem'. Did you mean ice-cream?",
    "release show frist": "not_found: There is no release 'frist'. Did you mean first?",
    "release create second": "invalid_input: A release of nothing says nothing. "
    "Name a --model or a --pipeline.",
    "release create second --model ice-cram": "not_found: There is no model 'ice-cram'. "
    "Did you mean ice-cream?",
    "release create second --model ice-cream@1.0.7": "not_found: There is no version of ice-cream "
    "'1.0.7'. Did you mean 1.0.0?",
    "release create second --pipeline sales-training@2": "not_found: There is no tag of "
    "sales-training '2'. Known: 1.0.0, development.",
    "promote frist --to staging": "not_found: There is no release 'frist'. Did you mean first?",
    "promote first --to stagin": "not_found: There is no environment 'stagin'. "
    "Did you mean staging?",
    "monitor show ice": "not_found: There is no monitor 'ice'. There is none yet.",
    "monitor run ice": "not_found: There is no monitor 'ice'. There is none yet.",
    "retraining show x": "not_found: There is no retraining 'x'. There is none yet.",
    "why x": "not_found: There is no prediction 'x' in the log. "
    "Its id is the prediction_id of the answer, and :<row> after it.",
    "principal token ana": "not_found: There is no principal 'ana'. Did you mean anna?",
    "principal revoke ana": "not_found: There is no principal 'ana'. Did you mean anna?",
    "principal add dora --role aprover": "invalid_input: There is no role 'aprover'. "
    "Did you mean approver?",
    "principal add Dora! --role viewer": "invalid_input: 'Dora!' cannot be a principal's name. "
    "Use lower-case letters, digits, and . _ @ - (at most 100).",
    "principal add anna --role admin": "conflict: The principal 'anna' exists already. "
    "For a new token: seamline principal token anna.",
}


def test_bad_input_mistyped_names_are_refused_with_the_nearest(kiosk: Any) -> None:
    with kiosk.untouched():
        said = {line: kiosk.person.is_refused(*line.split()) for line in COMMANDS}
    assert said == COMMANDS


@pytest.mark.parametrize("line", ["run show", "run wait", "run cancel", "promotion show"])
def test_bad_input_mistyped_ids_name_the_known_ones(kiosk: Any, line: str) -> None:
    noun = line.split()[0]
    known = kiosk.person.data(noun, "list")[0]["id"]
    mistyped = known[:-1] + ("0" if known[-1] != "0" else "1")
    with kiosk.untouched():
        assert kiosk.person.is_refused(*line.split(), mistyped) == (
            f"not_found: There is no {noun} {mistyped!r}. Did you mean {known}?"
        )


def test_bad_input_a_task_that_the_run_does_not_have(kiosk: Any) -> None:
    run = kiosk.person.data("run", "list")[0]["id"]
    assert kiosk.person.is_refused("run", "logs", run, "trian").startswith("not_found: ")


USAGE = {
    "aplly": "Error: There is no command 'aplly'. Did you mean apply?",
    "run sumbit": "Error: No such command 'sumbit'. Did you mean 'submit'?",
    "run submit x@1 -a sales": "Error: 'sales' has to be NAME=VALUE.",
    "promotion reject x": "Error: Missing option '--reason'.",
    "data ingest": "Error: Missing argument 'NAME'.",
    "audit log --limit x": "Error: Invalid value for '--limit': 'x' is not a valid integer range.",
    "audit log --limit 0": "Error: Invalid value for '--limit': 0 is not in the range 1<=x<=1000.",
    "up --port 99999": "Error: Invalid value for '--port': 99999 is not in the range 0<=x<=65535.",
    "up --bogus": "Error: No such option '--bogus'. Did you mean '--host'?",
}


def test_bad_input_usage_errors_are_exit_code_2(kiosk: Any) -> None:
    said = {line: kiosk.person.types(*line.split()) for line in USAGE}
    assert {line: one.err.strip().splitlines()[-1] for line, one in said.items()} == USAGE
    assert {one.code for one in said.values()} == {2}
