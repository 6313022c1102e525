"""Evaluations: a million rows in 24 slices with intervals, beside fairlearn without any.

    python -m bench.evaluation [--turns 5] [--peers]

With --peers an environment for fairlearn is made in a temporary folder. Wall-clock and processor
time are both shown: only the second means anything on a machine that does other work.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from uv import find_uv_bin

from seamline.measure.evaluation.checks import parse_check
from seamline.measure.evaluation.deciding import decide_check
from seamline.measure.evaluation.evaluate import evaluate_binary
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.search import search_binary

ROWS, DAYS, HOURS, COLUMNS = 1_000_000, 365, 24, 20
CHECKS = (
    "auc >= 0.7",
    "auc.drop_vs(incumbent) <= 0.01",
    "recall.worst_slice(hour) >= 0.5",
    "brier.drop_vs(incumbent).worst_slice(hour) <= 0",
    "f1.gap(hour) <= 0.15",
    "precision.in(hour, 5) >= 0.4",
)


def make_rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    score = rng.uniform(size=ROWS)
    return {
        "late": (rng.uniform(size=ROWS) < score).astype(np.int64),
        "score": score,
        "old": np.clip(score + rng.normal(0, 0.1, ROWS), 0, 1),
        "day": rng.integers(0, DAYS, ROWS),
        "hour": rng.integers(0, HOURS, ROWS),
    }


def make_columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    half = COLUMNS // 2
    numbers = {f"number{i}": rng.normal(size=ROWS) for i in range(half)}
    return numbers | {f"word{i}": rng.integers(0, 3 + 3 * (i % 4), ROWS) for i in range(half)}


def take(turns: int, work: Callable[[], Any]) -> tuple[float, float]:
    """Median wall-clock and processor seconds."""
    walls, cpus = [], []
    for _ in range(turns):
        started, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - started)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def ask_peer(rows: dict[str, np.ndarray]) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        place, data = Path(folder) / "venv", Path(folder) / "rows.npz"
        np.savez(data, late=rows["late"], score=rows["score"], hour=rows["hour"])
        uv = find_uv_bin()
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, place], check=True)
        python = place / "bin" / "python"
        wanted = ["fairlearn==0.15.0", "scikit-learn", "numpy", "pandas<3"]
        install = [uv, "pip", "install", "--quiet", "--python", python, *wanted]
        subprocess.run(install, check=True)
        script = Path(__file__).with_name("evaluation_peer.py")
        asked = subprocess.run([python, script, data], check=True, capture_output=True, text=True)
        took = json.loads(asked.stdout)
    return took["wall_s"], took["cpu_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--peers", action="store_true")
    asked = parser.parse_args()
    rows, columns = make_rows(), make_columns()
    late, score, day, old = rows["late"], rows["score"], rows["day"], rows["old"]

    def evaluate() -> Scorecard:
        return evaluate_binary(late, score, day, {"hour": rows["hour"]}, incumbent_scores=old)

    evaluate()
    stored = json.loads(json.dumps(evaluate().to_json()))
    card = Scorecard.from_json(stored)
    checks = [parse_check(text) for text in CHECKS]
    found = {
        "1 M rows × 24 slices, 16 metrics, intervals, paired incumbent": take(
            asked.turns, evaluate
        ),
        "six other checks on the stored scorecard": take(
            asked.turns, lambda: [decide_check(check, card) for check in checks]
        ),
        "one check, and reading the scorecard's JSON": take(
            asked.turns,
            lambda: decide_check(checks[0], Scorecard.from_json(stored)),
        ),
        "worst slices of 20 columns and their 190 pairs": take(
            max(asked.turns // 2, 1),
            lambda: search_binary(late, score, day, columns, incumbent_scores=old),
        ),
    }
    if asked.peers:
        found["fairlearn: 24 slices, 6 metrics, no intervals, no incumbent"] = ask_peer(rows)
    print("| what | wall-clock, s | processor, s |\n|---|---|---|")
    for what, (wall, cpu) in found.items():
        print(f"| {what} | {wall:.3f} | {cpu:.3f} |")


if __name__ == "__main__":
    main()
