"""Metrics per slice with fairlearn's MetricFrame, in its own interpreter: JSON to stdout.

Usage: evaluation_peer.py FILE. Six metrics of 24 slices, without any interval.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from fairlearn.metrics import MetricFrame
from sklearn import metrics


def main(path: str) -> None:
    data = np.load(path)
    late, score, hour = data["late"], data["score"], data["hour"]
    decided = (score >= 0.5).astype(int)
    of_decisions = {
        "f1": metrics.f1_score,
        "precision": metrics.precision_score,
        "recall": metrics.recall_score,
        "accuracy": metrics.accuracy_score,
    }
    of_scores = {"auc": metrics.roc_auc_score, "brier": metrics.brier_score_loss}
    started, cpu = time.perf_counter(), time.process_time()
    for asked, given in ((of_decisions, decided), (of_scores, score)):
        frame = MetricFrame(metrics=asked, y_true=late, y_pred=given, sensitive_features=hour)
        frame.by_group.to_numpy()
    took = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    print(json.dumps(took))


if __name__ == "__main__":
    main(sys.argv[1])
