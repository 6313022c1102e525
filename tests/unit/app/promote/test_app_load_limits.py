"""How often the gate `load` errs: on endpoints that are alike, and on ones that are not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from seamline.app.promote.load_limits import BLOCKS_PER_LOOK, LOOKS, decide_load
from seamline.promote.gate_rules import LoadRule


def measured(random: np.random.Generator, times: float, spread: float) -> tuple[Any, Any]:
    """Blocks of a candidate so many times as slow as the incumbent: the machine's mood is common
    to both in each block, the rest is not."""
    mood = random.lognormal(np.log(20.0), spread, BLOCKS_PER_LOOK)

    def blocks(factor: float) -> list[dict[str, Any]]:
        return [
            {"p95_ms": float(one), "rps": 100.0, "answered": 30, "failed": 0, "problem": ""}
            for one in mood * factor * random.lognormal(0.0, spread, BLOCKS_PER_LOOK)
        ]

    return blocks(times), blocks(1.0)


def decided(random: np.random.Generator, times: float, spread: float) -> str:
    """As the gate does: another look where the ones before do not tell."""
    mine: list[Any] = []
    other: list[Any] = []
    for _ in range(LOOKS):
        more = measured(random, times, spread)
        mine += more[0]
        other += more[1]
        verdicts = {one.verdict.value for one in decide_load(LoadRule(), mine, other)}
        if "fail" in verdicts:
            return "fail"
        if "inconclusive" not in verdicts:
            return "pass"
    return "inconclusive"


def shares(times: float, spread: float, count: int) -> dict[str, float]:
    random = np.random.default_rng(7)
    found = Counter(decided(random, times, spread) for _ in range(count))
    return {name: found[name] / count for name in ("pass", "fail", "inconclusive")}


@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_false_alarms_and_power(soak: bool, spread: float) -> None:
    count = 1_000 if soak else 200
    alike = shares(1.0, spread, count)
    assert alike["fail"] <= 0.05 * 1.5
    assert alike["pass"] >= 0.8
    at_the_limit = shares(1.5, spread, count)
    assert at_the_limit["fail"] <= 0.05 * 1.5
    assert at_the_limit["pass"] <= 0.05 * 1.5
    slower = shares(2.5, spread, count)
    assert slower["fail"] >= 0.8
    assert slower["pass"] == 0.0
