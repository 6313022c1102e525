"""Inputs held to the contract of the training data: counted, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from seamline.domain.errors import InvalidInput
from seamline.serve.input_rules import InputBreach, InputRule, check_inputs

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
    ],
)
def test_a_refusal_names_input_value_and_row(rule, values, says) -> None:
    with pytest.raises(InvalidInput, match=says):
        check_inputs({"x": values}, [rule])


def test_a_served_endpoint_counts_or_refuses(workspace, start_plane, request_of) -> None:
    rules = (InputRule("hour", low=0, high=23), InputRule("carrier", values=("UA",)))
    workspace.deploy(1, workspace.endpoint(rules=rules))
    plane = start_plane()
    assert plane.await_snapshot(1)["version"] == 1
    assert plane.ask("POST", INFER, request_of(6, 24, 25))[0] == 200
    metrics = plane.ask("GET", "/metrics")[1]["text"]
    assert (
        'seamline_contract_breaches_total{environment="production",endpoint="late-arrival",'
        'column="hour",rule="range"} 2\n'
    ) in metrics
    assert 'column="carrier"' not in metrics
    strict = (InputRule("hour", low=0, high=23, refuse=True),)
    workspace.deploy(2, workspace.endpoint(rules=strict))
    assert plane.await_snapshot(2)["version"] == 2
    status, reply, _ = plane.ask("POST", INFER, request_of(6, 24))
    assert status == 400
    assert "Input 'hour' is 24, out of range (at least 0, at most 23) (row 1)" in reply["error"]
    assert plane.ask("POST", INFER, request_of(6, 23))[0] == 200
