"""Runs in the models' own interpreter: trains, and hands over to the platform's packaging.

argv: the folder to write into, package_task.py, twin_task.py. stdin: {loader_path, rows_script}.
Each model leaves NAME/: model.skops, described.json, twin.onnx; floors load model.joblib.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import joblib
import skops.io
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

WIDTH = 30
THRESHOLD = 0.5


def main() -> None:
    folder, package_task, twin_task = (Path(text) for text in sys.argv[1:4])
    scripts = json.load(sys.stdin)
    rows, truth = make_classification(2000, WIDTH, n_informative=10, random_state=0)
    samples = folder / "samples.jsonl"
    names = [f"x{place:02d}" for place in range(WIDTH)]
    listed = [dict(zip(names, row, strict=True)) for row in rows.tolist()]
    samples.write_text("".join(json.dumps(row) + "\n" for row in listed))
    (folder / "row.json").write_text(json.dumps(rows[0].tolist()))
    models = {
        "lr": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        "rf": RandomForestClassifier(100, random_state=0, n_jobs=1),
    }
    for name, model in models.items():
        model.fit(rows, truth)
        place = folder / name
        place.mkdir(exist_ok=True)
        joblib.dump(model, place / "model.joblib")
        skops.io.dump(model, place / "model.skops")
        describe(place, samples, package_task, twin_task, scripts)


def describe(
    place: Path, samples: Path, package_task: Path, twin_task: Path, scripts: dict[str, str]
) -> None:
    check = {
        "script": scripts["rows_script"],
        "check_path": str(place / "check.json"),
        "rows_path": None,
        "max_rows": 2000,
    }
    given = {"loader_path": scripts["loader_path"], "model_path": str(place / "model.skops")}
    described = runpy.run_path(str(package_task))["main"](
        {**given, "samples_path": str(samples), "threshold": THRESHOLD, "check": check}
    )
    wanted = ("format", "loading", "payload_digest", "trusted_types", "task", "threshold")
    described["twin"] = runpy.run_path(str(twin_task))["main"](
        {
            **given,
            "rows_script": scripts["rows_script"],
            "package_script": str(package_task),
            "check_path": str(place / "check.json"),
            "twin_path": str(place / "twin.onnx"),
            "described": {
                **{key: described[key] for key in wanted},
                "signature": described["signature"],
            },
        }
    )
    (place / "described.json").write_text(json.dumps(described))


if __name__ == "__main__":
    main()
