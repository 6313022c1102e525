"""Inputs held to the contract of the training data: counted, or refused by name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from seamline.domain.errors import InvalidInput
from seamline.serve.snapshots.input_rules import (
    InputBreach,
    InputExpression,
    InputRule,
    check_inputs,
    prepare_rules,
)

INFER = "/v2/models/late-arrival/infer"


@pytest.mark.parametrize(
    ("rule", "values", "found"),
    [
        (InputRule("x", low=0, high=23), np.array([0, 23]), []),
        (InputRule("x", low=0, high=23), np.array([-1, 5, 24]), [("range", 2)]),
        (InputRule("x", low=0), np.array([np.nan, -0.5]), [("range", 1)]),
        (InputRule("x", high=5), [None, 9, 3], [("range", 1)]),
        (InputRule("x", nullable=False), np.array([np.nan, 1.0]), [("null", 1)]),
        (InputRule("x", nullable=False), [None, "a"], [("null", 1)]),
        (InputRule("x", nullable=False), np.array([1, 2]), []),
        (InputRule("x", values=("a", "b")), ["a", None, "c", "c"], [("values", 2)]),
        (InputRule("x", values=("1", "2")), np.array([1, 3]), [("values", 1)]),
        (InputRule("x", values=("true",)), np.array([True, False]), [("values", 1)]),
        (InputRule("other", low=0), np.array([-1]), []),
        (InputRule("x", dtype="int", values=("1", "2")), np.array([1.0, 3.0]), [("values", 1)]),
        (InputRule("x", dtype="int"), np.array([1.0, 1.5, np.nan]), [("type", 1)]),
        (InputRule("x", dtype="int"), [1, None, 2.5, 1e300], [("type", 2)]),
        (InputRule("x", dtype="float", values=("1",)), np.array([1, 2]), [("values", 1)]),
        (InputRule("x", dtype="date"), ["2025-03-01", "1.3.2025", None], [("type", 1)]),
        (InputRule("x", dtype="datetime"), ["2025-03-01 08:00", "soon"], [("type", 1)]),
        (InputRule("x", dtype="string", pattern="[A-Z]+"), ["UA", "ua", None], [("pattern", 1)]),
        (InputRule("x", dtype="string", nullable=False, missing=("NA",)), ["NA"], [("null", 1)]),
        (InputRule("x", dtype="string", values=("a",), missing=("",)), ["", "b"], [("values", 1)]),
    ],
)
def test_what_breaks_a_rule_is_counted(rule, values, found) -> None:
    told = [InputBreach("x", what, count) for what, count in found]
    assert check_inputs({"x": values}, [rule]) == told


@pytest.mark.parametrize(
    ("rule", "values", "says"),
    [
        (
            InputRule("x", high=9, refuse=True),
            np.array([1, 10]),
            r"is 10, out of range .* \(row 1\)",
        ),
        (InputRule("x", values=("a",), refuse=True), ["a", "z"], r"'z', which is none .* \(row 1"),
        (InputRule("x", nullable=False, refuse=True), ["a", None], r"is null.* \(row 1\)"),
        (
            InputRule("x", dtype="int", refuse=True),
            np.array([1.0, 2.5]),
            "2.5, which does not read",
        ),
        (
            InputRule("x", dtype="string", pattern="[a-z]", refuse=True),
            ["a", "A"],
            r"'A', which does not match '\[a-z\]' \(row 1\)",
        ),
    ],
)
def test_a_refusal_names_input_value_and_row(rule, values, says) -> None:
    with pytest.raises(InvalidInput, match=says):
        check_inputs({"x": values}, [rule])


ORDER = InputExpression(
    "order", "day >= date('2025-01-01') and n <= x", (("day", "date"), ("n", "int"), ("x", "float"))
)


def test_a_rule_over_several_inputs_is_broken_where_it_is_false() -> None:
    columns = {
        "day": ["2025-01-01", "2024-01-01", None, "NA"],
        "n": [1, 2, 9, None],
        "x": np.array([1.0, 3.0, 3.0, np.nan]),
    }
    assert check_inputs(columns, [], [ORDER]) == [InputBreach("order", "rule", 2)]
    strict = replace(ORDER, refuse=True)
    with pytest.raises(
        InvalidInput, match=r"break rule 'order'.*: day 2024-01-01, n 2, x 3.0 \(row 1"
    ):
        check_inputs(columns, [], [strict])
    assert check_inputs({"n": [1]}, [], [ORDER]) == []  # its columns are not there


@pytest.mark.parametrize(
    "wrong",
    [InputRule("x", dtype="string", pattern=r"\bword"), replace(ORDER, holds="n + day > 1")],
)
def test_what_cannot_be_asked_is_told_before_anybody_asks(wrong) -> None:
    rules = [wrong] if isinstance(wrong, InputRule) else []
    with pytest.raises(InvalidInput):
        prepare_rules(rules, [] if rules else [wrong])


def test_no_request_waits_for_polars() -> None:
    """The data plane asks all of it, and never loads a library of frames."""
    code = "import sys, seamline.dataplane; print({'polars', 'pandas', 'yaml'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_an_evil_pattern_takes_linear_time() -> None:
    """Python's own expressions would not end before the sun does."""
    rule = InputRule("x", dtype="string", pattern="(a+)+b")
    assert check_inputs({"x": ["a" * 50_000]}, [rule]) == [InputBreach("x", "pattern", 1)]


def test_a_served_endpoint_counts_or_refuses(workspace, start_plane, request_of) -> None:
    rules = (InputRule("hour", low=0, high=23), InputRule("carrier", values=("UA",)))
    early = InputExpression("early", "hour < 24 or hour > 24", (("hour", "int"),))
    workspace.deploy(1, workspace.endpoint(rules=rules, expressions=(early,)))
    plane = start_plane()
    assert plane.await_snapshot(1)["version"] == 1
    assert plane.ask("POST", INFER, request_of(6, 24, 25))[0] == 200
    metrics = plane.ask("GET", "/metrics")[1]["text"]
    assert (
        'seamline_contract_breaches_total{environment="production",endpoint="late-arrival",'
        'column="hour",rule="range"} 2\n'
    ) in metrics
    assert 'column="early",rule="rule"} 1\n' in metrics
    assert 'column="carrier"' not in metrics
    strict = (InputRule("hour", low=0, high=23, refuse=True),)
    workspace.deploy(2, workspace.endpoint(rules=strict))
    assert plane.await_snapshot(2)["version"] == 2
    status, reply, _ = plane.ask("POST", INFER, request_of(6, 24))
    assert status == 400
    assert "Input 'hour' is 24, out of range (at least 0, at most 23) (row 1)" in reply["error"]
    assert plane.ask("POST", INFER, request_of(6, 23))[0] == 200
