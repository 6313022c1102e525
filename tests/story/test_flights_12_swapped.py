"""The demo passes with two of its months swapped, and against a server started by hand."""

from __future__ import annotations

import re


def test_all_ten_steps_pass(swapped_demo):
    code, said = swapped_demo.result()
    assert code == 0, said
    steps = re.findall(r"^(\d+) \w+ +[\d.]+ s  ", said, re.MULTILINE)
    assert [int(step) for step in steps] == list(range(1, 11))
    assert "pip installed air-time" in said
    assert "(+ " in said.split("step          seconds")[1]


def test_it_came_to_the_same_numbers(swapped_demo):
    """What months came first changes versions, not what is in them."""
    _, said = swapped_demo.result()
    assert "flights@6 166,158 rows" in said
    assert re.search(r"retraining: air-time 1\.0\.1 is better: mae -[34]\.\d min", said)
