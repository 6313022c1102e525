"""Evaluations as one file: it stays small and still, whatever was judged."""

from __future__ import annotations

from typing import Any

from seamline.evaluate.page import evaluation_page


def estimate(value: float = 0.123456789) -> dict[str, Any]:
    bounds = {"low": value - 0.0123456, "high": value + 0.0123456, "confidence": 0.95}
    return {"value": value, "n_rows": 1_234_567, "n_blocks": 365, **bounds}


def bars(n: int) -> list[dict[str, Any]]:
    about = {"differences": {"incumbent": estimate(-0.01)}}
    return [{"name": f"slice number {i}", "estimate": estimate(i / n), **about} for i in range(n)]


def back_tested(n_windows: int, metrics: list[str]) -> dict[str, Any]:
    found = {name: {"candidate": estimate(), "incumbent": estimate(0.2)} for name in metrics}
    return {
        "data": "flights@2",
        "against": "1.0.0",
        "verdict": "pass",
        "digest": "sha256:" + "b" * 64,
        "at": "2026-11-22T18:00:00.000000Z",
        "by": "ann",
        "evidence": {
            "metric": metrics[-1],
            "trends": dict.fromkeys(metrics),
            "windows": [{"window": f"2026-W{n:02d}", "metrics": found} for n in range(n_windows)],
            "sentences": [f"{n_windows} windows by {metrics[-1]}: all even"],
        },
    }


def shown(n_slices: int = 2, n_bars: int = 5, backtest: Any = None) -> dict[str, Any]:
    metrics = [f"metric_{n}" for n in range(16)]
    rival = {"estimate": estimate(0.2), "difference": estimate(-0.1)}
    return {
        "id": "01a2",
        "model": "late <risk>",
        "model_version": "1.0.0",
        "verdict": "pass",
        "data": "flights@2",
        "against": "0.9.0",
        "metrics": [
            {
                "metric": name,
                "is_headline": False,
                "estimate": estimate(),
                "rivals": {"incumbent": rival, "baseline": rival},
            }
            for name in metrics
        ],
        "slices": [
            {"column": f"column {n}", "metric": "metric_3", "bars": bars(n_bars)}
            for n in range(n_slices)
        ],
        "blocks": {"n": 365, "first": "2025-01-01", "last": "2025-12-31"},
        "confidence": 0.95,
        "digest": "sha256:" + "a" * 64,
        "at": "2026-11-22T18:00:00.000000Z",
        "by": "ann",
        "evidence": {"checks": [], "against_checks": []},
        "worst": [],
        "n_searched": 0,
        "reliability": {},
        "sentences": ["<script>alert(1)</script>"],
        "backtest": backtest,
    }


def test_a_page_is_small_whatever_was_judged() -> None:
    metrics = [f"metric_{n}" for n in range(8)]
    for asked in (
        [shown(40, 1000, back_tested(100, metrics))],
        [shown(5, 1000, back_tested(30, metrics)) for _ in range(4)],
        [shown(5, 1000, back_tested(30, metrics)) for _ in range(60)],
    ):
        page = evaluation_page(asked)
        assert 100_000 < len(page.encode()) <= 300_000
        assert not [word for word in ("<script", "http://", "https://", "src=") if word in page]


def test_it_holds_the_back_test_over_time() -> None:
    page = evaluation_page([shown(backtest=back_tested(6, ["auc", "brier"])), shown()])
    assert page.count("Back-test on flights@2 against 1.0.0") == 1
    # The metric that windows are won by comes first.
    assert page.index("brier over time") < page.index("auc over time")
    assert page.count("2026-W05") == 2
    assert "6 windows by brier: all even" in page
    assert "Back-test" not in evaluation_page([shown()])
    many = evaluation_page([shown(5, 1000) for _ in range(60)])
    assert "more evaluations: --json has all" in many and "more metrics: seamline" in many
